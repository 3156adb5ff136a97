"""How an agent is driven: one module a kind.

To add a backend, add one module here (or register `its_module:BACKEND` under the entry point group
`moongate.backends`, see docs/extending.md) with an attribute `BACKEND`, a `BackendType`:

    class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        greeting: str = "Hello"

    class Parrot:
        def __init__(self, tools: Tools) -> None: ...
        async def __aenter__(self) -> Parrot: return self
        async def __aexit__(self, *exc: object) -> None: ...
        async def prompt(self, turn: Turn) -> AsyncGenerator[Said | SessionRef | Reply, None]:
            yield Text(delta=f"{turn.agent.options.greeting}: {turn.input}")
        async def health(self, agent: Agent) -> Health: return Health(ok=True)

    BACKEND = BackendType(options=Options, open=Parrot)

The module's name is the backend's name in `agents.list`; the fields of `Options` stand beside the
common ones there, and are checked before the gateway starts. `gateway.domain.ports.backend.Backend` says
what a backend promises; `tests/contracts/backends.py` holds it to that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from gateway import plugins
from gateway.config import Config
from gateway.domain.agent import Agent
from gateway.domain.ports.backend import Backend
from gateway.plugins import Registered
from gateway.process.child import Children


class Tools(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway hands to a backend."""

    #: starts processes; the only way to start one
    children: Children
    #: the gateway's own environment, for keys that an option names; never hand it to a child whole
    environ: Mapping[str, str]
    #: a private directory for the backend's own files; it may not exist yet
    directory: Path


class BackendType(msgspec.Struct, frozen=True, kw_only=True):
    """What a backend module shows."""

    #: struct of the backend's options, strict
    options: type[msgspec.Struct]
    #: makes the backend; it is then opened as an async context manager
    open: Callable[[Tools], Backend]
    #: looks whether such an agent could be used here with none configured: the agent, or None
    detect: Callable[[Mapping[str, str], Config], Agent | None] | None = None
    #: completes an agent's options by what the settings say beside its entry
    adapt: Callable[[Any, Config], Any] | None = None
    #: names of options whose values are never written to a log or shown
    secrets: tuple[str, ...] = ()
    #: order of detection: lower is asked first
    rank: int = 100


@cache
def registered() -> Registered[BackendType]:
    """Return the backends that other distributions bring, and those that are broken."""
    return plugins.registered("moongate.backends", BackendType, _own())


@cache
def kinds() -> Mapping[str, BackendType]:
    """Return all backends by name: our own, and those of other distributions."""
    return plugins.discover(__name__, "BACKEND", registered().usable)


@cache
def _own() -> Mapping[str, BackendType]:
    return plugins.discover(__name__, "BACKEND")
