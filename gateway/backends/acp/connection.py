"""One agent's process, and the talk with it: JSON-RPC in lines, by the protocol's own library.

Protocol: https://agentclientprotocol.com. The process is ours, in a group of its own: the library
would signal only the direct child, and wrappers leave what they started behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import acp
from acp.client.connection import ClientSideConnection
from acp.exceptions import RequestError
from acp.schema import (
    AllowedOutcome,
    DeniedOutcome,
    Implementation,
    PermissionOption,
    RequestPermissionResponse,
    SessionConfigOptionSelect,
    ToolCallUpdate,
    UsageUpdate,
)

import gateway
from gateway import surrogates
from gateway.errors import AgentError
from gateway.process.child import Child, lines

#: bytes of one message
LINE = 16 << 20
#: updates that wait to be taken before the agent has to wait
WAITING = 256
#: seconds for the small requests: a session, a mode
CALL = 60.0
#: characters of standard error that an error message shows
SHOWN = 500
#: the protocol says so when somebody has to sign in first
AUTH_REQUIRED = -32000

#: asked for a permission: the tool's call and the choices; returns the chosen one, or None for none
Ask = Callable[[ToolCallUpdate, Sequence[PermissionOption]], Awaitable[PermissionOption | None]]


@dataclass(slots=True, kw_only=True)
class Session:
    """A session that is loaded in a process."""

    #: what the agent lets its client choose here, as it was when the session was opened
    options: list[SessionConfigOptionSelect] = field(default_factory=list)
    #: ids of those that a turn has set
    changed: set[str] = field(default_factory=set)
    #: whether it has modes apart from those
    modes: bool = False
    #: US dollars that the agent says it has cost since it began, and those of them that no turn has to answer for
    cost: float = 0.0
    settled: float = 0.0


class _Lines:
    """The library's transport over a child's pipes: bounded lines, and no more of them than are taken."""

    def __init__(self, child: Child, room: asyncio.Event) -> None:
        self._child = child
        self._room = room
        self._reading: AsyncGenerator[bytes, None] = lines(child.stdout, LINE)
        self._writing = asyncio.Lock()
        #: whether nothing more will come
        self.over = False

    async def send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        async with self._writing:
            await self._child.say(data)

    async def receive(self) -> dict[str, Any] | None:
        while True:
            await self._room.wait()
            try:
                line = await anext(self._reading, None)
            except AgentError:  # a line that is too long: nothing after it can be trusted
                line = None
            if line is None:
                self.over = True
                return None
            if not line.startswith(b"{"):  # a stray remark on standard output
                continue
            with contextlib.suppress(ValueError, RecursionError):
                message = json.loads(surrogates.mended(line))
                if isinstance(message, dict):
                    return message

    async def close(self) -> None:
        await self._reading.aclose()


class _Client:
    """What the agent may ask of us: permissions. Files and terminals are its own affair."""

    def __init__(self, room: asyncio.Event) -> None:
        self._room = room
        self.sessions: dict[str, Session] = {}
        self.updates: asyncio.Queue[Any] = asyncio.Queue()
        #: session whose updates are wanted; others, such as a history that is replayed, are not
        self.listening: str | None = None
        self.ask: Ask | None = None

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None:
        if isinstance(update, UsageUpdate) and session_id in self.sessions:
            self._reckon(self.sessions[session_id], update)
        if session_id == self.listening:
            self.updates.put_nowait(update)
            if self.updates.qsize() >= WAITING:
                self._room.clear()

    def _reckon(self, session: Session, update: UsageUpdate) -> None:
        cost = update.cost
        if cost is not None and cost.currency == "USD" and math.isfinite(cost.amount):
            session.cost = max(session.cost, cost.amount)

    async def request_permission(
        self, session_id: str, tool_call: ToolCallUpdate, options: list[PermissionOption], **_: Any
    ) -> RequestPermissionResponse:
        chosen = await self.ask(tool_call, options) if self.ask and session_id == self.listening else None
        if chosen is None:
            return RequestPermissionResponse(outcome=DeniedOutcome(outcome="cancelled"))
        return RequestPermissionResponse(outcome=AllowedOutcome(outcome="selected", option_id=chosen.option_id))


class Connection:
    """A process that has said hello, the sessions that it knows, and at most one turn at a time."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self._room = asyncio.Event()
        self._room.set()
        self._client = _Client(self._room)
        # The library takes a client that can less than all, and asks it by name.
        self._lines = _Lines(child, self._room)
        self.agent: ClientSideConnection = acp.connect_to_agent(cast("Any", self._client), self._lines)
        self.can_load = False
        self.can_resume = False
        self.version = ""

    async def hello(self, within: float) -> None:
        """Agree on the protocol.

        Raises:
            AgentError: it does not speak it, or not in time.
        """
        we = Implementation(name="moongate", version=gateway.__version__)
        hello = self.agent.initialize(acp.PROTOCOL_VERSION, client_info=we)
        said = await self.call(hello, "did not say hello", within)
        if said.protocol_version != acp.PROTOCOL_VERSION:
            raise AgentError(f"the agent speaks version {said.protocol_version} of ACP, not {acp.PROTOCOL_VERSION}.")
        able = said.agent_capabilities
        self.can_load = bool(able and able.load_session)
        self.can_resume = bool(able and able.session_capabilities and able.session_capabilities.resume)
        self.version = said.agent_info.version if said.agent_info else ""

    @property
    def sessions(self) -> dict[str, Session]:
        """The sessions that are loaded in this process."""
        return self._client.sessions

    @property
    def gone(self) -> bool:
        """Whether it has ended, or hung up."""
        return self.child.returncode is not None or self._lines.over

    async def call(self, asked: Awaitable[Any], what: str, within: float = CALL) -> Any:
        """Wait for the answer to a request.

        Raises:
            AgentError: the agent refused, died, or took too long.
        """
        try:
            async with asyncio.timeout(within):
                return await asked
        except TimeoutError:
            raise AgentError(f"the agent {what} within {within:g} s. {self.remark}".rstrip()) from None
        except RequestError as error:
            raise refused(error) from error
        except ConnectionError as error:
            raise await self.death() from error
        except ValueError as error:  # an answer that is not of the protocol
            raise AgentError(f"the agent {what}: its answer is not of the protocol.") from error

    @property
    def remark(self) -> str:
        """The last of what it wrote to standard error."""
        return self.child.stderr_tail()[-SHOWN:]

    async def death(self) -> AgentError:
        """Return how the process ended, or that it hung up without."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                code = await self.child.wait()
                how = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
                return AgentError(f"the agent's process {how}. {self.remark}".rstrip())
        return AgentError(f"the agent has hung up. {self.remark}".rstrip())

    @contextlib.contextmanager
    def listening(self, session: str, ask: Ask) -> Iterator[None]:
        """Take a session's updates, and answer what it asks, for the time of the block."""
        self._client.updates = asyncio.Queue()
        self._room.set()
        self._client.listening, self._client.ask = session, ask
        try:
            yield
        finally:
            self._client.listening = self._client.ask = None
            self._room.set()

    async def next_update(self) -> Any:
        update = await self._client.updates.get()
        self._made_room()
        return update

    def take_update(self) -> Any | None:
        """Return an update that is there already."""
        return None if self._client.updates.empty() else self._client.updates.get_nowait()

    def _made_room(self) -> None:
        if self._client.updates.qsize() < WAITING:
            self._room.set()

    async def close(self) -> None:
        """End the process and all that it started."""
        await self.child.stop()
        with contextlib.suppress(Exception):  # the library's own end of the pipes
            await self.agent.close()


def refused(error: RequestError) -> AgentError:
    """Return what an error of the protocol means."""
    told = str(error)
    if isinstance(error.data, dict) and isinstance(error.data.get("details") or error.data.get("message"), str):
        told = f"{told}: {error.data.get('details') or error.data['message']}"
    if error.code == AUTH_REQUIRED:
        return AgentError(f"the agent wants its user to sign in: {told[:SHOWN]}")
    return AgentError(f"the agent refused: {told[:SHOWN]}")
