"""Schedules as a limited caller reaches them: those whose runs go into a session that it reaches."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from gateway.domain.delivery import Target
from gateway.domain.file import File
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.ports.file_store import StagedFile
from gateway.domain.ports.store import Store
from gateway.domain.queue import AdmissionRules
from gateway.domain.reach import Reach
from gateway.domain.run import AcceptedRun, RunSpec
from gateway.domain.schedule import FireRecord, Schedule
from gateway.engine.limited.refusal import check_agent, check_session, make_refusal
from gateway.errors import Forbidden, ScheduleNotFound

#: reads for one page, and schedules of each, at most: together more than there may be
MAX_SCHEDULE_READS, SCHEDULES_PER_READ = 200, 500


class LimitedSchedules:
    """The schedules that are reached. Operations that it does not define are refused."""

    def __init__(
        self,
        store: Store,
        reach: Reach,
        find_session: Callable[[Schedule], str | None],
        check_targets: Callable[[Reach, str, Sequence[Target]], None],
        check_files: Callable[[Sequence[File], Sequence[StagedFile]], Awaitable[None]],
    ) -> None:
        self._store = store
        self._reach = reach
        self._find_session = find_session
        self._check_targets = check_targets
        self._check_files = check_files

    def __getattr__(self, name: str) -> Any:
        raise make_refusal()

    async def create(
        self, schedule: Schedule, key: IdempotencyKey | None = None, staged: Sequence[StagedFile] = ()
    ) -> Schedule:
        await self._check_content(schedule, staged)
        return await self._store.schedules.create(schedule, key, staged)

    async def replace(self, schedule: Schedule, staged: Sequence[StagedFile] = ()) -> Schedule | None:
        await self.get(schedule.id)
        await self._check_content(schedule, staged)
        return await self._store.schedules.replace(schedule, staged)

    async def delete(self, schedule_id: str) -> None:
        await self.get(schedule_id)
        await self._store.schedules.delete(schedule_id)

    async def trigger(
        self,
        schedule_id: str,
        spec: RunSpec,
        key: IdempotencyKey | None = None,
        admission: AdmissionRules | None = None,
    ) -> AcceptedRun:
        await self.get(schedule_id)
        check_session(self._reach, spec.session)
        check_agent(self._reach, spec.agent)
        self._check_targets(self._reach, spec.session, spec.deliver)
        return await self._store.schedules.trigger(schedule_id, spec, key, admission)

    async def get(self, schedule_id: str) -> Schedule:
        found = await self._store.schedules.get(schedule_id)
        if not self._covers(found):
            raise ScheduleNotFound(f"there is no schedule {schedule_id[:64]!r}.")
        return found

    async def list(self, page: Page) -> Sequence[Schedule]:
        found: list[Schedule] = []
        before = page.before
        for _ in range(MAX_SCHEDULE_READS):
            some = await self._store.schedules.list(
                Page(limit=SCHEDULES_PER_READ, before=before, max_bytes=page.max_bytes)
            )
            found += [one for one in some if self._covers(one)]
            if not some or len(found) >= page.limit:
                break
            before = some[-1].seq
        return found[: page.limit]

    async def list_ids(self, label: str, limit: int) -> Sequence[str]:
        ids = await self._store.schedules.list_ids(label, limit)
        return [id_ for id_ in ids if self._covers(await self._store.schedules.get(id_))]

    async def list_fires(self, schedule_id: str, page: Page) -> Sequence[FireRecord]:
        return await self._store.schedules.list_fires((await self.get(schedule_id)).id, page)

    def _covers(self, found: Schedule) -> bool:
        session = self._find_session(found)
        return session is not None and self._reach.covers_session(session)

    async def _check_content(self, schedule: Schedule, staged: Sequence[StagedFile]) -> None:
        session = self._find_session(schedule)
        if session is None:
            raise Forbidden("this token does not reach the agent of this schedule.")
        check_session(self._reach, session)
        self._check_targets(self._reach, session, schedule.spec.deliver)
        await self._check_files(schedule.spec.attachments, staged)
