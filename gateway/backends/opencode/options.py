"""The options of an opencode agent: which server drives it, and how that server is started."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct, field


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of an opencode agent."""

    #: the program and arguments before `serve` or `acp`
    command: Annotated[list[str], Meta(min_length=1)] = field(default_factory=lambda: ["opencode"])
    #: URL of a running server to use; `command`, `config` and `env` then have no effect
    url: Annotated[str, Meta(pattern=r"^https?://[^/\s?#]+/?$")] | None = None
    #: password of that server
    password: str | None = None
    #: name of a variable of the gateway's environment that holds the password; used if `password` is not set
    password_env: str | None = None
    #: opencode's own agent to use: `build`, `plan`, or one of yours
    agent: str | None = None
    #: configuration that is added to opencode's files, as in `opencode.json`
    config: dict[str, Any] = field(default_factory=dict)
    #: names of variables of the gateway's environment to pass on, such as `ANTHROPIC_API_KEY`
    pass_env: list[str] = field(default_factory=list)
    #: seconds for the server to be ready
    start_timeout: Annotated[float, Meta(gt=0, le=600)] = 60.0
    #: seconds in which the model only fails until the turn fails, too; opencode would try again for ever
    retry_timeout: Annotated[float, Meta(gt=0, le=604_800)] = 300.0
    #: seconds without a turn until the server is stopped
    idle_stop: Annotated[float, Meta(gt=0)] = 900.0
