"""The part that a process has in a fleet."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from gateway.settings.variables import env_names


class Fleet(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a process that shares a PostgreSQL database with others."""

    role: Annotated[
        Literal["gateway", "worker"],
        Meta(
            description="`gateway`: answers requests, and may lead; `worker`: only works on runs.",
            extra=env_names("MOONGATE_ROLE"),
        ),
    ] = "gateway"
    host: Annotated[
        Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$(?!\n)")] | None,
        Meta(
            description="Name of this host, of which no other has the same; if not set, the machine's host name."
            " Sessions whose agents keep files are bound to it.",
            extra=env_names("MOONGATE_FLEET_HOST"),
        ),
    ] = None
    slots: Annotated[
        Annotated[int, Meta(ge=0, le=4096)] | None,
        Meta(
            description="Runs that this process works on at the same time; 0: it only answers requests; if not set,"
            " `limits.runs`.",
            extra=env_names("MOONGATE_FLEET_SLOTS"),
        ),
    ] = None
    agents: Annotated[
        list[str],
        Meta(
            description="Ids of the agents whose runs this process works on; if empty, all that are enabled.",
            extra=env_names("MOONGATE_FLEET_AGENTS"),
        ),
    ] = field(default_factory=list)
    move_after: Annotated[
        float,
        Meta(
            ge=60,
            le=30 * 86_400,
            description="Seconds after which the sessions of a host that is gone go on elsewhere, without its files.",
            extra=env_names("MOONGATE_FLEET_MOVE_AFTER"),
        ),
    ] = 600.0
