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

from gateway.backends.acp.connection import Connection, Session
from gateway.domain.agent import Permissions
from gateway.domain.event import Log, Permission, Said, Text, Thinking, Tool, ToolEnd, Usage
from gateway.domain.permission import Answer, Wanted
from gateway.domain.ports.backend import SessionRef, Turn
from gateway.errors import AgentError

#: seconds that an agent has to end a cancelled turn; then its process is ended
CANCELLING = 1.2
#: the protocol's statuses of a tool call that has ended
_DONE, _FAILED = "completed", "failed"
#: the protocol's kinds of options for each answer, the best one first
_KINDS = {
    Answer.ALLOW: ("allow_once", "allow_always"),
    Answer.ALLOW_ALWAYS: ("allow_always",),
    Answer.DENY: ("reject_once", "reject_always"),
}
_ALLOW = 'The agent\'s `"permissions": "allow"` lets it do everything it asks for.'


class Talk:
    """Runs one turn over a connection."""

    def __init__(self, here: Connection, turn: Turn, mode: str | None) -> None:
        self._here = here
        self._turn = turn
        self._mode = mode
        self._asked: list[Permission] = []
        #: questions that people have not answered yet
        self._waiting: set[asyncio.Future[Answer]] = set()
        #: actions that were denied
        self._refused: list[str] = []
        #: whether the agent has written text since the last denial
        self._spoke = True
        self._running: set[str] = set()
        #: whether another turn can use the connection
        self.is_reusable = False

    async def run(self) -> AsyncGenerator[Said | SessionRef, None]:
        """Send the prompt and yield events until the turn ends.

        Raises:
            AgentError: the agent failed or refused.
        """
        session, fresh, remark = await self._open()
        if remark is not None:
            yield remark
        yield SessionRef(session)
        text = self._turn.input
        if fresh and self._turn.agent.system_prompt:
            text = f"{self._turn.agent.system_prompt}\n\n{text}"
        with self._here.listening(session, self._answer):
            prompt = self._here.agent.prompt(session_id=session, prompt=[TextContentBlock(type="text", text=text)])
            asking = asyncio.create_task(prompt, name="acp-prompt")
            try:
                async for said in self._listen(session, asking):
                    yield said
                response = await self._here.call(asking, "did not finish")
                self.is_reusable = True
            finally:
                if not asking.done():
                    await self._cancel(session, asking)
                self._ask_no_more()
        if (used := response.usage) is not None:
            yield Usage(input=used.input_tokens, output=used.output_tokens, cached=used.cached_read_tokens or 0)
        if (ending := self._judge(response.stop_reason)) is not None:
            yield ending

    async def _listen(self, session: str, asking: asyncio.Task[PromptResponse]) -> AsyncGenerator[Said, None]:
        while not asking.done():
            getting = asyncio.create_task(self._here.next_update())
            try:
                await asyncio.wait({getting, asking}, return_when=asyncio.FIRST_COMPLETED)
                update = getting.result() if getting.done() else None
            finally:
                getting.cancel()
            for said in (*self._taken(), *self._read(session, update)):
                yield said
        while (update := self._here.take_update()) is not None:
            for said in self._read(session, update):
                yield said
        for said in self._taken():
            yield said

    def _taken(self) -> list[Permission]:
        asked, self._asked = self._asked, []
        return asked

    # --- the session ------------------------------------------------------------------------

    async def _open(self) -> tuple[str, bool, Log | None]:
        """Return the session, whether it is new, and a warning if an earlier conversation could not be resumed."""
        here, turn, remark = self._here, self._turn, None
        known = turn.session_ref
        if known is not None and known in here.sessions:
            await self._set_up(known)
            return known, False, None
        if known is not None and (here.can_resume or here.can_load):
            again = here.agent.resume_session if here.can_resume else here.agent.load_session
            here.sessions[known] = Session()
            try:
                opened = await here.call(again(cwd=turn.workspace, session_id=known), "did not resume its session")
            except AgentError as error:
                del here.sessions[known]
                remark = Log(
                    level="warning", message=f"{error} It starts a new session, without memory of the conversation."
                )
            else:
                self._note(known, opened)
                await self._set_up(known)
                return known, False, None
        elif known is not None:
            remark = Log(level="warning", message="the agent cannot resume a conversation: it starts a new one")
        opened = await here.call(here.agent.new_session(cwd=turn.workspace), "did not open a session")
        here.sessions[opened.session_id] = Session()
        self._note(opened.session_id, opened)
        await self._set_up(opened.session_id)
        return opened.session_id, True, remark

    def _note(self, session: str, opened: Any) -> None:
        """Note the options of an opened session; its cost until now belongs to earlier processes."""
        note = self._here.sessions[session]
        note.options = [one for one in opened.config_options or () if isinstance(one, SessionConfigOptionSelect)]
        note.modes = opened.modes is not None
        note.settled = note.cost

    async def _set_up(self, session: str) -> None:
        """Set the model and the mode, if the agent has such options.

        Raises:
            AgentError: the agent has no such option, or refuses the value.
        """
        model = self._turn.model or self._turn.agent.model
        note = self._here.sessions[session]
        for wanted, category in ((model, "model"), (self._mode, "mode")):
            option = next((one for one in note.options if one.category == category or one.id == category), None)
            if option is not None:
                await self._pick(session, option, wanted)
            elif wanted is None:
                continue
            elif category == "mode" and note.modes:
                await self._choose(self._here.agent.set_session_mode(session_id=session, mode_id=wanted))
            else:
                raise AgentError(f"the agent has no option for its {category}, so {wanted!r} cannot be set.")

    async def _pick(self, session: str, option: SessionConfigOptionSelect, wanted: str | None) -> None:
        """Set an option; if this turn names no value, restore the value from before earlier turns changed it."""
        changed = self._here.sessions[session].changed
        if wanted is None and option.id not in changed:
            return
        changed.add(option.id)
        value = option.current_value if wanted is None else wanted
        await self._choose(self._here.agent.set_config_option(config_id=option.id, session_id=session, value=value))

    async def _choose(self, setting: Awaitable[Any]) -> None:
        await self._here.call(setting, "did not accept the option")

    async def _cancel(self, session: str, asking: asyncio.Task[PromptResponse]) -> None:
        """Cancel the prompt; if the agent does not stop in time, its process cannot be used again."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(CANCELLING):
                await self._here.agent.cancel(session_id=session)
                self._ask_no_more()
                await asyncio.wait({asking})
        self.is_reusable = asking.done() and not asking.cancelled() and asking.exception() is None
        asking.cancel()

    # --- what it tells ----------------------------------------------------------------------

    def _read(self, session: str, update: Any) -> list[Said]:
        match update:
            case AgentMessageChunk(content=TextContentBlock(text=text)):
                self._spoke = self._spoke or bool(text.strip())
                return [Text(delta=text)]
            case AgentThoughtChunk(content=TextContentBlock(text=text)):
                return [Thinking(delta=text)]
            case ToolCallStart():
                self._running.add(update.tool_call_id)
                begun = Tool(
                    id=update.tool_call_id, name=update.title or str(update.kind or "tool"), args=update.raw_input
                )
                return [begun, *self._ended(update)]
            case ToolCallProgress():
                return self._ended(update)
            case UsageUpdate():
                return self._spent(session)
        return []

    def _ended(self, update: Any) -> list[Said]:
        if update.status not in (_DONE, _FAILED) or update.tool_call_id not in self._running:
            return []
        self._running.discard(update.tool_call_id)
        return [
            ToolEnd(
                id=update.tool_call_id,
                name=update.title or "",
                is_error=update.status == _FAILED,
                output="\n".join(_text(part) for part in update.content or ()),
            )
        ]

    def _spent(self, session: str) -> list[Said]:
        """Return the new cost at once: it counts, however the turn ends."""
        note = self._here.sessions[session]
        spent, note.settled = note.cost - note.settled, note.cost
        return [Usage(cost=spent)] if spent else []

    def _judge(self, reason: str) -> Log | None:
        """Return a warning about the stop reason, or None.

        Raises:
            AgentError: the turn did not end normally.
        """
        match reason:
            case "end_turn" if self._spoke:
                return None
            case "max_tokens" | "max_turn_requests":
                return Log(level="warning", message=f"the agent stopped at a limit: {reason}")
        if self._refused:  # codex ends its turn after a denial and tells why; opencode ends it without text
            asks = self._turn.agent.permissions is Permissions.ASK
            remedy = None if asks else _ALLOW
            raise AgentError(f"the agent stopped when it was not allowed: {self._refused[-1]}.", remedy=remedy)
        raise AgentError(f"the agent ended its turn: {reason}.")

    # --- what it asks -----------------------------------------------------------------------

    async def _answer(self, call: ToolCallUpdate, options: Sequence[PermissionOption]) -> PermissionOption | None:
        """Choose an option by the agent's policy or the people's answer: for this once, unless they allow it always."""
        what = call.title or str(call.kind or "something")
        if self._turn.agent.permissions is Permissions.ASK:
            chosen = _chosen(await self._ask(what, options), options)
        else:
            allow = self._turn.agent.permissions is Permissions.ALLOW
            chosen = _chosen(Answer.ALLOW if allow else Answer.DENY, options)
            self._asked.append(
                Permission(id=call.tool_call_id, action=what, answer=chosen.kind if chosen else "cancelled")
            )
        if chosen is None or not chosen.kind.startswith("allow"):
            self._refused.append(what)
            self._spoke = False
        return chosen

    async def _ask(self, what: str, options: Sequence[PermissionOption]) -> Answer | None:
        """Ask people; return None if the turn has ended in the meantime."""
        kinds = {option.kind for option in options}
        choices = tuple(answer for answer in Answer if answer is Answer.DENY or _KINDS[answer][0] in kinds)
        asking = asyncio.ensure_future(self._turn.ask(Wanted(action=what, choices=choices)))
        self._waiting.add(asking)
        asking.add_done_callback(self._waiting.discard)
        await asyncio.wait({asking})
        return None if asking.cancelled() else asking.result()

    def _ask_no_more(self) -> None:
        """Cancel the open questions: the protocol wants them answered as cancelled when a turn ends."""
        for asking in self._waiting:
            asking.cancel()


def _chosen(answer: Answer | None, options: Sequence[PermissionOption]) -> PermissionOption | None:
    """Return the option for an answer; None if there is none: the agent then takes the turn as cancelled."""
    kinds = () if answer is None else _KINDS[answer]
    return next((one for kind in kinds for one in options if one.kind == kind), None)


def _text(part: Any) -> str:
    """Return a part of a tool's output as text."""
    content = getattr(part, "content", None)
    if isinstance(content, TextContentBlock):
        return content.text
    path = getattr(part, "path", None)
    return f"changed {os.path.basename(path)}" if isinstance(path, str) else ""
