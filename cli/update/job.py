"""What an update is about, and how it ended."""

from __future__ import annotations

from typing import NamedTuple

from cli.instance import Instance
from cli.output import WaitIndicator
from cli.update.installation import Installation


class Job(NamedTuple):
    """One update: what of, to what, and how."""

    instance: Instance
    site: Installation
    version: str
    #: shows what is going on
    told: WaitIndicator
    #: how long to watch the other version after it was ready
    watch_seconds: float
    #: whether to go back to the environment from before the last update, in place of building one
    is_rollback: bool = False
    #: whether work that came since the last update may be thrown away
    discard: bool = False
    #: whether to start the other version with a copy of the database first
    has_trial: bool = True


class Result(NamedTuple):
    """How an update ended well. If it has changed nothing, both versions are the same."""

    from_version: str
    to_version: str
    backup: str | None
    #: whether a gateway ran, and was replaced
    replaced: bool
    #: what else to know
    notes: tuple[str, ...] = ()
