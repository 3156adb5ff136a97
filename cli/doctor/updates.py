"""Checks whether an update or a restore was interrupted, and whether a newer version is known."""

from __future__ import annotations

from collections.abc import Iterator

from cli.doctor.finding import Finding, Level
from cli.instance import Instance
from cli.update import notes
from gateway.supervisor import interrupted_restore
from gateway.updates.status import read_update_status


def examine_updates(instance: Instance) -> Iterator[Finding]:
    """Return the findings about updates and restores; none if nothing is known."""
    if (said := interrupted_restore.describe_interruption(instance.home)) is not None:
        what, _, _ = said.partition(". ")
        yield Finding("restore", Level.ERROR, what, "the command was killed, or the machine stopped", "gateway start")
    if (said := notes.describe_interruption(instance.home)) is not None:
        what, _, _ = said.partition(". ")
        yield Finding("update", Level.ERROR, what, "the command was killed, or the machine stopped", "gateway update")
    if (newer := notes.find_newer_version(instance.home)) is not None:
        yield Finding("version", Level.WARNING, f"version {newer} is available", None, "gateway update")
    status = read_update_status(instance.home)
    if status is not None and status.error is not None:
        yield Finding("version", Level.OK, f"whether there is a newer version is unknown: {status.error}")
