"""Runs one turn in a session of an ACP agent, and yields its events."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Awaitable, Sequence
from typing import Any

from acp.schema import (
    AgentMessageChunk,
    AgentThoughtChunk,
    PermissionOption,
    PromptResponse,
    SessionConfigOptionSelect,
    TextContentBlock,
    ToolCallProgress,
    ToolCallStart,
    ToolCallUpdate,
    UsageUpdate,
)

from gateway.backends.acp.connection import AgentConnection, LoadedSession
from gateway.domain.agent import PermissionPolicy
from gateway.domain.event import BackendEvent, Permission, Text, Thinking, Tool, ToolEnd, Usage
from gateway.domain.finish_reason import find_finish_reason
from gateway.domain.permission import Answer, PermissionQuestion
from gateway.domain.ports.backend import SessionRef, Turn, TurnOutput
from gateway.domain.run import FinishReason
from gateway.errors import AgentError
from gateway.process.terminal_text import VisibleText

#: seconds that an agent has to end a cancelled turn; then its process is ended
CANCEL_TIMEOUT_SECONDS = 1.2
#: the protocol's statuses of a tool call that has ended
_TOOL_COMPLETED, _TOOL_FAILED = "completed", "failed"
#: the protocol's kinds of options for each answer, the best one first
_OPTION_KINDS = {
    Answer.ALLOW: ("allow_once", "allow_always"),
    Answer.ALLOW_ALWAYS: ("allow_always",),
    Answer.DENY: ("reject_once", "reject_always"),
}
_ALLOW_REMEDY = 'The agent\'s `"permissions": "allow"` lets it do everything it asks for.'


class TurnRunner:
    """Runs one turn over a connection."""

    def __init__(self, connection: AgentConnection, turn: Turn, mode: str | None) -> None:
        self._connection = connection
        self._turn = turn
        self._mode = mode
        self._asked: list[Permission] = []
        #: questions that people have not answered yet
        self._waiting: set[asyncio.Future[Answer]] = set()
        #: actions that were denied
        self._refused: list[str] = []
        #: whether the agent has written text since the last denial
        self._spoke = True
        self._has_worked = False
        self._answer = VisibleText()
        self._running: set[str] = set()
        #: whether another turn can use the connection
        self.is_reusable = False

    async def stream_events(self) -> AsyncGenerator[TurnOutput, None]:
        """Send the prompt and yield events until the turn ends.

        Raises:
            AgentError: the agent failed or refused.
        """
        session, lost = await self._open_session()
        text = self._turn.input
        restarted = None if lost is None else await self._turn.restart_conversation(lost)
        if restarted is not None:
            yield restarted.remark
            text = restarted.turn.input
        else:
            yield SessionRef(session)
        if lost is not None and self._turn.agent.system_prompt:
            text = f"{self._turn.agent.system_prompt}\n\n{text}"
        with self._connection.listen_to(session, self._answer_request):
            prompt = self._connection.agent.prompt(
                session_id=session, prompt=[TextContentBlock(type="text", text=text)]
            )
            asking = asyncio.create_task(prompt, name="acp-prompt")
            try:
                async for said in self._stream_updates(session, asking):
                    yield said
                response = await self._connection.await_answer(asking, "did not finish")
                self.is_reusable = True
            finally:
                if not asking.done():
                    await self._cancel_prompt(session, asking)
                self._withdraw_questions()
        if (used := response.usage) is not None:
            yield Usage(input=used.input_tokens, output=used.output_tokens, cached=used.cached_read_tokens or 0)
        yield self._check_stop_reason(response.stop_reason)
        if restarted is not None:  # only now: after a failure, the agent may not know what it was told
            yield SessionRef(session)

    async def _stream_updates(
        self, session: str, asking: asyncio.Task[PromptResponse]
    ) -> AsyncGenerator[BackendEvent, None]:
        while not asking.done():
            getting = asyncio.create_task(self._connection.next_update())
            try:
                await asyncio.wait({getting, asking}, return_when=asyncio.FIRST_COMPLETED)
                update = getting.result() if getting.done() else None
            finally:
                getting.cancel()
            for said in (*self._take_permission_events(), *self._read_update(session, update)):
                yield said
        while (update := self._connection.take_update()) is not None:
            for said in self._read_update(session, update):
                yield said
        for said in self._take_permission_events():
            yield said

    def _take_permission_events(self) -> list[Permission]:
        asked, self._asked = self._asked, []
        return asked

    # --- the session ------------------------------------------------------------------------

    async def _open_session(self) -> tuple[str, str | None]:
        """Return the session; with a new one, also what has become of the earlier one, if there was one."""
        connection, turn, lost = self._connection, self._turn, "the agent has no conversation for this session"
        known = turn.session_ref
        if known is not None and known in connection.loaded_sessions:
            await self._choose_model_and_mode(known)
            return known, None
        if known is not None and (connection.can_resume or connection.can_load):
            again = connection.agent.resume_session if connection.can_resume else connection.agent.load_session
            connection.loaded_sessions[known] = LoadedSession()
            try:
                opened = await connection.await_answer(
                    again(cwd=turn.workspace, session_id=known), "did not resume its session"
                )
            except AgentError as error:
                del connection.loaded_sessions[known]
                lost = str(error)
            else:
                self._note_options(known, opened)
                await self._choose_model_and_mode(known)
                return known, None
        elif known is not None:
            lost = "the agent cannot resume a conversation"
        opened = await connection.await_answer(
            connection.agent.new_session(cwd=turn.workspace), "did not open a session"
        )
        connection.loaded_sessions[opened.session_id] = LoadedSession()
        self._note_options(opened.session_id, opened)
        await self._choose_model_and_mode(opened.session_id)
        return opened.session_id, lost

    def _note_options(self, session: str, opened: Any) -> None:
        """Note the options of an opened session; its cost until now belongs to earlier processes."""
        note = self._connection.loaded_sessions[session]
        note.options = [one for one in opened.config_options or () if isinstance(one, SessionConfigOptionSelect)]
        note.has_modes = opened.modes is not None
        note.settled_cost = note.cost

    async def _choose_model_and_mode(self, session: str) -> None:
        """Set the model and the mode, if the agent has such options.

        Raises:
            AgentError: the agent has no such option, or refuses the value.
        """
        model = self._turn.model or self._turn.agent.model
        note = self._connection.loaded_sessions[session]
        for wanted, category in ((model, "model"), (self._mode, "mode")):
            option = next((one for one in note.options if one.category == category or one.id == category), None)
            if option is not None:
                await self._set_option(session, option, wanted)
            elif wanted is None:
                continue
            elif category == "mode" and note.has_modes:
                await self._send_choice(self._connection.agent.set_session_mode(session_id=session, mode_id=wanted))
            else:
                raise AgentError(f"the agent has no option for its {category}, so {wanted!r} cannot be set.")

    async def _set_option(self, session: str, option: SessionConfigOptionSelect, wanted: str | None) -> None:
        """Set an option; if this turn names no value, restore the value from before earlier turns changed it."""
        changed = self._connection.loaded_sessions[session].changed_options
        if wanted is None and option.id not in changed:
            return
        changed.add(option.id)
        value = option.current_value if wanted is None else wanted
        await self._send_choice(
            self._connection.agent.set_config_option(config_id=option.id, session_id=session, value=value)
        )

    async def _send_choice(self, setting: Awaitable[Any]) -> None:
        await self._connection.await_answer(setting, "did not accept the option")

    async def _cancel_prompt(self, session: str, asking: asyncio.Task[PromptResponse]) -> None:
        """Cancel the prompt; if the agent does not stop in time, its process cannot be used again."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(CANCEL_TIMEOUT_SECONDS):
                await self._connection.agent.cancel(session_id=session)
                self._withdraw_questions()
                await asyncio.wait({asking})
        self.is_reusable = asking.done() and not asking.cancelled() and asking.exception() is None
        asking.cancel()

    # --- what it tells ----------------------------------------------------------------------

    def _read_update(self, session: str, update: Any) -> list[BackendEvent]:
        match update:
            case AgentMessageChunk(content=TextContentBlock(text=text)):
                self._answer.feed(text)
                if text.strip() and self._answer.is_shown:
                    self._spoke = True
                return [Text(delta=text)]
            case AgentThoughtChunk(content=TextContentBlock(text=text)):
                return [Thinking(delta=text)]
            case ToolCallStart():
                self._running.add(update.tool_call_id)
                self._has_worked = True
                begun = Tool(
                    id=update.tool_call_id, name=update.title or str(update.kind or "tool"), args=update.raw_input
                )
                return [begun, *self._read_tool_end(update)]
            case ToolCallProgress():
                return self._read_tool_end(update)
            case UsageUpdate():
                return self._take_new_cost(session)
        return []

    def _read_tool_end(self, update: Any) -> list[BackendEvent]:
        if update.status not in (_TOOL_COMPLETED, _TOOL_FAILED) or update.tool_call_id not in self._running:
            return []
        self._running.discard(update.tool_call_id)
        return [
            ToolEnd(
                id=update.tool_call_id,
                name=update.title or "",
                is_error=update.status == _TOOL_FAILED,
                output="\n".join(_read_output(part) for part in update.content or ()),
            )
        ]

    def _take_new_cost(self, session: str) -> list[BackendEvent]:
        """Return the new cost at once: it counts, however the turn ends."""
        note = self._connection.loaded_sessions[session]
        spent, note.settled_cost = note.cost - note.settled_cost, note.cost
        return [Usage(cost=spent)] if spent else []

    def _check_stop_reason(self, reason: str) -> FinishReason:
        """Return why the answer ended.

        Raises:
            AgentError: the turn did not end normally, or without an answer. A turn that used tools or was allowed
                something, and a command of the agent's own such as `/compact`, may end without a word.
        """
        finish = find_finish_reason(reason)
        is_silent_work = self._has_worked or self._turn.input.startswith("/")
        if finish is FinishReason.STOP and self._spoke and (self._answer.is_shown or is_silent_work):
            return finish
        if finish is not None and finish is not FinishReason.STOP and self._answer.is_shown:
            return finish
        if self._refused:  # codex ends its turn after a denial and tells why; opencode ends it without text
            asks = self._turn.agent.permissions is PermissionPolicy.ASK
            remedy = None if asks else _ALLOW_REMEDY
            raise AgentError(f"the agent stopped when it was not allowed: {self._refused[-1]}.", remedy=remedy)
        if finish is None:
            raise AgentError(f"the agent ended its turn: {reason}.")
        raise AgentError(f"the agent ended its turn without an answer: {reason}.")

    # --- what it asks -----------------------------------------------------------------------

    async def _answer_request(
        self, call: ToolCallUpdate, options: Sequence[PermissionOption]
    ) -> PermissionOption | None:
        """Choose an option by the agent's policy or the people's answer: for this once, unless they allow it always."""
        what = call.title or str(call.kind or "something")
        if self._turn.agent.permissions is PermissionPolicy.ASK:
            chosen = _find_option(await self._ask_people(what, options), options)
        else:
            allow = self._turn.agent.permissions is PermissionPolicy.ALLOW
            chosen = _find_option(Answer.ALLOW if allow else Answer.DENY, options)
            self._asked.append(
                Permission(id=call.tool_call_id, action=what, answer=chosen.kind if chosen else "cancelled")
            )
        if chosen is not None and chosen.kind.startswith("allow"):
            self._has_worked = True
        else:
            self._refused.append(what)
            self._spoke = False
        return chosen

    async def _ask_people(self, what: str, options: Sequence[PermissionOption]) -> Answer | None:
        """Ask people; return None if the turn has ended in the meantime."""
        kinds = {option.kind for option in options}
        choices = tuple(answer for answer in Answer if answer is Answer.DENY or _OPTION_KINDS[answer][0] in kinds)
        asking = asyncio.ensure_future(self._turn.ask_permission(PermissionQuestion(action=what, choices=choices)))
        self._waiting.add(asking)
        asking.add_done_callback(self._waiting.discard)
        await asyncio.wait({asking})
        return None if asking.cancelled() else asking.result()

    def _withdraw_questions(self) -> None:
        """Cancel the open questions: the protocol wants them answered as cancelled when a turn ends."""
        for asking in self._waiting:
            asking.cancel()


def _find_option(answer: Answer | None, options: Sequence[PermissionOption]) -> PermissionOption | None:
    """Return the option for an answer; None if there is none: the agent then takes the turn as cancelled."""
    kinds = () if answer is None else _OPTION_KINDS[answer]
    return next((one for kind in kinds for one in options if one.kind == kind), None)


def _read_output(part: Any) -> str:
    """Return a part of a tool's output as text."""
    content = getattr(part, "content", None)
    if isinstance(content, TextContentBlock):
        return content.text
    path = getattr(part, "path", None)
    return f"changed {os.path.basename(path)}" if isinstance(path, str) else ""
