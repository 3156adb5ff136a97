"""Agents that speak ACP: Claude Code, Codex, Gemini CLI, opencode and others. A process runs one turn at a time.

    {"id": "main", "backend": "acp", "preset": "claude"}

After a turn, the process stays for a while with its loaded sessions, and another turn may use it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gateway.backends import BackendResources, BackendType
from gateway.backends.acp import detection
from gateway.backends.acp.failures import PromptFailed, SignInNeeded
from gateway.backends.acp.options import Options
from gateway.backends.acp.presets import KnownAgent
from gateway.domain.agent import Agent, PermissionPolicy
from gateway.domain.event import Log
from gateway.domain.newest import NewestValues
from gateway.domain.offer import Offer, OtherModels
from gateway.domain.ports.backend import Abilities, AgentHealth, FileKind, SessionRef, Turn, TurnOutput
from gateway.errors import AgentError, GatewayError
from gateway.process.child import find_program
from gateway.process.side_output import mix_in

if TYPE_CHECKING:
    from gateway.backends.acp.connection import AgentConnection
    from gateway.backends.acp.remarks import AgentRemarks


#: seconds after a session was opened in which the agent certainly takes no other models than it listed then
OFFER_SECONDS = 600.0

#: how often a process that ends before it has answered is started for one turn
MAX_STARTS = 3

_UNKNOWN_ASKING = (
    "Nobody can know whether this program asks before it acts: `permissions` only answers what it asks."
    " A `preset` is made to ask."
)


class _EndedEarly(AgentError):
    """The process ended before it answered `initialize`."""


class AcpBackend:
    """Starts the agents' processes, keeps idle ones, and ends them."""

    def __init__(self, resources: BackendResources) -> None:
        self._resources = resources
        #: idle processes by their key; the last used one is last
        self._idle: dict[bytes, list[AgentConnection]] = {}
        self._timers: dict[AgentConnection, asyncio.TimerHandle] = {}
        #: all processes that run
        self._running: set[AgentConnection] = set()
        #: starts of processes, and those of them whose turn was cancelled
        self._starting: set[asyncio.Task[AgentConnection]] = set()
        self._abandoned: set[asyncio.Task[AgentConnection]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        #: what agents offer and until when that is new, by the keys of their processes
        self._offers: NewestValues[bytes, tuple[Offer, float]] = NewestValues()
        #: which files agents take, by the keys of their processes
        self._taken: NewestValues[bytes, frozenset[FileKind]] = NewestValues()

    async def __aenter__(self) -> AcpBackend:
        return self

    async def __aexit__(self, *exc: object) -> None:
        for starting in self._starting:
            starting.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)
        for timer in self._timers.values():
            timer.cancel()
        for kept in self._idle.values():
            for each in kept:
                self._start_closing(each)
        await asyncio.gather(*self._closing)

    async def check_health(self, agent: Agent) -> AgentHealth:
        from gateway.backends.acp.modes import ModeKeeper

        options: Options = agent.options
        try:
            ModeKeeper(agent, options.asking).check_wanted_mode()
        except AgentError as error:
            return AgentHealth(ok=False, detail=str(error))
        try:
            program = find_program(
                options.known_agent.command[0], self._build_environment(agent), self._working_directory(agent)
            )
        except GatewayError as error:
            return AgentHealth(ok=False, detail=f"{error.message} {options.known_agent.install}".strip())
        missing = await asyncio.to_thread(self._find_missing_credential, agent)
        if options.asking is None and agent.permission_policy is not PermissionPolicy.ALLOW:
            missing = f"{missing} {_UNKNOWN_ASKING}".strip()
        return AgentHealth(ok=True, detail=program, missing=missing)

    def _find_missing_credential(self, agent: Agent) -> str:
        """Return which credential a known agent seems to lack. It may have one elsewhere; a turn will show that."""
        options: Options = agent.options
        known, env = options.known_agent, self._build_environment(agent)
        home = Path(os.path.expanduser(env.get("HOME", "~")))
        files = [home / name for name in known.files]
        if not files or sys.platform == "darwin":  # credentials are in the keychain there, which we cannot read
            return ""
        if any(env.get(name) for name in options.passed_variables) or any(file.exists() for file in files):
            return ""
        return f"no credential was found, neither in {', '.join(known.keys)} nor in {files[0]}. {known.sign_in}"

    def find_offer(self, agent: Agent) -> Offer | None:
        """Return what an agent offered in its last session. After a while, it may take models that it did not list."""
        offer, until = self._offers.get(self._process_key(agent, 0), (None, 0.0))
        if offer is None or time.monotonic() < until:
            return offer
        return msgspec.structs.replace(offer, other_models=OtherModels.ANY)

    def accepts(self, agent: Agent) -> frozenset[FileKind] | None:
        return self._taken.get(self._process_key(agent, 0))

    async def stream_turn(self, turn: Turn) -> AsyncGenerator[TurnOutput, None]:
        from gateway.backends.acp.remarks import AgentRemarks, make_log

        options: Options = turn.agent.options
        remarks = AgentRemarks(options.retry_timeout)
        try:
            async with aclosing(mix_in(self._try_turn(turn, remarks), remarks.output, make_log)) as saying:
                async for said in saying:
                    yield said
        except SignInNeeded as error:
            raise AgentError(error.message, remedy=options.known_agent.sign_in) from error

    async def _try_turn(self, turn: Turn, remarks: AgentRemarks) -> AsyncGenerator[TurnOutput, None]:
        """Run a turn. If its prompt fails, perhaps for a file, try it with the names of its files, then afresh."""
        gives_files = True
        while True:
            try:
                async with aclosing(self._run_turn(turn, remarks, gives_files=gives_files)) as saying:
                    async for said in saying:
                        if isinstance(said, SessionRef):
                            turn = msgspec.structs.replace(turn, session_ref=said.ref)
                        yield said
                return
            except PromptFailed as error:
                if error.has_files:
                    gives_files, how = False, "with the names of the attached files in their place"
                elif turn.session_ref is not None and (not gives_files or await _has_earlier_files(turn)):
                    gives_files, how = False, "in a new conversation, without the files of this one"
                    turn = msgspec.structs.replace(turn, session_ref=None)
                else:
                    raise
                yield Log(level="warning", message=f"{error.message.rstrip('.')}; trying once more {how}.")

    async def _run_turn(
        self, turn: Turn, remarks: AgentRemarks, *, gives_files: bool
    ) -> AsyncGenerator[TurnOutput, None]:
        from gateway.backends.acp.turn import TurnRunner

        key = self._process_key(turn.agent, turn.depth)
        connection = self._take_idle(key, turn.session_ref) or await self._start_process(key, turn, remarks)
        self._running.add(connection)
        for other in self._running - {connection}:
            other.note_turn_elsewhere(turn.session_ref)
        connection.use_remarks(remarks)
        traceparent = self._resources.find_traceparent(turn)
        runner = TurnRunner(connection, turn, gives_files=gives_files, traceparent=traceparent)
        self._taken[self._process_key(turn.agent, 0)] = runner.taken.kinds
        try:
            async with aclosing(runner.stream_events()) as saying:
                async for said in saying:
                    yield said
            if (error := remarks.final_error) is not None:
                raise error
        finally:
            connection.use_remarks(None)
            if runner.offer is not None:
                until = time.monotonic() + OFFER_SECONDS
                self._offers[self._process_key(turn.agent, 0)] = (runner.offer, until)
            if runner.is_reusable and not connection.is_gone and not connection.is_full:
                self._keep_idle(key, connection, turn.agent.options)
            else:
                self._start_closing(connection)
                await asyncio.shield(asyncio.gather(*self._closing))

    # --- processes --------------------------------------------------------------------------

    async def _start_process(self, key: bytes, turn: Turn, remarks: AgentRemarks) -> AgentConnection:
        """Start a process. If the turn is cancelled, the start goes on: the process waits for the next turn.

        Agents that are ended at their first steps leave locks in their home: Qwen Code does not start for a minute.
        """
        starting = asyncio.create_task(self._start_alone(key, turn, remarks), name="acp-start")
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            if starting in self._starting:
                self._abandoned.add(starting)
            elif not starting.done():  # it waits for another one
                starting.cancel()
            elif not starting.cancelled() and starting.exception() is None:
                self._keep_unused(key, starting.result(), turn.agent.options)
            raise

    async def _start_alone(self, key: bytes, turn: Turn, remarks: AgentRemarks) -> AgentConnection:
        options: Options = turn.agent.options
        env = self._build_environment(turn.agent, turn.depth)
        mine = asyncio.current_task()
        assert mine is not None
        async with self._resources.children.first_start(options.known_agent.command[0], env):
            if (kept := self._take_idle(key, turn.session_ref)) is not None:  # a cancelled turn has started it
                return kept
            self._starting.add(mine)
            try:
                connection = await self._start_repeatedly(turn, env, remarks)
                if mine in self._abandoned:
                    self._keep_unused(key, connection, options)
                return connection
            finally:
                self._starting.discard(mine)
                self._abandoned.discard(mine)

    async def _start_repeatedly(self, turn: Turn, env: Mapping[str, str], remarks: AgentRemarks) -> AgentConnection:
        """Start a process, again if it ends early: what another one does or has left in its home may pass.

        opencode fails while another process prepares the same home. Qwen Code waits for the lock of one that was
        killed, and ends after 25 seconds; the lock counts for 60.
        """
        for _ in range(MAX_STARTS - 1):
            with contextlib.suppress(_EndedEarly):
                return await self._start_once(turn, env, remarks)
        return await self._start_once(turn, env, remarks)

    async def _start_once(self, turn: Turn, env: Mapping[str, str], remarks: AgentRemarks) -> AgentConnection:
        from gateway.backends.acp.connection import AgentConnection

        options: Options = turn.agent.options
        try:
            child = await self._resources.children.spawn_child(options.known_agent.command, cwd=turn.workspace, env=env)
        except AgentError as error:
            raise AgentError(error.message, remedy=options.known_agent.install) from error
        connection = AgentConnection(child)
        connection.use_remarks(remarks)
        try:
            await connection.agree_on_protocol(options.start_timeout, asks_people=_asks_people(turn.agent))
        except BaseException as error:
            ended = connection.is_gone
            await connection.close()
            if ended and isinstance(error, AgentError):
                raise _EndedEarly(error.message, remedy=error.remedy) from error
            raise
        return connection

    def _take_idle(self, key: bytes, session: str | None) -> AgentConnection | None:
        """Return an idle process, preferably one that has loaded the session; None if there is none."""
        kept = self._idle.get(key, [])
        for each in [each for each in kept if each.is_gone]:
            self._end_idle(key, each)
        usable = [each for each in kept if session not in each.outdated_sessions]
        if not usable:
            return None
        chosen = next((each for each in usable if session in each.loaded_sessions), usable[-1])
        self._remove_idle(key, chosen)
        return chosen

    def _keep_unused(self, key: bytes, connection: AgentConnection, options: Options) -> None:
        """Keep a process whose turn was cancelled before it could use it."""
        connection.use_remarks(None)
        self._keep_idle(key, connection, options)

    def _keep_idle(self, key: bytes, connection: AgentConnection, options: Options) -> None:
        kept = self._idle.setdefault(key, [])
        kept.append(connection)
        self._timers[connection] = asyncio.get_running_loop().call_later(
            options.idle_stop, self._end_idle, key, connection
        )
        while len(kept) > options.idle_processes:
            self._end_idle(key, kept[0])

    def _end_idle(self, key: bytes, connection: AgentConnection) -> None:
        self._remove_idle(key, connection)
        self._start_closing(connection)

    def _remove_idle(self, key: bytes, connection: AgentConnection) -> None:
        self._timers.pop(connection).cancel()
        self._idle[key].remove(connection)
        if not self._idle[key]:  # an agent that was changed or deleted never comes back to its key
            del self._idle[key]

    def _start_closing(self, connection: AgentConnection) -> None:
        self._running.discard(connection)
        task = asyncio.create_task(connection.close(), name="acp-close")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _process_key(self, agent: Agent, depth: int) -> bytes:
        """Return a key that is the same for processes that can replace each other."""
        options: Options = agent.options
        return msgspec.json.encode(
            [options.known_agent.command, self._build_environment(agent, depth), _asks_people(agent)],
            order="deterministic",
        )

    def _build_environment(self, agent: Agent, depth: int = 0) -> dict[str, str]:
        given = self._resources.environ
        options: Options = agent.options
        passed = {name: given[name] for name in options.passed_variables if name in given}
        return self._resources.children.make_environment(
            {
                **dict(options.known_agent.environment),
                **options.list_asking_variables(agent.permission_policy),
                **passed,
                **agent.env,
            },
            depth,
        )

    def _working_directory(self, agent: Agent) -> str:
        return agent.workspace or str(self._resources.directory)


async def _has_earlier_files(turn: Turn) -> bool:
    return any(message.files for message in await turn.read_history())


def _asks_people(agent: Agent) -> bool:
    return agent.permission_policy is PermissionPolicy.ASK


def describe_agent(agent: Agent) -> Abilities:
    """Tell what is known of the agent of the preset, or of the program's name."""
    known: KnownAgent | None = agent.options.recognised_agent
    return Abilities() if known is None else known.abilities


BACKEND = BackendType(
    options=Options,
    open=AcpBackend,
    detect=detection.detect_agent,
    list_candidates=detection.list_candidates,
    describe=describe_agent,
    rank=20,
)
