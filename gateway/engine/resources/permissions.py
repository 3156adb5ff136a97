"""Permissions: an agent asks, people answer in time, or it is denied."""

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
from gateway.domain.permission import ACTION, Answer, Lapse, PermissionRequest, Wanted, request_number
from gateway.domain.ports.store import Store
from gateway.domain.run import Run
from gateway.domain.times import Clock
from gateway.engine.hub import Hub
from gateway.engine.storage_retry import until_taken
from gateway.errors import GatewayError, InvalidRequest, PermissionNotFound

#: requests of one attempt that may wait at the same time; what comes beside is denied
WAITING = 16

_log = log.get()


class Permissions:
    """What agents ask to be allowed. An answer counts whichever process of the store takes it."""

    def __init__(self, store: Store, hub: Hub, clock: Clock) -> None:
        self._store = store
        self._hub = hub
        self._clock = clock
        #: how many wait, by the id of the run
        self._waiting: Counter[str] = Counter()

    async def ask(self, run: Run, wanted: Wanted, seconds: float) -> Answer:
        """Tell people what the attempt at a run asks for, and return what they say: no, if nobody does in time.

        Raises:
            Fenced: the attempt is no longer the run's.
        """
        if self._waiting[run.id] >= WAITING:
            _log.warning("permission.too_many", run=run.id, action=wanted.action[:ACTION])
            return Answer.DENY
        self._waiting[run.id] += 1
        try:
            return await self._ask(run, _told(wanted), seconds)
        finally:
            self._waiting[run.id] -= 1
            if not self._waiting[run.id]:
                del self._waiting[run.id]

    async def answer(
        self, run: str, request: str, answer: Answer, by: str, key: IdempotencyKey | None = None
    ) -> PermissionRequest:
        """Answer a run's request, by the token of that name; the first answer counts.

        Raises:
            RunNotFound, PermissionNotFound: there is no such run or request.
            InvalidRequest: it cannot be told that.
            Conflict: it was answered, or the agent does not wait for it any more.
        """
        found = await self.find(run, request)
        if answer not in found.choices:
            raise InvalidRequest(f"answer: {found.id} can be told {', '.join(found.choices)}, not {answer}.")
        return await self._store.permissions.answer(found.run, found.n, answer, by, key)

    async def find(self, run: str, request: str) -> PermissionRequest:
        """Return a request of a run, which may be named by a unique prefix of its id.

        Raises:
            RunNotFound, PermissionNotFound: there is no such run or request.
        """
        known = await self._store.runs.get(run)
        number = request_number(request)
        if number is None:
            raise PermissionNotFound(f"the run {known.id} has no permission request {request[:64]!r}.")
        return await self._store.permissions.get(known.id, number)

    async def list(self, run: str, page: Page) -> Sequence[PermissionRequest]:
        """Return a run's requests, newest first.

        Raises:
            RunNotFound: there is no such run.
        """
        return await self._store.permissions.list(run, page)

    async def _ask(self, run: Run, wanted: Wanted, seconds: float) -> Answer:
        expires = self._clock() + round(seconds * 1000)
        asked = await until_taken(lambda: self._store.permissions.ask(run.id, run.epoch, wanted, expires))
        _log.info("permission.asked", request=asked.id, action=asked.action)
        try:
            async with asyncio.timeout(seconds):
                return await self._answered(asked)
        except TimeoutError:
            closed = await until_taken(lambda: self._store.permissions.close(run.id, asked.n, Lapse.DEADLINE))
            return closed.answer or Answer.DENY
        except asyncio.CancelledError:
            with contextlib.suppress(GatewayError):  # the end of the attempt withdraws it at the latest
                await self._store.permissions.close(run.id, asked.n, Lapse.WITHDRAWN)
            raise

    async def _answered(self, asked: PermissionRequest) -> Answer:
        """Wait for the event that tells the answer, in whichever process it was given."""
        async with aclosing(self._hub.follow(asked.run, asked.event)) as events:
            async for event in events:
                if isinstance(event.data, Permission) and event.data.id == asked.id and event.data.answer:
                    return Answer(event.data.answer)
        return Answer.DENY


def _told(wanted: Wanted) -> Wanted:
    # What a program says need not be Unicode, and need not be short.
    action = wanted.action[:ACTION].encode("utf-8", "replace").decode()
    return msgspec.structs.replace(wanted, action=action)
