"""One turn of an opencode agent: sends the prompt, and yields what happens until the answer.

The stream of events shows the answer while it grows. The stored messages decide whether the turn is
over and what its answer is, because events may be lost, come twice, or come in another order: after
an error, the session is idle before its last message is stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Sequence

from gateway.backends.opencode import wire
from gateway.backends.opencode.calls import API_CALL_TIMEOUT_SECONDS, RequestRefused
from gateway.backends.opencode.driven_server import DrivenServer, Mark, Prompt
from gateway.backends.opencode.events import EventInbox, EventsLost, InboxEvent, ServerLost
from gateway.backends.opencode.parts import PartReader, read_made_files
from gateway.backends.opencode.permissions import PermissionResponder
from gateway.domain.event import BackendEvent, Log, Usage
from gateway.domain.finish_reason import find_finish_reason
from gateway.domain.ports.backend import FullReply, Turn, TurnOutput
from gateway.domain.run import FinishReason
from gateway.errors import AgentError
from gateway.process.terminal_text import shows_text

#: seconds without an event until the server is asked for the current state; a server of version 2 may be silent when
#: a call of the model breaks off
POLL_INTERVAL_SECONDS, POLL_INTERVAL_SECONDS_2 = 15.0, 3.0
#: seconds between two looks at a session whose turn may be over
END_POLL_SECONDS = 0.2
#: seconds that a session may be idle without an answer, until the turn fails
STALL_TIMEOUT_SECONDS = 120.0
#: seconds for the server to answer an abort
ABORT_TIMEOUT_SECONDS = 1.5
#: how many times we abort the earlier work of a busy session
_MAX_STOP_TRIES = 50

_SIGN_IN_REMEDY = (
    "Sign in with `opencode auth login`, or name the variable that holds the key in the agent's `pass_env`."
)


class FilesRefused(AgentError):
    """opencode or the model refused a prompt before it did anything, perhaps for its files or those of earlier ones."""

    #: whether the conversation has no files of this prompt; it would otherwise be refused with every later one
    is_forgotten = True


class TurnRunner:
    """Runs one turn of a session, from the prompt to the answer."""

    def __init__(self, api: DrivenServer, inbox: EventInbox, session: wire.Session, turn: Turn) -> None:
        self._api = api
        self._inbox = inbox
        self._session = session
        self._turn = turn
        #: where this turn begins
        self._mark = Mark(None)
        #: ids of messages whose text is part of the answer
        self._answers: set[str] = set()
        self._parts = PartReader()
        self._permissions = PermissionResponder(api, session, turn)
        self._usage: dict[str, Usage] = {}
        self._complaint: wire.Error | None = None
        self._error: AgentError | None = None
        self._idle_since: float | None = None
        #: since when the model has only failed; None if it works
        self._failing_since: float | None = None
        self._over = False
        #: whether the server has started the prompt; before that, an abort has no effect
        self._begun = False
        self._cut = False
        #: whether the prompt has files
        self._has_files = False
        #: ids of the answers that have files
        self._with_files: list[str] = []
        #: whether a step has ended and no other has begun
        self._may_be_over = False

    async def stream_events(self, prompt: Prompt) -> AsyncGenerator[TurnOutput, None]:
        """Send the prompt and yield events until the answer. Closing the generator stops the work.

        Raises:
            FilesRefused: the prompt is refused, perhaps for files.
            AgentError: the turn failed.
        """
        await self._api.find_earlier_attempt(self._session, prompt)
        self._has_files = bool(prompt.files)
        if not prompt.is_sent:
            await self._stop_earlier_work()
        self._mark = await self._api.find_mark(self._session, prompt)
        self._inbox.clear_events()
        try:
            await self._api.send_prompt(self._session, prompt)
            if prompt.is_sent:  # it may wait for an answer that it asked the earlier attempt for
                for said in await self._catch_up():
                    yield said
            while not self._over:
                self._permissions.raise_failure()
                for said in await self._handle_event(await self._next_event()):
                    yield said
                for remark in self._permissions.take_remarks():
                    yield remark
        finally:
            questions = self._permissions.withdraw_all()
            if not self._over:
                self._cut = True
                await self._abort_session()
            await asyncio.gather(*questions, return_exceptions=True)
        async for made in self._conclude_turn():
            yield made

    async def _conclude_turn(self) -> AsyncGenerator[TurnOutput, None]:
        """Yield the files of the answer; raise the error of a turn that has failed."""
        if isinstance(self._error, FilesRefused) and self._has_files:
            self._error.is_forgotten = await self._take_back_prompt()
        if self._error is not None:
            raise self._error
        for message in self._with_files:
            try:
                parts = await self._api.read_files(self._session, message)
            except AgentError as error:  # the answer counts without them, too
                yield Log(level="warning", message=f"files of the answer are not kept: {error.message}")
                continue
            for made in read_made_files(parts):
                yield made

    async def _take_back_prompt(self) -> bool:
        try:
            return await self._api.take_back_prompt(self._session, self._mark)
        except RequestRefused:
            return False

    @property
    def stopped_early(self) -> bool:
        """Whether the turn was closed before the server started the prompt: it may still start it."""
        return self._cut and not self._begun

    async def _stop_earlier_work(self) -> None:
        """Abort work that an earlier gateway left running: a prompt to a busy session would join its turn."""
        for _ in range(_MAX_STOP_TRIES):
            if not await self._api.is_busy(self._session):
                return
            await self._api.abort_session(self._session, API_CALL_TIMEOUT_SECONDS)
            await asyncio.sleep(0.1)
        raise AgentError("opencode does not stop what it is doing in this session.")

    async def _abort_session(self) -> None:
        with contextlib.suppress(AgentError):
            await self._api.abort_session(self._session, ABORT_TIMEOUT_SECONDS)

    async def _next_event(self) -> InboxEvent | None:
        """Return the next event; None if none has come for a while."""
        try:
            async with asyncio.timeout(self._poll_interval):
                return await self._inbox.next_event()
        except TimeoutError:
            return None

    @property
    def _poll_interval(self) -> float:
        if self._may_be_over:
            return END_POLL_SECONDS
        return POLL_INTERVAL_SECONDS_2 if self._api.stores_before_idle else POLL_INTERVAL_SECONDS

    async def _handle_event(self, event: InboxEvent | None) -> Sequence[TurnOutput]:
        match event:
            case None:
                return await self._handle_silence()
            case EventsLost():
                self._parts.mark_gap()
                return await self._catch_up()
            case ServerLost(reason=why):
                self._end_turn(AgentError(f"opencode is gone: {why}."))
                return []
            case wire.PermissionAsked() | wire.PermissionReplied() | wire.QuestionAsked():
                self._idle_since = None
                return await self._handle_request(event)
        self._idle_since = None
        is_main = event.session in ("", self._session.id)
        match event:
            case wire.MessageUpdated():
                self._may_be_over = self._may_be_over and not is_main
                self._note_message(event.info)
                return []
            case wire.StepEnded():
                self._usage[event.message] = _count_usage(event.tokens, event.cost)
            case wire.StatusChanged(status=state):
                return self._read_status(state, is_main=event.session == self._session.id)
            case wire.PartDelta() | wire.PartUpdated(part=wire.Part(type="text" | "reasoning" | "tool")):
                self._failing_since = None
        return await self._handle_main_session_event(event) if is_main else []

    async def _handle_silence(self) -> Sequence[TurnOutput]:
        if self._api.stores_before_idle and await self._api.is_busy(self._session):
            return await self._handle_open_requests()  # the stored messages may be large, and decide nothing yet
        return await (self._read_stored_messages(sure=True) if self._may_be_over else self._catch_up())

    async def _handle_request(
        self, event: wire.PermissionAsked | wire.PermissionReplied | wire.QuestionAsked
    ) -> Sequence[TurnOutput]:
        match event:
            case wire.PermissionAsked():
                return await self._permissions.answer_request(event)
            case wire.PermissionReplied(request=request):
                self._permissions.withdraw_question(request)
                return []
            case wire.QuestionAsked():
                self._permissions.answer_question(event)
                return []

    async def _handle_main_session_event(self, event: wire.WireEvent) -> Sequence[TurnOutput]:
        """Handle an event of the session itself; the sessions of helpers do not need it."""
        match event:
            case wire.PartDelta():
                return self._parts.read_delta(event)
            case wire.PartUpdated(part=part):
                return list(self._parts.read_part(part, fresh=True)) if part.message in self._answers else []
            case wire.StepEnded(is_last=True):
                self._may_be_over = True
                return await self._read_stored_messages()
            case wire.SessionIdle():
                return await self._read_stored_messages()
            case wire.SessionFailed(error=error) if error.name != "MessageAbortedError":
                self._complaint = self._complaint or error
                return await self._read_stored_messages()
        return []

    # --- streamed events ----------------------------------------------------------------------

    def _note_message(self, info: wire.MessageInfo) -> None:
        if self._is_of_earlier_turn(info):
            return
        if info.is_from_assistant:
            self._usage[info.id] = _count_usage(info.tokens, info.cost)
        if info.is_answer and info.session in ("", self._session.id):
            self._answers.add(info.id)

    def _is_of_earlier_turn(self, info: wire.MessageInfo) -> bool:
        return self._api.is_earlier(info, self._mark)

    def _read_status(self, state: wire.SessionStatus, *, is_main: bool) -> Sequence[BackendEvent]:
        """Read the state of the session, or of a helper's.

        Raises:
            AgentError: the model has only failed for too long, or its next try is too late. opencode has no limit.
        """
        self._begun = self._begun or (is_main and state.type != "idle")
        if state.type != "retry":
            return []
        now, limit = asyncio.get_running_loop().time(), self._turn.agent.options.retry_timeout
        self._failing_since = self._failing_since or now
        pause = max(0.0, state.next / 1000 - time.time()) if state.next else 0.0
        failing = now - self._failing_since
        if failing + pause > limit:
            how = f"it has only failed for {failing:.0f} s" if failing > pause else f"the next try is in {pause:.0f} s"
            raise AgentError(
                f"opencode cannot reach the model: {state.message} ({how}).",
                remedy="The agent's `retry_timeout` lets it try longer.",
            )
        return [Log(level="warning", message=f"opencode tries again ({state.attempt}): {state.message}")]

    # --- stored messages ----------------------------------------------------------------------

    async def _catch_up(self) -> Sequence[TurnOutput]:
        said = [*await self._handle_open_requests(), *await self._read_stored_messages(sure=True)]
        if not self._over:
            self._check_progress()
        return said

    async def _handle_open_requests(self) -> Sequence[TurnOutput]:
        """Answer the requests that wait, as far as we have not heard of them, and withdraw those that are gone."""
        said: list[TurnOutput] = []
        helpers = await self._api.list_helper_sessions(self._session)
        ours = self._inbox.sessions | {helper.id for helper in helpers}
        open_ = await self._api.list_permission_requests(self._session, ours)
        questions = await self._api.list_questions(self._session, ours)
        self._permissions.withdraw_all_except({asked.id for asked in open_} | {asked.id for asked in questions})
        for asked in open_:
            if asked.session in ours:
                said += await self._permissions.answer_request(asked)
        for question in questions:
            if question.session in ours:
                self._permissions.answer_question(question)
        return said

    def _check_progress(self) -> None:
        now = asyncio.get_running_loop().time()
        if (
            not self._permissions.is_waiting
            and self._idle_since is not None
            and now - self._idle_since > STALL_TIMEOUT_SECONDS
        ):
            self._end_turn(AgentError("opencode stopped working on this without an answer."))

    async def _read_stored_messages(self, *, sure: bool = False) -> Sequence[TurnOutput]:
        """Read the stored messages, and end the turn if they show that it is over.

        Args:
            sure: decide now, because no other event may come.
        """
        busy = await self._api.is_busy(self._session)
        found = await self._api.read_messages_after(self._session, self._mark)
        messages = [message for message in found if not self._is_of_earlier_turn(message.info)]
        said: list[TurnOutput] = []
        for message in messages:
            self._note_message(message.info)
            if message.info.is_answer:
                for part in message.parts:
                    said += self._parts.read_part(part)
        if busy:
            self._begun = True
            self._idle_since = None
        else:
            self._idle_since = self._idle_since or asyncio.get_running_loop().time()
            said += self._decide_end([message for message in messages if message.info.is_answer], sure)
        return said

    def _decide_end(self, answers: Sequence[wire.Message], sure: bool) -> Sequence[TurnOutput]:
        """End the turn of an idle session, unless it has not started or may still write a message."""
        last = answers[-1].info if answers else None
        if last is not None and last.time.completed is None and not (sure or self._api.stores_before_idle):
            return []
        if last is not None and last.time.completed is not None and last.error is None:
            return self._build_answer(answers, last)
        complaint = last.error if last is not None and last.error is not None else self._complaint
        if complaint is None and (last is None or not self._api.stores_before_idle):
            return []
        if self._permissions.ends_turn:
            self._end_turn(self._permissions.denial_error())
        elif complaint is not None and complaint.may_be_about_files and not _have_begun(answers):
            self._end_turn(FilesRefused(f"opencode: {complaint.short_text}"))
        elif complaint is None:
            self._end_turn(AgentError("opencode: it stopped in the middle of its answer"))
        else:
            remedy = _SIGN_IN_REMEDY if complaint.is_refused_credential else None
            self._end_turn(AgentError(f"opencode: {complaint.short_text}", remedy=remedy))
        return self._total_usage()

    def _build_answer(self, answers: Sequence[wire.Message], last: wire.MessageInfo) -> Sequence[TurnOutput]:
        rest = [
            said for message in answers for part in message.parts for said in self._parts.read_part(part, final=True)
        ]
        texts = [text for message in answers if shows_text(text := _join_text(message))]
        self._with_files = [
            message.info.id for message in answers if any(part.type == "file" for part in message.parts)
        ]
        finish = find_finish_reason(last.finish) or FinishReason.STOP
        if not last.finish:
            self._end_turn(AgentError("opencode was told to stop before it had answered."))
        elif self._permissions.denied and (not texts or last.finish == "tool-calls"):
            self._end_turn(self._permissions.denial_error())
        elif last.finish == "error":
            self._end_turn(AgentError("opencode: the model's server broke off the answer."))
        elif not (texts or self._with_files) and (finish is not FinishReason.STOP or not self._parts.used_tools):
            self._end_turn(AgentError(f"opencode ended the turn without an answer: {last.finish}."))
        else:
            self._end_turn(None)
            return [*rest, *self._total_usage(), FullReply(texts[-1] if texts else ""), finish]
        return [*rest, *self._total_usage()]

    def _end_turn(self, error: AgentError | None) -> None:
        self._over = True
        self._error = error

    def _total_usage(self) -> Sequence[Usage]:
        return [sum(self._usage.values(), Usage())]


def _join_text(message: wire.Message) -> str:
    return "".join(part.text for part in message.parts if part.type == "text" and not part.synthetic)


def _have_begun(answers: Sequence[wire.Message]) -> bool:
    """Return whether the model has said or done anything."""
    return any(part.type in ("text", "reasoning", "tool") for message in answers for part in message.parts)


def _count_usage(tokens: wire.Tokens, cost: float) -> Usage:
    return Usage(
        input=int(tokens.input + tokens.cache.read + tokens.cache.write),
        output=int(tokens.output + tokens.reasoning),
        cached=int(tokens.cache.read),
        cost=cost,
    )
