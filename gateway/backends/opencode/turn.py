"""One turn of an opencode agent: sends the prompt, and yields what happens until the answer.

The stream of events shows the answer while it grows. The stored messages decide whether the turn is
over and what its answer is, because events may be lost, come twice, or come in another order: after
an error, the session is idle before its last message is stored.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from gateway.backends.opencode import wire
from gateway.backends.opencode.api import CALL, Api
from gateway.backends.opencode.events import Event, Gap, Inbox, Lost
from gateway.backends.opencode.parts import PartReader
from gateway.backends.opencode.permissions import PermissionResponder
from gateway.domain.event import Log, Said, Usage
from gateway.domain.ports.backend import Reply, Turn
from gateway.errors import AgentError

#: seconds without an event until the server is asked for the current state
POLL = 15.0
#: seconds that a session may be idle without an answer, until the turn fails
STALLED = 120.0
#: seconds for the server to answer an abort
ABORT = 1.5
#: how many times we abort the earlier work of a busy session
_TRIES = 50


class Talk:
    """Runs one turn of a session, from the prompt to the answer."""

    def __init__(self, api: Api, inbox: Inbox, session: wire.Session, turn: Turn) -> None:
        self._api = api
        self._inbox = inbox
        self._session = session
        self._turn = turn
        #: id of the newest message before this turn
        self._mark: str | None = None
        #: ids of messages whose text is part of the answer
        self._answers: set[str] = set()
        self._parts = PartReader()
        self._permissions = PermissionResponder(api, session.directory, turn)
        self._usage: dict[str, Usage] = {}
        self._complaint: str | None = None
        self._error: AgentError | None = None
        self._idle_since: float | None = None
        self._over = False
        #: whether the server has started the prompt; before that, an abort has no effect
        self._begun = False
        self._cut = False

    async def run(self, prompt: dict[str, Any]) -> AsyncGenerator[Said | Reply, None]:
        """Send the prompt and yield events until the answer. Closing the generator stops the work."""
        await self._make_way()
        self._mark = await self._api.newest_message(self._session)
        self._inbox.clear()
        try:
            await self._api.prompt(self._session, prompt)
            while not self._over:
                for said in await self._take(await self._next()):
                    yield said
        finally:
            questions = self._permissions.withdraw_all()
            if not self._over:
                self._cut = True
                await self._stop()
            await asyncio.gather(*questions, return_exceptions=True)
        if self._error is not None:
            raise self._error

    @property
    def stopped_early(self) -> bool:
        """Whether the turn was closed before the server started the prompt: it may still start it."""
        return self._cut and not self._begun

    async def _make_way(self) -> None:
        """Abort work that an earlier gateway left running: a prompt to a busy session would join its turn."""
        for _ in range(_TRIES):
            if not await self._api.busy(self._session):
                return
            await self._api.abort(self._session, CALL)
            await asyncio.sleep(0.1)
        raise AgentError("opencode does not stop what it is doing in this session.")

    async def _stop(self) -> None:
        with contextlib.suppress(AgentError):
            await self._api.abort(self._session, ABORT)

    async def _next(self) -> Event | None:
        """Return the next event; None if none has come for a while."""
        try:
            async with asyncio.timeout(POLL):
                return await self._inbox.get()
        except TimeoutError:
            return None

    async def _take(self, event: Event | None) -> Sequence[Said | Reply]:
        match event:
            case None:
                return await self._reconcile()
            case Gap():
                self._parts.mark_gap()
                return await self._reconcile()
            case Lost(why=why):
                self._end(AgentError(f"opencode is gone: {why}."))
                return []
        self._idle_since = None
        match event:
            case wire.PermissionAsked():
                return await self._permissions.answer_request(event)
            case wire.PermissionReplied(request=request):
                self._permissions.withdraw(request)
                return []
            case wire.QuestionAsked():
                return await self._permissions.reject_question(event)
            case wire.MessageUpdated():
                self._note(event.info)
                return []
        return await self._follow(event) if event.session in ("", self._session.id) else []

    async def _follow(self, event: wire.WireEvent) -> Sequence[Said | Reply]:
        """Handle an event of the session itself; the sessions of helpers do not need it."""
        match event:
            case wire.Delta():
                return self._parts.read_delta(event)
            case wire.PartUpdated(part=part):
                return list(self._parts.read_part(part, fresh=True)) if part.message in self._answers else []
            case wire.StatusChanged(status=state):
                return self._status(state)
            case wire.Idle():
                return await self._settle()
            case wire.Failed(error=error) if error.name != "MessageAbortedError":
                self._complaint = self._complaint or error.text
                return await self._settle()
        return []

    # --- streamed events ----------------------------------------------------------------------

    def _note(self, info: wire.Info) -> None:
        if self._late(info):
            return
        if info.assistant:
            self._usage[info.id] = _usage(info)
        if info.answers and info.session in ("", self._session.id):
            self._answers.add(info.id)

    def _late(self, info: wire.Info) -> bool:
        """Tell whether a message belongs to an earlier turn, which may still write after it was stopped."""
        mark = self._mark
        return mark is not None and (info.id <= mark or (info.parent != "" and info.parent <= mark))

    def _status(self, state: wire.State) -> Sequence[Said]:
        self._begun = self._begun or state.type != "idle"
        if state.type != "retry":
            return []
        # opencode retries for ever; the timeout of the run ends it.
        return [Log(level="warning", message=f"opencode tries again ({state.attempt}): {state.message}")]

    # --- stored messages ----------------------------------------------------------------------

    async def _reconcile(self) -> Sequence[Said | Reply]:
        said: list[Said | Reply] = []
        helpers = await self._api.helpers(self._session)
        ours = self._inbox.sessions | {helper.id for helper in helpers}
        open_ = await self._api.permissions(self._session.directory)
        self._permissions.withdraw_all_except({asked.id for asked in open_})
        for asked in open_:
            if asked.session in ours:
                said += await self._permissions.answer_request(asked)
        said += await self._settle(sure=True)
        if not self._over:
            self._check_progress()
        return said

    def _check_progress(self) -> None:
        now = asyncio.get_running_loop().time()
        if not self._permissions.is_waiting and self._idle_since is not None and now - self._idle_since > STALLED:
            self._end(AgentError("opencode stopped working on this without an answer."))

    async def _settle(self, *, sure: bool = False) -> Sequence[Said | Reply]:
        """Read the stored messages, and end the turn if they show that it is over.

        Args:
            sure: decide now, because no other event may come.
        """
        busy = await self._api.busy(self._session)
        found = await self._api.messages_after(self._session, self._mark)
        messages = [message for message in found if not self._late(message.info)]
        said: list[Said | Reply] = []
        for message in messages:
            self._note(message.info)
            if message.info.answers:
                for part in message.parts:
                    said += self._parts.read_part(part)
        if busy:
            self._begun = True
            self._idle_since = None
        else:
            self._idle_since = self._idle_since or asyncio.get_running_loop().time()
            said += self._decide([message for message in messages if message.info.answers], sure)
        return said

    def _decide(self, answers: Sequence[wire.Message], sure: bool) -> Sequence[Said | Reply]:
        """End the turn of an idle session, unless it has not started or may still write a message."""
        last = answers[-1].info if answers else None
        if last is not None and last.time.completed is None and not sure:
            return []  # after an error, the session is idle before its last message is stored
        if last is not None and last.time.completed is not None and last.error is None:
            return self._conclude(answers, last)
        complaint = last.error.text if last is not None and last.error is not None else self._complaint
        if complaint is None:
            return []
        self._end(
            self._permissions.denial_error() if self._permissions.ends_turn else AgentError(f"opencode: {complaint}")
        )
        return self._total()

    def _conclude(self, answers: Sequence[wire.Message], last: wire.Info) -> Sequence[Said | Reply]:
        rest = [
            said for message in answers for part in message.parts for said in self._parts.read_part(part, final=True)
        ]
        texts = [text for message in answers if (text := _text_of(message))]
        if not last.finish:
            self._end(AgentError("opencode was told to stop before it had answered."))
        elif self._permissions.denied and (not texts or last.finish == "tool-calls"):
            self._end(self._permissions.denial_error())
        else:
            self._end(None)
            return [*rest, *self._total(), Reply(texts[-1] if texts else "")]
        return [*rest, *self._total()]

    def _end(self, error: AgentError | None) -> None:
        self._over = True
        self._error = error

    def _total(self) -> Sequence[Usage]:
        return [sum(self._usage.values(), Usage())]


def _text_of(message: wire.Message) -> str:
    return "".join(part.text for part in message.parts if part.type == "text" and not part.synthetic)


def _usage(info: wire.Info) -> Usage:
    tokens = info.tokens
    return Usage(
        input=int(tokens.input + tokens.cache.read + tokens.cache.write),
        output=int(tokens.output + tokens.reasoning),
        cached=int(tokens.cache.read),
        cost=info.cost,
    )
