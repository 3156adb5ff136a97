"""Agents that speak ACP: Claude Code, Codex, Gemini CLI, opencode and others. A process runs one turn at a time.

    {"id": "main", "backend": "acp", "preset": "claude"}

After a turn, the process stays for a while with its loaded sessions, and another turn may use it.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gateway.backends import BackendType, Tools
from gateway.backends.acp.options import KNOWN, Options
from gateway.config import Config
from gateway.domain.agent import Agent
from gateway.domain.event import Said
from gateway.domain.ports.backend import Health, Reply, SessionRef, Turn
from gateway.errors import AgentError, GatewayError
from gateway.process.child import find_program

if TYPE_CHECKING:
    from gateway.backends.acp.connection import Connection

_EXTRA = f"Install it into the environment of Moongate: {shlex.quote(sys.executable)} -m pip install 'moongate[acp]'"


class _EndedEarly(AgentError):
    """The process ended before it answered `initialize`."""


class Acp:
    """Starts the agents' processes, keeps idle ones, and ends them."""

    def __init__(self, resources: Tools) -> None:
        self._resources = resources
        #: idle processes by their key; the last used one is last
        self._idle: dict[bytes, list[Connection]] = {}
        self._timers: dict[Connection, asyncio.TimerHandle] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Acp:
        return self

    async def __aexit__(self, *exc: object) -> None:
        for timer in self._timers.values():
            timer.cancel()
        for kept in self._idle.values():
            for each in kept:
                self._end(each)
        await asyncio.gather(*self._closing)

    async def health(self, agent: Agent) -> Health:
        try:
            program = find_program(agent.options.known.command[0], self._environment(agent), self._place(agent))
            _library()
        except GatewayError as error:
            return Health(ok=False, detail=f"{error} {agent.options.known.install}")
        return Health(ok=True, detail=program, missing=await asyncio.to_thread(self._missing, agent))

    def _missing(self, agent: Agent) -> str:
        """Return which credential a known agent seems to lack. It may have one elsewhere; a turn will show that."""
        options: Options = agent.options
        known, env = options.known, self._environment(agent)
        files = [Path(env.get("HOME", "~")).expanduser() / name for name in known.files]
        if not files or sys.platform == "darwin":  # credentials are in the keychain there, which we cannot read
            return ""
        if any(env.get(name) for name in options.passed) or any(file.exists() for file in files):
            return ""
        return f"no credential was found, neither in {', '.join(known.keys)} nor in {files[0]}. {known.sign_in}"

    async def prompt(self, turn: Turn) -> AsyncGenerator[Said | SessionRef | Reply, None]:
        _library()
        from gateway.backends.acp.turn import Talk

        key = self._key(turn.agent, turn.depth)
        here = self._take(key, turn.session_ref) or await self._start(turn)
        talk = Talk(here, turn, turn.agent.options.mode)
        try:
            async with aclosing(talk.run()) as saying:
                async for said in saying:
                    yield said
        except AgentError as error:
            if "sign in" in error.message and error.remedy is None:
                raise AgentError(error.message, remedy=turn.agent.options.known.sign_in) from error
            raise
        finally:
            if talk.is_reusable and not here.gone:
                self._keep(key, here, turn.agent.options)
            else:
                self._end(here)
                await asyncio.shield(asyncio.gather(*self._closing))

    # --- processes --------------------------------------------------------------------------

    async def _start(self, turn: Turn) -> Connection:
        options: Options = turn.agent.options
        env = self._environment(turn.agent, turn.depth)
        async with self._resources.children.settling(options.known.command[0], env):
            try:
                return await self._begin(turn, env)
            except _EndedEarly:  # opencode fails while another process prepares the same home directory
                return await self._begin(turn, env)

    async def _begin(self, turn: Turn, env: Mapping[str, str]) -> Connection:
        from gateway.backends.acp.connection import Connection

        options: Options = turn.agent.options
        try:
            child = await self._resources.children.spawn(
                options.known.command, cwd=turn.workspace, env=env, strays=True
            )
        except AgentError as error:
            raise AgentError(error.message, remedy=options.known.install) from error
        here = Connection(child)
        try:
            await here.hello(options.start_timeout)
        except BaseException as error:
            ended = here.gone
            await here.close()
            if ended and isinstance(error, AgentError):
                raise _EndedEarly(error.message, remedy=error.remedy) from error
            raise
        return here

    def _take(self, key: bytes, session: str | None) -> Connection | None:
        """Return an idle process, preferably one that has loaded the session; None if there is none."""
        kept = self._idle.get(key, [])
        for each in [each for each in kept if each.gone]:
            self._reap(key, each)
        if not kept:
            return None
        chosen = next((each for each in kept if session in each.sessions), kept[-1])
        kept.remove(chosen)
        self._timers.pop(chosen).cancel()
        return chosen

    def _keep(self, key: bytes, here: Connection, options: Options) -> None:
        kept = self._idle.setdefault(key, [])
        kept.append(here)
        self._timers[here] = asyncio.get_running_loop().call_later(options.idle_stop, self._reap, key, here)
        while len(kept) > options.idle_processes:
            self._reap(key, kept[0])

    def _reap(self, key: bytes, here: Connection) -> None:
        self._idle[key].remove(here)
        self._timers.pop(here).cancel()
        self._end(here)

    def _end(self, here: Connection) -> None:
        task = asyncio.create_task(here.close(), name="acp-close")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _key(self, agent: Agent, depth: int) -> bytes:
        """Return a key that is the same for processes that can replace each other."""
        options: Options = agent.options
        return msgspec.json.encode([options.known.command, self._environment(agent, depth)], order="deterministic")

    def _environment(self, agent: Agent, depth: int = 0) -> dict[str, str]:
        given = self._resources.environ
        passed = {name: given[name] for name in agent.options.passed if name in given}
        return self._resources.children.environment(passed | agent.env, depth)

    def _place(self, agent: Agent) -> str:
        return os.path.expanduser(agent.workspace) if agent.workspace else str(self._resources.directory)


def _library() -> None:
    """Raise AgentError if the protocol's library is not installed."""
    try:
        import acp  # noqa: F401 an extra
    except ImportError:
        raise AgentError("the backend acp needs the package agent-client-protocol.", remedy=_EXTRA) from None


def detect(environ: Mapping[str, str], config: Config) -> Agent | None:
    """Find the first known agent whose program is on PATH, except opencode: it has a backend of its own."""
    path = environ.get("PATH", os.defpath).split(os.pathsep)
    for preset, known in KNOWN.items():
        if known.command[0] != "opencode" and any(os.access(Path(place) / known.command[0], os.X_OK) for place in path):
            return Agent(id="main", backend="acp", options=Options(preset=preset))
    return None


BACKEND = BackendType(options=Options, open=Acp, detect=detect, rank=20)
