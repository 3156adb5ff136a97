"""Checks how much room the files of a running gateway take."""

from __future__ import annotations

from collections.abc import Iterator

from cli.doctor.finding import Finding, Level
from cli.instance import Instance
from cli.remote.client import GatewayClient
from cli.remote.local_link import LocalLink
from cli.remote.probe import ProbeResult, State
from gateway.domain.file import describe_size
from gateway.errors import GatewayError

#: part of the quota from which there is a warning
NEARLY_FULL = 0.9


def examine_files(instance: Instance, found: ProbeResult) -> Iterator[Finding]:
    """Report the size of all files, and whether there is room for more."""
    if found.state is not State.RUNNING:
        return
    try:
        space = GatewayClient(LocalLink(instance)).get("/api/files", limit=1)["space"]
    except GatewayError:
        return  # another check reports it, or the gateway is of an older version
    said = f"they take {describe_size(space['used'])} of {describe_size(space['quota'])}"
    if space["used"] <= NEARLY_FULL * space["quota"]:
        yield Finding("files", Level.OK, said)
        return
    cause = "messages with files are refused when all of it is taken"
    remedy = "raise files.quota, or delete old sessions; retention removes old tasks. See: gateway files list"
    yield Finding("files", Level.WARNING, said, cause, remedy)
