"""Permission requests and questions: an agent asks, and people answer in time; if they do not, it is denied."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing

import msgspec

from gateway import log
from gateway.domain.event import Permission
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.permission import (
    MAX_ACTION_CHARACTERS,
    Answer,
    AskedPermission,
    DenialReason,
    GivenAnswer,
    PermissionQuestion,
    PermissionRequest,
    parse_request_id,
)
from gateway.domain.ports.store import Store
from gateway.domain.question import AnswerContent, check_answer
from gateway.domain.run import Run
from gateway.domain.times import Clock
from gateway.domain.typed_answer import read_typed_answer
from gateway.engine.hub import Hub
from gateway.engine.storage_retry import until_stored
from gateway.errors import GatewayError, InvalidRequest, PermissionNotFound

#: requests of one attempt that may wait for an answer at the same time; further ones are denied
MAX_OPEN_REQUESTS = 16

_log = log.get()


class Permissions:
    """What agents ask to be allowed. Any process with the same store may take the answer."""

    def __init__(self, store: Store, hub: Hub, clock: Clock) -> None:
        self._store = store
        self._hub = hub
        self._clock = clock
        #: number of requests that wait for an answer, by the id of the run
        self._waiting: Counter[str] = Counter()

    def with_store(self, store: Store, hub: Hub) -> Permissions:
        """Return the same on top of another store."""
        return Permissions(store, hub, self._clock)

    async def ask_people(self, run: Run, question: PermissionQuestion, seconds: float) -> GivenAnswer:
        """Show people what an attempt asks for, and return their answer; deny it if nobody answers in time.

        Raises:
            Fenced: another attempt at the run has begun.
        """
        if self._waiting[run.id] >= MAX_OPEN_REQUESTS:
            _log.warning("permission.too_many", run=run.id, action=question.action[:MAX_ACTION_CHARACTERS])
            return GivenAnswer(Answer.DENY)
        self._waiting[run.id] += 1
        try:
            return await self._ask_and_wait(run, _clean_question(question), seconds)
        finally:
            self._waiting[run.id] -= 1
            if not self._waiting[run.id]:
                del self._waiting[run.id]

    async def answer_request(
        self,
        run: str,
        request: str,
        answer: Answer,
        by: str,
        key: IdempotencyKey | None = None,
        content: AnswerContent | str | None = None,
    ) -> PermissionRequest:
        """Answer a run's request. The first answer counts.

        Args:
            by: name of the token that answers.
            content: the answers to the fields of a question, by their names; or a text that a person has typed.

        Raises:
            RunNotFound, PermissionNotFound: there is no such run or request.
            InvalidRequest: the request does not offer this answer, or its content does not fit the question.
            Conflict: it was answered, or the agent no longer waits for it.
        """
        found = await self.get_request(run, request)
        if answer not in found.choices:
            raise InvalidRequest(
                f"answer: {found.id} can be answered with {', '.join(found.choices)}, not with {answer}."
            )
        checked = _check_content(found, answer, content)
        return await self._store.permissions.answer(found.run, found.number, answer, by, key, checked)

    async def get_request(self, run: str, request: str) -> PermissionRequest:
        """Return a request of a run. `run` is the run's id, or a unique prefix of it.

        Raises:
            RunNotFound, PermissionNotFound: there is no such run or request.
        """
        known = await self._store.runs.get(run)
        number = parse_request_id(request)
        if number is None:
            raise PermissionNotFound(f"the task {known.id} has no permission request {request[:64]!r}.")
        return await self._store.permissions.get(known.id, number)

    async def list_requests(self, run: str, page: Page) -> Sequence[PermissionRequest]:
        """Return a run's requests, newest first.

        Raises:
            RunNotFound: there is no such run.
        """
        return await self._store.permissions.list(run, page)

    async def list_all_requests(self, waiting: bool | None, page: Page) -> Sequence[AskedPermission]:
        """Return the requests of all runs, newest first.

        Args:
            waiting: only those that wait for an answer, or only the others; None means all.
        """
        return await self._store.permissions.list_all(waiting, page)

    async def _ask_and_wait(self, run: Run, question: PermissionQuestion, seconds: float) -> GivenAnswer:
        expires = self._clock() + round(seconds * 1000)
        asked = await until_stored(lambda: self._store.permissions.ask(run.id, run.epoch, question, expires))
        _log.info("permission.asked", request=asked.id, action=asked.action)
        try:
            async with asyncio.timeout(seconds):
                return await self._wait_for_answer(asked)
        except TimeoutError:
            closed = await until_stored(
                lambda: self._store.permissions.close(run.id, asked.number, DenialReason.DEADLINE)
            )
            return GivenAnswer(closed.answer or Answer.DENY, closed.content)
        except asyncio.CancelledError:
            with contextlib.suppress(GatewayError):  # otherwise the end of the attempt withdraws it
                await self._store.permissions.close(run.id, asked.number, DenialReason.WITHDRAWN)
            raise

    async def _wait_for_answer(self, asked: PermissionRequest) -> GivenAnswer:
        """Wait for the event with the answer, whichever process took it."""
        async with aclosing(self._hub.follow_run(asked.run, asked.event_number)) as events:
            async for event in events:
                if isinstance(event.data, Permission) and event.data.id == asked.id and event.data.answer:
                    return GivenAnswer(Answer(event.data.answer), event.data.content)
        return GivenAnswer(Answer.DENY)


def _check_content(
    asked: PermissionRequest, answer: Answer, content: AnswerContent | str | None
) -> AnswerContent | None:
    """Return the content of an answer; None if it has none."""
    if answer is not Answer.ANSWER or asked.question is None:
        if content is not None:
            raise InvalidRequest(f"content: the answer {answer} to {asked.id} has none.")
        return None
    if isinstance(content, str):
        return read_typed_answer(asked.question, content)
    return check_answer(asked.question, content or {})


def _clean_question(question: PermissionQuestion) -> PermissionQuestion:
    # A program may say something that is not Unicode, or very long.
    action = question.action[:MAX_ACTION_CHARACTERS].encode("utf-8", "replace").decode()
    return msgspec.structs.replace(question, action=action)
