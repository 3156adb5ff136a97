"""How long things are kept."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from gateway.settings.variables import env_names

#: a time in days; null means without end
_Days = Annotated[float, Meta(ge=1, le=36_500)] | None


class Retention(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    events_days: Annotated[
        _Days,
        Meta(
            description="Days that the events of ended runs are kept; null keeps them. The result stays.",
            extra=env_names("MOONGATE_RETENTION_EVENTS_DAYS"),
        ),
    ] = 30.0
    events_runs: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(
            description="Maximum number of ended runs whose events are kept, the newest first; null sets no maximum.",
            extra=env_names("MOONGATE_RETENTION_EVENTS_RUNS"),
        ),
    ] = 100_000
    runs_days: Annotated[
        _Days,
        Meta(
            description="Days that ended runs are kept; null keeps them. Runs that something still needs stay.",
            extra=env_names("MOONGATE_RETENTION_RUNS_DAYS"),
        ),
    ] = None
    dead_letters_days: Annotated[
        _Days,
        Meta(
            description="Days that dead deliveries and their runs are kept; null keeps them.",
            extra=env_names("MOONGATE_RETENTION_DEAD_LETTERS_DAYS"),
        ),
    ] = 90.0
    sessions_days: Annotated[
        _Days,
        Meta(
            description="Days after its last use that a session is kept with its transcript; null keeps it.",
            extra=env_names("MOONGATE_RETENTION_SESSIONS_DAYS"),
        ),
    ] = None
    workspaces_days: Annotated[
        _Days,
        Meta(
            description="Days after its last use that the directory of a session is kept, if its session is kept;"
            " null keeps it.",
            extra=env_names("MOONGATE_RETENTION_WORKSPACES_DAYS"),
        ),
    ] = None

    unused_files_days: Annotated[
        _Days,
        Meta(
            description="Days that a file is kept to which no task, message or schedule refers, from when it was"
            " stored; null keeps it.",
            extra=env_names("MOONGATE_RETENTION_UNUSED_FILES_DAYS"),
        ),
    ] = 1.0
    audit_days: Annotated[
        _Days,
        Meta(
            description="Days that entries of the audit log are kept; null keeps them.",
            extra=env_names("MOONGATE_RETENTION_AUDIT_DAYS"),
        ),
    ] = 365.0
