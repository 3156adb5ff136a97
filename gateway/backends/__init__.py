"""Backends drive agents: one module or package for each kind of agent.

To add a backend, add one module here (or register `its_module:BACKEND` under the entry point group
`moongate.backends`, see docs/extending.md) with an attribute `BACKEND`, a `BackendType`:

    class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        greeting: str = "Hello"

    class Parrot:
        def __init__(self, resources: BackendResources) -> None: ...
        async def __aenter__(self) -> Parrot: return self
        async def __aexit__(self, *exc: object) -> None: ...
        async def stream_turn(self, turn: Turn) -> AsyncGenerator[BackendEvent | SessionRef | FullReply, None]:
            yield Text(delta=f"{turn.agent.options.greeting}: {turn.input}")
        async def check_health(self, agent: Agent) -> AgentHealth: return AgentHealth(ok=True)

    BACKEND = BackendType(options=Options, open=Parrot)

The module's name is the backend's name in `agents.list`. The fields of `Options` are set there, next to
the common ones, and are checked before the gateway starts. `gateway.domain.ports.backend.Backend` is the
contract of a backend; `tests/contracts/backends.py` tests it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from gateway import log, plugins
from gateway.config import Config
from gateway.domain.agent import Agent
from gateway.domain.candidate import Candidate
from gateway.domain.ports.backend import Abilities, Backend, Turn
from gateway.plugins import RegisteredPlugins
from gateway.process.child import Children

_log = log.get()


def _find_no_traceparent(turn: Turn) -> str | None:
    return None


class BackendResources(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway gives to a backend to work with."""

    #: starts processes; the only way to start one
    children: Children
    #: the gateway's own environment, for keys that an option names; never pass all of it to a child
    environ: Mapping[str, str]
    #: a private directory for the backend's own files; it may not exist yet
    directory: Path
    #: returns the `traceparent` that tells an agent which trace a turn is part of; None where runs are not traced. It
    #: is for what belongs to this turn alone: a process that lives on would put all later turns into this trace
    find_traceparent: Callable[[Turn], str | None] = _find_no_traceparent


class BackendType(msgspec.Struct, frozen=True, kw_only=True):
    """What a backend's module declares."""

    #: struct of the backend's options, strict
    options: type[msgspec.Struct]
    #: makes the backend; the gateway then enters it as an async context manager
    open: Callable[[BackendResources], Backend]
    #: returns an agent that a setting or an environment variable names, or None; asked of all backends first
    named: Callable[[Mapping[str, str], Config], Agent | None] | None = None
    #: returns an agent that is found on this machine, such as a program on PATH, or None
    detect: Callable[[Mapping[str, str], Config], Agent | None] | None = None
    #: returns all agents of this kind that may be on this machine, also those that are not
    list_candidates: Callable[[Mapping[str, str], Config], Iterable[Candidate]] | None = None
    #: completes an agent's options with settings outside its entry
    adapt: Callable[[Any, Config], Any] | None = None
    #: returns what is known of an agent before its first turn; nothing is known without it
    describe: Callable[[Agent], Abilities] | None = None
    #: whether its agents work in a directory; if not, none is made, and `Turn.workspace` is empty
    uses_workspace: bool = True
    #: names of options whose values never appear in logs or output
    secrets: tuple[str, ...] = ()
    #: order of detection: the lowest rank is asked first
    rank: int = 100


@cache
def find_registered_backends() -> RegisteredPlugins[BackendType]:
    """Return the backends that other installed Python packages register, and those of them that fail to load."""
    return plugins.load_plugins("moongate.backends", BackendType, _find_own_backends())


@cache
def find_backends() -> Mapping[str, BackendType]:
    """Return all backends by name: ours and those of other distributions."""
    return plugins.discover_modules(__name__, "BACKEND", find_registered_backends().usable)


def describe_agent(agent: Agent) -> Abilities:
    """Return what is known of an agent before its first turn."""
    kind = find_backends().get(agent.backend)
    if kind is None or kind.describe is None:
        return Abilities()
    try:
        return kind.describe(agent)
    except Exception as error:  # as in plugins: foreign code may raise anything
        if agent.backend not in find_registered_backends().usable:
            raise
        origin = find_registered_backends().origins[agent.backend]
        _log.warning("plugin.broken", plugin=agent.backend, origin=origin, why=f"its description raises {error!r}")
        return Abilities()


@cache
def _find_own_backends() -> Mapping[str, BackendType]:
    return plugins.discover_modules(__name__, "BACKEND")
