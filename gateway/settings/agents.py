"""The agents, and a server of opencode that runs already."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct, field

from gateway.settings.variables import env_names


class Agents(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    default: Annotated[
        str | None,
        Meta(
            description="Id of the agent for requests that name none; if not set, the first enabled agent.",
            extra=env_names("MOONGATE_AGENT"),
        ),
    ] = None
    model: Annotated[
        str | None,
        Meta(
            description="Model for agents that name none, as the backend names it.",
            extra=env_names("MOONGATE_MODEL", "XITTO_MODEL"),
        ),
    ] = None
    entries: Annotated[
        list[dict[str, Any]],
        Meta(description="The agents. If the list is empty, the gateway uses an agent that it finds on this machine."),
    ] = field(default_factory=list, name="list")


class Opencode(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    host: Annotated[
        str | None,
        Meta(
            description="Host of a running opencode server to use instead of starting one.",
            extra=env_names("XCCLAW_OPENCODE_HOST"),
        ),
    ] = None
    port: Annotated[
        Annotated[int, Meta(ge=1, le=65535)] | None,
        Meta(
            description="Port of that server; 4096 if only the host is set.",
            extra=env_names("XCCLAW_OPENCODE_PORT"),
        ),
    ] = None
    password: Annotated[
        str | None,
        Meta(description="Password of that server.", extra=env_names("XCCLAW_OPENCODE_PASSWORD")),
    ] = None
