"""The store as a limited caller reaches it: each operation checks what it is about, and lists leave out the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from gateway.domain.delivery import WEBHOOK_KIND, Delivery, DeliveryAttempt, DeliveryFilter, StatusCounts, Target
from gateway.domain.event import Event
from gateway.domain.file import File, StoredFile
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.permission import AskedPermission, PermissionRequest
from gateway.domain.ports.file_store import StagedFile
from gateway.domain.ports.store import Store
from gateway.domain.queue import AdmissionRules, BackgroundCounts
from gateway.domain.reach import Reach
from gateway.domain.run import AcceptedRun, Run, RunCounts, RunFilter, RunSpec, Source, Status
from gateway.domain.search import SearchHit, SearchQuery
from gateway.domain.session import ALL_SESSIONS, Message, Session, SessionFilter, SessionKey
from gateway.engine.limited.refusal import Opened, check_agent, check_session, make_refusal
from gateway.engine.limited.schedules import LimitedSchedules
from gateway.errors import DeliveryNotFound, FileUnknown, Forbidden, RunNotFound, SessionNotFound

#: characters of the id of a file
FILE_ID_CHARACTERS = 26


class _Limited:
    """One noun. Operations that it does not define are refused."""

    def __init__(self, store: Store, reach: Reach) -> None:
        self._store = store
        self._reach = reach

    def __getattr__(self, name: str) -> Any:
        raise make_refusal()

    async def _get_run(self, run_id: str) -> Run:
        """Return a run that is reached. Another one looks as one that does not exist.

        Raises:
            RunNotFound: there is none, or the part of an id fits several.
        """
        try:
            run = await self._store.runs.get(run_id)
        except RunNotFound:
            run = None
        if run is None or not self._reach.covers_session(run.spec.session):
            raise RunNotFound(f"there is no task with the id {run_id[:64]!r}.")
        return run


class _LimitedRuns(_Limited):
    async def accept(
        self,
        spec: RunSpec,
        key: IdempotencyKey | None = None,
        admission: AdmissionRules | None = None,
        staged: Sequence[StagedFile] = (),
    ) -> AcceptedRun:
        check_session(self._reach, spec.session)
        check_agent(self._reach, spec.agent)
        check_targets(self._reach, spec.session, spec.deliver)
        await LimitedFiles(self._store, self._reach).check_all(spec.attachments, staged)
        return await self._store.runs.accept(spec, key, admission, staged)

    get = _Limited._get_run

    def _limit(self, which: RunFilter) -> RunFilter:
        """Return a filter of what is reached. A single agent or session is named: an index finds its runs."""
        agents, sessions = self._reach.agents or (), self._reach.sessions or ()
        agent = agents[0] if len(agents) == 1 else None
        session = sessions[0] if len(sessions) == 1 and not sessions[0].endswith("*") else None
        return replace(which, reach=self._reach, agent=which.agent or agent, session=which.session or session)

    async def list(self, which: RunFilter, page: Page) -> Sequence[Run]:
        return await self._store.runs.list(self._limit(which), page)

    async def list_ids(self, which: RunFilter, limit: int) -> Sequence[str]:
        return await self._store.runs.list_ids(self._limit(which), limit)

    async def count(self, which: RunFilter) -> RunCounts:
        return await self._store.runs.count(self._limit(which))

    async def list_finished_ids(self, label: str, limit: int) -> Sequence[str]:
        return await self._store.runs.list_finished_ids(label, limit)  # `read_batch` leaves the others out

    async def read_batch(self, ids: Sequence[str], size: int, *, shortened: bool) -> tuple[int, Sequence[Run]]:
        count, runs = await self._store.runs.read_batch(ids, size, shortened=shortened)
        return count, [run for run in runs if self._reach.covers_session(run.spec.session)]

    async def cancel(self, run_id: str, key: IdempotencyKey | None = None) -> Run:
        return await self._store.runs.cancel((await self._get_run(run_id)).id, key)

    async def release(self, run_id: str, busy: Any, key: IdempotencyKey | None = None) -> AcceptedRun:
        run = await self._get_run(run_id)
        check_targets(self._reach, run.spec.session, run.spec.deliver)
        return await self._store.runs.release(run.id, busy, key)

    async def find_blockers(self, runs: Sequence[Run], limits: Any) -> Mapping[str, Any]:
        return await self._store.runs.find_blockers(runs, limits)

    async def list_ended(self, agents: Sequence[str], each: int) -> Mapping[str, Any]:
        if self._reach.sessions is not None:
            raise make_refusal()
        return await self._store.runs.list_ended([one for one in agents if self._reach.covers_agent(one)], each)

    async def count_backlog(self) -> BackgroundCounts:
        found = await self.count(RunFilter(source=Source.BACKGROUND))
        by = found.by_status
        return BackgroundCounts(active=by[Status.RUNNING], queued=by[Status.QUEUED], total=sum(by.values()))

    @property
    def find_batch(self) -> Any:  # a batch belongs to the idempotency key of its token
        return self._store.runs.find_batch

    @property
    def remember_batch(self) -> Any:
        return self._store.runs.remember_batch


class _LimitedEvents(_Limited):
    async def read_after(self, run_id: str, after: int, limit: int, size: int | None = None) -> Sequence[Event]:
        return await self._store.events.read_after((await self._get_run(run_id)).id, after, limit, size)


class _LimitedPermissions(_Limited):
    async def get(self, run_id: str, n: int) -> PermissionRequest:
        return await self._store.permissions.get((await self._get_run(run_id)).id, n)

    async def list(self, run_id: str, page: Page) -> Sequence[PermissionRequest]:
        return await self._store.permissions.list((await self._get_run(run_id)).id, page)

    async def list_all(self, waiting: bool | None, page: Page) -> Sequence[AskedPermission]:
        return await self._store.permissions.list_all(waiting, page, self._reach)

    async def answer(self, run_id: str, n: int, *more: Any) -> PermissionRequest:
        return await self._store.permissions.answer((await self._get_run(run_id)).id, n, *more)


class _LimitedDeliveries(_Limited):
    async def get(self, delivery_id: str) -> Delivery:
        try:
            found = await self._store.deliveries.get(delivery_id)
            await self._get_run(found.run)
        except (DeliveryNotFound, RunNotFound):
            raise DeliveryNotFound(f"there is no delivery with the id {delivery_id[:64]!r}.") from None
        return found

    async def list(self, which: DeliveryFilter, page: Page) -> Sequence[Delivery]:
        return await self._store.deliveries.list(replace(which, reach=self._reach), page)

    async def count(self, which: DeliveryFilter) -> StatusCounts:
        return await self._store.deliveries.count(replace(which, reach=self._reach))

    async def list_attempts(self, delivery_id: str) -> Sequence[DeliveryAttempt]:
        return await self._store.deliveries.list_attempts((await self.get(delivery_id)).id)

    async def retry(self, delivery_id: str, key: IdempotencyKey | None = None) -> Delivery:
        found = await self.get(delivery_id)
        run = await self._get_run(found.run)
        check_targets(self._reach, run.spec.session, [found.target])
        return await self._store.deliveries.retry(found.id, key)


class _LimitedSessions(_Limited):
    async def open(self, session: SessionKey, key: IdempotencyKey | None = None) -> Session:
        check_session(self._reach, str(session))
        return await self._store.sessions.open(session, key)

    async def open_empty(self, agent: str, channel: str, chat: str, key: IdempotencyKey | None = None) -> Session:
        if self._reach.sessions is not None:
            raise Forbidden("this token reaches only some sessions.", remedy="Name the chat, with chat_id.")
        check_session(self._reach, str(SessionKey(agent, channel, chat)))
        return await self._store.sessions.open_empty(agent, channel, chat, key)

    async def find(self, key: str) -> Session | None:
        return await self._store.sessions.find(key) if self._reach.covers_session(key) else None

    async def find_newest(self, chat: str) -> Session | None:
        return await self._store.sessions.find_newest(chat, self._reach)

    async def list(self, page: Page, which: SessionFilter = ALL_SESSIONS) -> Sequence[Session]:
        return await self._store.sessions.list(page, replace(which, reach=self._reach))

    async def search(self, query: SearchQuery, page: Page) -> Sequence[SearchHit]:
        return await self._store.sessions.search(replace(query, reach=self._reach), page)

    async def rename(self, key: str, title: str) -> Session | None:
        return await self._store.sessions.rename(key, title) if self._reach.covers_session(key) else None

    async def delete(self, key: str, *, force: bool) -> Sequence[str]:
        if not self._reach.covers_session(key):
            raise SessionNotFound(f"there is no session {key[:200]!r}.")
        return await self._store.sessions.delete(key, force=force)

    async def read_history(self, key: str, limit: int, *more: Any) -> Sequence[Message]:
        return await self._store.sessions.read_history(key, limit, *more) if self._reach.covers_session(key) else ()


class LimitedFiles(_Limited):
    """Files to which a run or a message refers that is reached; and unused ones, to those who know the whole id."""

    async def get(self, file_id: str) -> StoredFile:
        try:
            found = await self._store.files.get(file_id)
        except FileUnknown:
            found = None
        if found is None or not await self._covers(found, file_id):
            raise FileUnknown(f"there is no file with the id {file_id[:64]!r}.")
        return found

    async def list(self, page: Page) -> Sequence[StoredFile]:
        return await self._store.files.list(page, self._reach)

    async def delete(self, file_id: str) -> str:
        return await self._store.files.delete((await self.get(file_id)).file.id)

    async def check_all(self, files: Sequence[File], staged: Sequence[StagedFile]) -> None:
        """Check that files are reached which a run is to have.

        Raises:
            FileUnknown: one is not.
        """
        coming = {one.file.id for one in staged}
        for file in files:
            if file.id not in coming:
                await self.get(file.id)

    async def _covers(self, found: StoredFile, given_id: str) -> bool:
        if not found.uses:
            return len(given_id) == FILE_ID_CHARACTERS
        return await self._store.files.is_reached(found.seq, self._reach)

    @property
    def add(self) -> Any:
        return self._store.files.add

    @property
    def count_bytes(self) -> Any:  # the quota is one for all
        return self._store.files.count_bytes

    @property
    def find_unowned(self) -> Any:  # of contents that were staged for this request
        return self._store.files.find_unowned

    @property
    def remove_unowned(self) -> Any:
        return self._store.files.remove_unowned


class LimitedStore:
    """The store for one limited caller. Nouns that it does not have are refused."""

    def __init__(self, store: Store, reach: Reach, find_session: Callable[[Any], str | None]) -> None:
        """Args:
        find_session: returns the key of the session of a schedule; None if its runs would be refused.
        """
        self.runs = _LimitedRuns(store, reach)
        self.events = _LimitedEvents(store, reach)
        self.permissions = _LimitedPermissions(store, reach)
        self.deliveries = _LimitedDeliveries(store, reach)
        self.sessions = _LimitedSessions(store, reach)
        self.files = LimitedFiles(store, reach)
        self.schedules = LimitedSchedules(store, reach, find_session, check_targets, self.files.check_all)
        self.agents = Opened(store.agents, ["count_loads"])  # the agents that are shown are chosen elsewhere

    def __getattr__(self, name: str) -> Any:
        raise make_refusal()


def check_targets(reach: Reach, session: str, targets: Sequence[Target]) -> None:
    """Check that a result goes to webhooks, or to chats whose sessions with that agent are reached.

    Raises:
        Forbidden: it does not.
    """
    agent = session.partition(":")[0]
    for target in targets:
        if target.kind != WEBHOOK_KIND:
            check_session(reach, str(SessionKey(agent, target.kind, target.address)))
