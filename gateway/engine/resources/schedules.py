"""Schedules, as front doors see them: made, edited, triggered, and what became of their times."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from gateway.domain import cron, ids, schedule
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.ports.store import Store
from gateway.domain.run import Accepted, RunSpec, Source
from gateway.domain.schedule import Fire, PlannedRun, Schedule, ScheduleSpec
from gateway.domain.session import SessionKey
from gateway.domain.times import Clock
from gateway.engine.resources.agents import Roster
from gateway.engine.resources.sessions import Sessions
from gateway.engine.submission import Submitter
from gateway.errors import Conflict, InvalidRequest

#: the channel of sessions that are a schedule's own
CHANNEL = "cron"
Times = list[int]

#: times that a preview shows at the most
PREVIEW = 100


class Schedules:
    """Looks schedules up, and changes them."""

    def __init__(
        self,
        store: Store,
        roster: Roster,
        sessions: Sessions,
        clock: Clock,
        submitter: Submitter,
        changed: Callable[[], None],
    ) -> None:
        """Args:
        changed: called when a schedule may have another next time.
        """
        self._store = store
        self._roster = roster
        self._sessions = sessions
        self._clock = clock
        self._submitter = submitter
        self._changed = changed

    async def create(
        self, spec: ScheduleSpec, id_: str | None = None, *, enabled: bool = True, key: IdempotencyKey | None = None
    ) -> Schedule:
        """Make a schedule, with an id of the caller's or of our own.

        Raises:
            InvalidRequest: its times cannot be read or never come; the message says why.
            AgentNotFound: there is no such agent.
            Conflict: there is one with that id already, or the key was used with another body.
        """
        now = self._clock()
        if id_ is not None and not ids.is_slug(id_):
            raise InvalidRequest("id: only letters, digits and . _ @ - (at most 64 characters).")
        anchor = now // 1000 * 1000
        made = Schedule(
            id=id_ or ids.ulid(now).lower(),
            spec=spec,
            enabled=enabled,
            anchor=anchor,
            next_at=self._next(spec, now, anchor),
            created=now,
            updated=now,
        )
        self._check(made)
        try:
            return await self._store.schedules.create(made, key)
        finally:  # a caller who goes away before the disk has answered leaves a schedule all the same
            self._changed()

    async def edit(self, id_: str, changes: Mapping[str, Any]) -> Schedule:
        """Change fields of a schedule's spec; its next time is counted from now.

        Raises:
            JobNotFound: there is none.
            InvalidRequest, AgentNotFound: as for a new one; nothing is changed then.
        """

        def edited(found: Schedule) -> Schedule:
            spec = msgspec.structs.replace(found.spec, **changes)
            if (spec.expression, spec.timezone) == (found.spec.expression, found.spec.timezone):
                return msgspec.structs.replace(found, spec=spec)
            now = self._clock()
            anchor = now // 1000 * 1000
            next_at = self._next(spec, now, anchor)
            return msgspec.structs.replace(found, spec=spec, anchor=anchor, next_at=next_at)

        return await self._replace(id_, edited)

    async def toggle(self, id_: str, enabled: bool | None = None) -> Schedule:
        """Enable or disable a schedule; without a word, the other of the two. Times in between are not missed.

        Raises:
            JobNotFound: there is none.
            Conflict: its only time has passed.
        """

        def toggled(found: Schedule) -> Schedule:
            if not (not found.enabled if enabled is None else enabled):
                return msgspec.structs.replace(found, enabled=False, reason=None)
            next_at = found.timing.after(self._clock(), found.anchor)
            if next_at is None:
                raise Conflict("its time has passed.", remedy="Give it another one first.")
            return msgspec.structs.replace(found, enabled=True, reason=None, failures=0, next_at=next_at)

        return await self._replace(id_, toggled)

    async def delete(self, id_: str) -> None:
        """Delete a schedule; its runs stay.

        Raises:
            JobNotFound: there is none.
        """
        await self._store.schedules.delete(id_)
        self._changed()

    async def trigger(self, id_: str, key: IdempotencyKey | None = None) -> Accepted:
        """Have a schedule's work done now, beside its times, enabled or not.

        Raises:
            JobNotFound: there is none.
            AgentNotFound, InvalidRequest: its agent is gone or disabled.
            AgentBusy: its session is busy, and its agent then refuses runs.
            TooDeep: agents have asked one another too often.
        """
        found = await self._store.schedules.get(id_)
        spec, admission = self._submitter.prepare_run(self._run(found, self._clock(), None))
        accepting = self._store.schedules.trigger(found.id, spec, key, admission)
        return await self._submitter.await_acceptance(spec, accepting)

    async def find(self, id_: str) -> Schedule:
        """Return a schedule.

        Raises:
            JobNotFound: there is none.
        """
        return await self._store.schedules.get(id_)

    async def next(self) -> int | None:
        """Return when the next one is due, in milliseconds since 1970 UTC; None for never."""
        return await self._store.schedules.next_fire_at()

    async def list(self, page: Page) -> Sequence[Schedule]:
        return await self._store.schedules.list(page)

    async def fires(self, id_: str, page: Page) -> Sequence[Fire]:
        """Return what became of a schedule's times, the newest first.

        Raises:
            JobNotFound: there is none.
        """
        return await self._store.schedules.list_fires((await self._store.schedules.get(id_)).id, page)

    def preview(self, expression: str, timezone: str, count: int) -> Times:
        """Return the next times that an expression would have.

        Raises:
            InvalidRequest: it cannot be read, or never comes.
        """
        now = self._clock()
        anchor = now // 1000 * 1000
        timing, last = cron.parse(expression, timezone), now
        found: Times = []
        while len(found) < min(count, PREVIEW) and (time := timing.after(last, anchor)) is not None:
            found.append(time)
            last = time
        if not found:
            raise _never(expression)
        return found

    def plan_run(self, found: Schedule, time: int) -> PlannedRun:
        """Return the run that a time of a schedule becomes.

        Raises:
            AgentNotFound, InvalidRequest: its agent is gone or disabled.
        """
        begin = schedule.begin(found.id, time, found.spec.jitter)
        spec, admission = self._submitter.prepare_run(self._run(found, time, begin))
        return PlannedRun(time=time, spec=spec, admission=admission)

    def _run(self, found: Schedule, time: int, begin: int | None) -> RunSpec:
        spec = found.spec
        session = str(self._session(found, self._roster.choose(self._agent(spec)).id, time))
        return RunSpec(
            source=Source.CRON,
            agent=session.partition(":")[0],
            session=session,
            input=spec.input,
            model=spec.model,
            timeout=spec.timeout,
            deliver=spec.deliver,
            labels={**spec.labels, "schedule": found.id},
            budget=spec.budget,
            run_at=begin,
        )

    def _agent(self, spec: ScheduleSpec) -> str | None:
        """Return whose name is meant: a full session key names an agent, too."""
        full = None if spec.session is None else SessionKey.parse(spec.session)
        return full.agent if spec.agent is None and full and self._roster.named(full.agent) else spec.agent

    def _session(self, found: Schedule, agent: str, time: int) -> SessionKey:
        name = found.spec.session or found.id
        key = self._sessions.key(name, CHANNEL, agent)
        return SessionKey.of(key.agent, key.channel, f"{key.chat}~{time}") if found.spec.fresh else key

    async def _replace(self, id_: str, change: Callable[[Schedule], Schedule]) -> Schedule:
        while True:
            changed = change(await self._store.schedules.get(id_))
            self._check(changed)
            try:
                replaced = await self._store.schedules.replace(changed)
            finally:
                self._changed()
            if replaced is not None:
                return replaced

    def _check(self, made: Schedule) -> None:
        """See that a run can be made of it."""
        if made.enabled:
            self._run(made, made.anchor, None)

    def _next(self, spec: ScheduleSpec, now: int, anchor: int) -> int:
        timing = cron.parse(spec.expression, spec.timezone)
        found = timing.after(now, anchor)
        if found is None and timing.once:
            raise InvalidRequest(f"schedule: the time {spec.expression!r} has passed.")
        if found is None:
            raise _never(spec.expression)
        return found


def _never(expression: str) -> InvalidRequest:
    return InvalidRequest(f"schedule: the time of {expression!r} never comes, or has passed.")
