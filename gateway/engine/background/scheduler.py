"""Starts the runs of schedules whose time has come, while this process leads.

The scheduler reads the next time from an index and sleeps until then, but only for a few seconds at once, so that
it notices when the clock is set forward. It keeps no state in memory that is not in the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from gateway import log
from gateway.domain.ports.store import Store
from gateway.domain.run import AcceptedRun
from gateway.domain.schedule import FirePlan, PlannedRun, Schedule, decide_fires
from gateway.domain.times import Clock
from gateway.engine.service_loop import RETRY_SECONDS, ServiceLoop, log_errors
from gateway.errors import GatewayError

#: how many due schedules are fired together
MAX_SCHEDULES_PER_BATCH = 200
#: seconds after which the scheduler reads the clock again
MAX_SCHEDULER_SLEEP_SECONDS = 10.0

_log = log.get()


class Scheduler:
    """The service that fires schedules."""

    def __init__(
        self,
        store: Store,
        plan: Callable[[Schedule, int], PlannedRun],
        announce: Callable[[AcceptedRun], None],
        clock: Clock,
    ) -> None:
        """Args:
        plan: returns the run that a time of a schedule becomes, or raises the reason why there is none.
        announce: called with each run that was accepted.
        """
        self._store = store
        self._plan = plan
        self._announce = announce
        self._clock = clock
        self._loop = ServiceLoop(
            "scheduler",
            self._fire_due,
            log_errors("scheduler.waits", "scheduler.broke"),
            retry_seconds=RETRY_SECONDS,
        )

    def wake(self) -> None:
        """Look for due schedules now: the next time of one may have changed."""
        self._loop.wake()

    def start_firing(self) -> None:
        """Start firing schedules."""
        self._loop.start()

    async def stop_firing(self) -> None:
        """Stop firing: the next process to lead goes on. Stopping twice is fine."""
        await self._loop.stop()

    async def _fire_due(self) -> float:
        """Fire all schedules that are due. Returns the seconds until the next one."""
        before: set[tuple[str, int, int | None]] = set()
        while found := await self._store.schedules.list_due(self._clock(), MAX_SCHEDULES_PER_BATCH):
            now = self._clock()
            due = {(schedule.id, schedule.revision, schedule.next_at) for schedule in found}
            if due == before:  # their fires have changed nothing: to repeat them at once would not either
                _log.warning("scheduler.stuck", schedules=sorted(schedule.id for schedule in found)[:10])
                return RETRY_SECONDS
            before = due
            made = await asyncio.gather(
                *(self._fire_schedule(self._plan_fires(schedule, now)) for schedule in found), return_exceptions=True
            )
            broken = next((one for one in made if isinstance(one, BaseException)), None)
            if broken is not None:
                raise broken
        next_at = await self._store.schedules.next_fire_at()
        if next_at is None:
            return MAX_SCHEDULER_SLEEP_SECONDS
        return min(max((next_at - self._clock()) / 1000, 0.0) + 0.001, MAX_SCHEDULER_SLEEP_SECONDS)

    async def _fire_schedule(self, plan: FirePlan) -> None:
        for accepted in await self._store.schedules.fire(plan):
            self._announce(accepted)

    def _plan_fires(self, schedule: Schedule, now: int) -> FirePlan:
        """Plan what is to be done about a schedule that is due; one whose times cannot be told any more ends."""
        assert schedule.next_at is not None, "it is due"
        try:
            decided = decide_fires(schedule, now)
        except GatewayError as error:  # its zone is no longer known here
            return FirePlan(schedule=schedule, refused_times=(schedule.next_at,), error=str(error), next_at=None)
        planned = FirePlan(
            schedule=schedule,
            missed_times=decided.missed_times,
            missed_count=decided.missed_count,
            next_at=decided.next_at,
        )
        try:
            runs = tuple(self._plan(schedule, time) for time in decided.fire_times)
        except GatewayError as error:
            return msgspec.structs.replace(planned, refused_times=decided.fire_times, error=str(error))
        return msgspec.structs.replace(planned, runs=runs)
