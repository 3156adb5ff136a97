"""One agent's process and the connection to it: JSON-RPC in lines, with the protocol's own library.

Protocol: https://agentclientprotocol.com. We start the process ourselves, in a process group of its
own. The library would signal only the direct child, and a wrapper leaves the processes that it has started.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import acp
from acp.client.connection import ClientSideConnection
from acp.exceptions import RequestError
from acp.schema import (
    AllowedOutcome,
    ClientCapabilities,
    ConfigOptionUpdate,
    CreateElicitationResponse,
    CurrentModeUpdate,
    DeclineElicitationResponse,
    DeniedOutcome,
    ElicitationCapabilities,
    ElicitationFormCapabilities,
    ElicitationMode,
    Implementation,
    PermissionOption,
    PromptCapabilities,
    RequestPermissionResponse,
    SessionConfigOptionSelect,
    SessionModeState,
    ToolCallUpdate,
    UsageUpdate,
    UserMessageChunk,
)

import gateway
from gateway.backends.acp.failures import explain_refusal
from gateway.backends.acp.models import ModelList
from gateway.backends.acp.remarks import AgentRemarks, drop_routine
from gateway.backends.acp.transport import MAX_QUOTED_OUTPUT_CHARACTERS, LineTransport
from gateway.errors import AgentError
from gateway.process.child import Child

#: updates that may wait; when more come, reading stops, and the agent has to wait
MAX_WAITING_UPDATES = 256
#: seconds that an agent may pause while it repeats the history of a session, seconds until its first prompt comes, and
#: seconds in all. Gemini CLI repeats it after it has said that the session is loaded; others, before
HISTORY_PAUSE_SECONDS, HISTORY_START_SECONDS, HISTORY_TIMEOUT_SECONDS = 0.2, 2.0, 10.0
#: sessions that a process keeps loaded, if it can close them: Claude Code has a program for each, of about 200 MB; and
#: after how many sessions a process that cannot close them is not used again
MAX_LOADED_SESSIONS, MAX_UNCLOSED_SESSIONS = 2, 32
#: seconds that an agent has to close a session
CLOSE_TIMEOUT_SECONDS = 5.0
#: seconds for short requests: to open a session, to set a mode
ACP_CALL_TIMEOUT_SECONDS = 60.0

#: asks for a permission: takes the tool call and the options; returns the chosen option, or None to cancel
AskPermission = Callable[[ToolCallUpdate, Sequence[PermissionOption]], Awaitable[PermissionOption | None]]
#: asks people the form of an agent: takes its message and its fields
AskForm = Callable[[str, ElicitationMode], Awaitable[CreateElicitationResponse]]


@dataclass(slots=True, kw_only=True)
class LoadedSession:
    """A session that a process has loaded."""

    #: options that the client may set, as they were when the session was opened
    options: list[SessionConfigOptionSelect] = field(default_factory=list)
    #: ids of the options that a turn has set
    changed_options: set[str] = field(default_factory=set)
    #: the modes that the session has in addition to the options, as they were when it was opened
    modes: SessionModeState | None = None
    #: the models that it has in addition to the options, and whether a turn has set one of them
    models: ModelList | None = None
    is_model_changed: bool = False
    #: what the agent told last about its mode, since it was set and outside of a turn
    told_mode: object = None
    #: the mode to which the agent has changed because people have allowed something always
    allowed_mode: str | None = None
    #: US dollars since the start of the session, as the agent reports them; and the part that is already counted
    cost: float = 0.0
    settled_cost: float = 0.0
    #: prompts of the history that the agent has repeated since it loaded the session, and the loop's time of its last
    #: update
    repeated_prompts: int = 0
    updated_at: float = 0.0


class _Client:
    """Our side of the connection: receives the agent's updates and answers its requests.

    It offers no files and no terminals; the agent uses its own.
    """

    def __init__(self, room: asyncio.Event) -> None:
        self._room = room
        self.sessions: dict[str, LoadedSession] = {}
        self.updates: asyncio.Queue[Any] = asyncio.Queue()
        #: session whose updates are wanted; all others are dropped, such as a history that is replayed
        self.listening: str | None = None
        self.ask: AskPermission | None = None
        self.ask_form: AskForm | None = None
        #: the remarks of the turn that runs
        self.remarks: AgentRemarks | None = None

    async def ext_notification(self, method: str, params: dict[str, Any]) -> None:
        if self.remarks is not None and params.get("sessionId") == self.listening:
            self.remarks.read_notification(method, params)

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None:
        if isinstance(update, UsageUpdate) and session_id in self.sessions:
            self._add_cost(self.sessions[session_id], update)
        if session_id != self.listening:
            self._note_outside_turn(session_id, update)
        else:
            if self.remarks is not None:
                self.remarks.read_update(update)
            self.add_update(update)

    def add_update(self, update: Any) -> None:
        """Add an update behind those that wait; when they are many, reading stops."""
        self.updates.put_nowait(update)
        if self.updates.qsize() >= MAX_WAITING_UPDATES:
            self._room.clear()

    def _note_outside_turn(self, session_id: str, update: Any) -> None:
        if (session := self.sessions.get(session_id)) is not None:
            session.updated_at = asyncio.get_running_loop().time()
            if isinstance(update, UserMessageChunk):
                session.repeated_prompts += 1
            elif isinstance(update, CurrentModeUpdate | ConfigOptionUpdate):
                session.told_mode = update

    def _add_cost(self, session: LoadedSession, update: UsageUpdate) -> None:
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

    async def create_elicitation(self, message: str, mode: ElicitationMode, **_: Any) -> CreateElicitationResponse:
        # The form of a subagent has a session of its own; a process works on one turn at a time.
        if self.ask_form is None:
            return DeclineElicitationResponse(action="decline")
        return await self.ask_form(message, mode)


class AgentConnection:
    """The connection to one process: its loaded sessions, and at most one turn at a time."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self._room = asyncio.Event()
        self._room.set()
        self._client = _Client(self._room)
        # The library looks for the methods of its client by name, so ours need not have all of them.
        self._lines = LineTransport(child, self._room)
        self.agent: ClientSideConnection = acp.connect_to_agent(
            cast("Any", self._client), self._lines, use_unstable_protocol=True
        )
        self.remarks: AgentRemarks | None = None
        #: sessions that this process has loaded, and that went on in another one since
        self.outdated_sessions: set[str] = set()
        self.can_load = False
        self.can_resume = False
        self.can_close = False
        #: what may be in a prompt
        self.prompt_capabilities: PromptCapabilities | None = None
        #: how it calls itself
        self.name = ""
        self.version = ""

    async def agree_on_protocol(self, within: float, *, asks_people: bool) -> None:
        """Agree on the protocol.

        Args:
            asks_people: whether people answer the agent's forms.

        Raises:
            AgentError: the agent does not speak it, or does not answer in time.
        """
        we = Implementation(name="moongate", version=gateway.__version__)
        forms = ElicitationCapabilities(form=ElicitationFormCapabilities()) if asks_people else None
        able_to = ClientCapabilities(elicitation=forms)
        hello = self.agent.initialize(acp.PROTOCOL_VERSION, client_capabilities=able_to, client_info=we)
        said = await self.await_answer(hello, "did not answer `initialize`", within)
        if said.protocol_version != acp.PROTOCOL_VERSION:
            raise AgentError(f"the agent speaks version {said.protocol_version} of ACP, not {acp.PROTOCOL_VERSION}.")
        able = said.agent_capabilities
        self.can_load = bool(able and able.load_session)
        self.prompt_capabilities = able.prompt_capabilities if able else None
        sessions = able.session_capabilities if able else None
        self.can_resume = bool(sessions and sessions.resume)
        self.can_close = bool(sessions and sessions.close) and (self.can_load or self.can_resume)
        if said.agent_info is not None:
            self.name, self.version = said.agent_info.name, said.agent_info.version

    def use_remarks(self, remarks: AgentRemarks | None) -> None:
        """Give what the agent tells next to its answer to the remarks of a turn; None ends this."""
        self.remarks = self._client.remarks = self._lines.remarks = remarks
        self.child.follow_stderr(None if remarks is None else remarks.output.feed)

    async def send_request(self, method: str, params: dict[str, Any]) -> Any:
        """Send a request for which the library has no method, or whose answer it knows only in part.

        Raises:
            RequestError, ConnectionError: as the library's own methods; see `await_answer`.
        """
        return await self.agent._conn.send_request(method, params)

    @property
    def loaded_sessions(self) -> dict[str, LoadedSession]:
        """The sessions that this process has loaded, by id."""
        return self._client.sessions

    async def close_old_sessions(self) -> None:
        """Close those that were used longest ago, so that there is room for another one. It can load them again."""
        while self.can_close and len(self.loaded_sessions) >= MAX_LOADED_SESSIONS:
            oldest = next(iter(self.loaded_sessions))
            del self.loaded_sessions[oldest]
            self.outdated_sessions.discard(oldest)
            # If it fails, the agent keeps the session, or works no more: the next request shows it.
            with contextlib.suppress(AgentError):
                closing = self.send_request("session/close", {"sessionId": oldest})
                await self.await_answer(closing, "did not close a session", CLOSE_TIMEOUT_SECONDS)

    @property
    def is_full(self) -> bool:
        """Whether it has so many sessions that another process should take its place."""
        return not self.can_close and len(self.loaded_sessions) >= MAX_UNCLOSED_SESSIONS

    def note_turn_elsewhere(self, session: str | None) -> None:
        """Note that a session goes on in another process: what this one remembers of it is no longer all."""
        if session in self.loaded_sessions:
            self.outdated_sessions.add(session)

    @property
    def is_gone(self) -> bool:
        """Whether the process has ended or closed its output."""
        return self.child.returncode is not None or self._lines.over

    async def await_answer(self, asked: Awaitable[Any], what: str, within: float = ACP_CALL_TIMEOUT_SECONDS) -> Any:
        """Wait for the answer to a request.

        Raises:
            AgentError: the agent refused, died, or took too long.
        """
        try:
            async with asyncio.timeout(within):
                return await asked
        except TimeoutError:
            raise AgentError(f"the agent {what} within {within:g} s. {self.last_error_output}".rstrip()) from None
        except RequestError as error:
            raise explain_refusal(error) from error
        except ConnectionError as error:
            raise await self.describe_end() from error
        except ValueError as error:  # the answer does not fit the protocol
            raise AgentError(f"the agent {what}: its answer does not fit the protocol.") from error

    async def wait_for_history(self, session: str) -> bool:
        """Wait until the agent has repeated the history of a session that it has loaded; return whether it has any."""
        note, now = self.loaded_sessions[session], asyncio.get_running_loop().time
        start = now()
        while now() < start + HISTORY_TIMEOUT_SECONDS and not self.is_gone:
            silence = now() - max(note.updated_at, start)
            left = (HISTORY_PAUSE_SECONDS if note.repeated_prompts else HISTORY_START_SECONDS) - silence
            if left <= 0:
                break
            await asyncio.sleep(min(left, HISTORY_PAUSE_SECONDS))
        return note.repeated_prompts > 0

    @property
    def last_error_output(self) -> str:
        """The end of its standard error, and what it wrote to standard output that is no message."""
        written = f"It wrote: {self._lines.stray_text}" if self._lines.stray_text else ""
        complaint = drop_routine(self.child.stderr_tail())[-MAX_QUOTED_OUTPUT_CHARACTERS:]
        return " ".join(filter(None, [complaint, written]))

    async def describe_end(self) -> AgentError:
        """Return an error that tells how the process ended, or why the connection cannot be used any more."""
        if self._lines.fault is not None:
            return self._lines.fault
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                code = await self.child.wait_ended()
                how = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
                return AgentError(f"the agent's process {how}. {self.last_error_output}".rstrip())
        return AgentError(f"the agent has closed the connection. {self.last_error_output}".rstrip())

    @contextlib.contextmanager
    def listen_to(self, session: str, ask: AskPermission, ask_form: AskForm) -> Iterator[None]:
        """Receive a session's updates and answer its requests, inside the `with` block."""
        self._client.updates = asyncio.Queue()
        self._room.set()
        self._client.listening, self._client.ask, self._client.ask_form = session, ask, ask_form
        try:
            yield
        finally:
            self._client.listening = self._client.ask = self._client.ask_form = None
            self._room.set()

    async def next_update(self) -> Any:
        update = await self._client.updates.get()
        self._resume_reading()
        return update

    def add_update(self, update: Any) -> None:
        """Add an update behind those that wait."""
        self._client.add_update(update)

    def take_update(self) -> Any | None:
        """Return the next update without a wait; None if there is none."""
        return None if self._client.updates.empty() else self._client.updates.get_nowait()

    def _resume_reading(self) -> None:
        if self._client.updates.qsize() < MAX_WAITING_UPDATES:
            self._room.set()

    async def close(self) -> None:
        """End the process and all processes that it has started."""
        await self.child.stop_group()
        with contextlib.suppress(Exception):  # the library may fail on pipes that are closed
            await self.agent.close()
