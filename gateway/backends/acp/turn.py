"""Runs one turn in a session of an ACP agent, and yields its events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator

from acp.exceptions import RequestError
from acp.schema import PromptResponse

from gateway.backends.acp.connection import AgentConnection, LoadedSession
from gateway.backends.acp.elicitation import QuestionResponder
from gateway.backends.acp.failures import PromptFailed, SignInNeeded, may_concern_files
from gateway.backends.acp.modes import ModeKeeper
from gateway.backends.acp.permissions import PermissionResponder
from gateway.backends.acp.presets import recognise_name
from gateway.backends.acp.prompts import TakenFiles, build_prompt, find_taken_files
from gateway.backends.acp.sessions import SessionOpener
from gateway.backends.acp.updates import Heard, UpdateReader
from gateway.domain.agent import PermissionPolicy
from gateway.domain.event import Log, Text, Thinking
from gateway.domain.finish_reason import find_finish_reason
from gateway.domain.offer import Offer, OtherModels
from gateway.domain.ports.backend import NewFile, SessionRef, Turn, TurnOutput
from gateway.domain.run import FinishReason
from gateway.errors import AgentError

#: seconds that an agent has to end a cancelled turn; then its process is ended
CANCEL_TIMEOUT_SECONDS = 1.2
#: what an agent says; it does not count when it comes after a failure or a cancel
_WORDS = (Text, Thinking, Log, NewFile)
_ALLOW_REMEDY = 'The agent\'s `"permissions": "allow"` lets it do everything it asks for.'


class TurnRunner:
    """Runs one turn over a connection."""

    def __init__(
        self, connection: AgentConnection, turn: Turn, *, gives_files: bool = True, traceparent: str | None = None
    ) -> None:
        """Args:
        gives_files: whether files are given in blocks if the agent takes them; else, they are only named.
        traceparent: which trace the prompt is part of, if it is traced.
        """
        # https://agentclientprotocol.com/protocol/extensibility: `_meta` has this key for it
        self._meta = {} if traceparent is None else {"traceparent": traceparent}
        self._connection = connection
        self._turn = turn
        self._gives_files = gives_files
        known = turn.agent.options.recognised_agent or recognise_name(connection.name)
        self._modes = ModeKeeper(turn.agent, None if known is None else known.asking)
        other_models = OtherModels.ANY if known is None else known.other_models
        self._opener = SessionOpener(connection, turn, self._modes, other_models)
        self._updates = UpdateReader(connection.name)
        self._permissions = PermissionResponder(turn, connection)
        self._questions = QuestionResponder(turn)
        #: which files the agent takes in the blocks of a prompt
        self.taken = find_taken_files(connection.prompt_capabilities, known)
        #: whether another turn can use the connection
        self.is_reusable = False

    @property
    def offer(self) -> Offer | None:
        """What the agent offers, once it has opened the session."""
        return self._opener.offer

    async def stream_events(self) -> AsyncGenerator[TurnOutput, None]:
        """Send the prompt and yield events until the turn ends.

        Raises:
            PromptFailed: the agent refused the prompt, perhaps for a file of the conversation.
            AgentError: the agent failed or refused.
        """
        session, lost = await self._opener.open_session()
        named = await self._turn.place_and_name(self._turn.attachments)
        text = named.turn.input
        restarted = None if lost is None else await named.turn.restart_conversation(lost)
        if restarted is not None:
            yield restarted.remark
            text = restarted.turn.input
        else:
            yield SessionRef(session)
        if lost is not None and self._turn.agent.system_prompt:
            text = f"{self._turn.agent.system_prompt}\n\n{text}"
        blocks = await build_prompt(text, named, self.taken if self._gives_files else TakenFiles())
        note = self._connection.loaded_sessions[session]
        with self._connection.listen_to(session, self._permissions.answer_request, self._questions.answer_form):
            self._watch_mode(note, note.told_mode)
            prompt = self._connection.agent.prompt(session_id=session, prompt=[*blocks], **self._meta)
            asking = asyncio.create_task(prompt, name="acp-prompt")
            try:
                async for said in self._stream_updates(session, asking):
                    yield said
                response = await self._connection.await_answer(asking, "did not finish")
                self.is_reusable = True
            except (AgentError, asyncio.CancelledError) as error:
                # An agent that only reports a failure keeps the conversation in its process.
                self.is_reusable = _is_refused(asking) and not isinstance(error, SignInNeeded)
                await self._cancel_prompt(session, asking)
                for told in self._read_rest(session, asking):
                    yield told
                if isinstance(error, AgentError) and _is_refused(asking) and self._may_be_repeated(error):
                    raise PromptFailed(error.message, has_files=len(blocks) > 1) from error
                raise
            finally:
                await self._cancel_prompt(session, asking)
                self._withdraw_questions()
        for told in self._updates.read_end(response):
            yield told
        yield self._check_stop_reason(response.stop_reason)
        if restarted is not None:  # only now: after a failure, the agent may not know what it was told
            yield SessionRef(session)

    async def _stream_updates(self, session: str, asking: asyncio.Task[PromptResponse]) -> AsyncGenerator[Heard, None]:
        note = self._connection.loaded_sessions[session]
        while not asking.done():
            getting = asyncio.create_task(self._connection.next_update())
            try:
                held = self._updates.seconds_to_wait
                await asyncio.wait({getting, asking}, timeout=held, return_when=asyncio.FIRST_COMPLETED)
                update = getting.result() if getting.done() else None
            finally:
                getting.cancel()
            self._watch_mode(note, update)
            for said in (*self._updates.read_update(note, update), *self._updates.show_overdue()):
                yield said
        while (update := self._connection.take_update()) is not None:
            self._watch_mode(note, update)
            for said in self._updates.read_update(note, update):
                yield said

    def _read_rest(self, session: str, asking: asyncio.Task[PromptResponse]) -> Iterator[Heard]:
        """Yield what still counts of a turn that fails or is cancelled: its tokens and costs, and the ends of tools."""
        note = self._connection.loaded_sessions[session]
        while (update := self._connection.take_update()) is not None:
            yield from (said for said in self._updates.read_update(note, update) if not isinstance(said, _WORDS))
        has_answer = asking.done() and not asking.cancelled() and asking.exception() is None
        yield from self._updates.read_end(asking.result() if has_answer else None, has_failed=True)

    def _watch_mode(self, note: LoadedSession, told: object) -> None:
        """End the turn if the agent leaves the mode in which it asks, unless people have allowed something always.

        Raises:
            AgentError: it has left the mode by itself.
        """
        mode = self._modes.find_forbidden_mode(told)
        if mode is None or mode == note.allowed_mode:
            return
        if not self._permissions.has_allowed_always:
            raise self._modes.explain_change(mode)
        note.allowed_mode = mode

    async def _cancel_prompt(self, session: str, asking: asyncio.Task[PromptResponse]) -> None:
        """Cancel the prompt, unless it has ended; if the agent does not stop in time, its process is of no use."""
        if asking.done() or asking.cancelling():
            return
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(CANCEL_TIMEOUT_SECONDS):
                await self._connection.agent.cancel(session_id=session)
                self._withdraw_questions()
                await asyncio.wait({asking})
        self.is_reusable = asking.done() and not asking.cancelled() and asking.exception() is None
        asking.cancel()

    def _may_be_repeated(self, error: AgentError) -> bool:
        return may_concern_files(error) and not (self._updates.has_answered or self._updates.has_worked)

    def _withdraw_questions(self) -> None:
        self._permissions.withdraw_questions()
        self._questions.withdraw_questions()

    def _check_stop_reason(self, reason: str) -> FinishReason:
        """Return why the answer ended.

        Raises:
            AgentError: the turn did not end normally, or without an answer. A turn that used tools or was allowed
                something, and a command of the agent's own such as `/compact`, may end without a word.
        """
        finish, told = find_finish_reason(reason), self._updates
        is_silent_work = told.has_worked or self._turn.input.startswith("/")
        if finish is FinishReason.STOP and told.has_spoken and (told.has_answered or is_silent_work):
            return finish
        if finish is not None and finish is not FinishReason.STOP and told.has_answered:
            return finish
        if told.refused:  # codex says why after a denial; opencode ends without text
            asks = self._turn.agent.permission_policy is PermissionPolicy.ASK
            remedy = None if asks else _ALLOW_REMEDY
            raise AgentError(f"the agent stopped when it was not allowed: {told.refused}.", remedy=remedy)
        if finish is None:
            raise AgentError(f"the agent ended its turn: {reason}.")
        raise AgentError(f"the agent ended its turn without an answer: {reason}.")


def _is_refused(asking: asyncio.Task[PromptResponse]) -> bool:
    """Return whether the agent has answered a prompt with an error."""
    return asking.done() and not asking.cancelled() and isinstance(asking.exception(), RequestError)
