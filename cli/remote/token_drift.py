"""Explains why the running gateway refuses the token that this shell knows. Light, because `gateway status` uses it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cli.instance import TOKEN_SETTING, Instance
from cli.remote import config_drift
from gateway.errors import ConfigError
from gateway.supervisor.record import Record

#: how a gateway gets other variables than those of its start
_START_AGAIN = "gateway stop, then gateway start"


class TokenDrift(NamedTuple):
    """What is wrong with the token, and what to do."""

    finding: str
    remedy: str


def explain_token_drift(instance: Instance, found: Record) -> TokenDrift:
    """Return why a gateway refuses the token of this shell. A restart helps only if a file decides."""
    _, variables = TOKEN_SETTING
    try:
        known = instance.access_token
    except ConfigError as error:
        return TokenDrift(error.message.rstrip("."), error.remedy or "gateway doctor")
    if known is not None and known.source in variables:
        return TokenDrift(
            f"the gateway refuses {known.source} of this shell", f"unset {known.source} here, or: {_START_AGAIN}"
        )
    given = read_process_variables(found.pid)
    name = next((name for name in variables if given.get(name)), None)
    if name is not None:
        return TokenDrift(
            f"the gateway uses {name} of the shell that started it", f"set {name} here, too, or: {_START_AGAIN}"
        )
    if known is None:
        return TokenDrift(
            "the gateway needs one that is not stored here",
            f"set MOONGATE_TOKEN as in the shell that started it, or: {_START_AGAIN}",
        )
    return TokenDrift("the gateway refuses the stored one", config_drift.advise_restart(instance))


def read_process_variables(pid: int) -> Mapping[str, str]:
    """Return the environment that a process was started with; empty on other systems than Linux, or if it is hidden."""
    try:
        lines = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    return dict(line.decode("utf-8", "replace").partition("=")[::2] for line in lines if b"=" in line)
