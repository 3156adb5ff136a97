"""Schedules, as clients see them: create, edit and trigger them, and list what happened at their times."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

import msgspec

from gateway.domain import cron, ids, schedule
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.ports.file_store import StagedFile
from gateway.domain.ports.store import Store
from gateway.domain.run import AcceptedRun, RunSpec, Source
from gateway.domain.schedule import FireRecord, PlannedRun, Schedule, ScheduleFires, ScheduleSpec
from gateway.domain.session import SessionKey
from gateway.domain.times import Clock
from gateway.engine.resources.agents import Agents
from gateway.engine.resources.sessions import Sessions
from gateway.engine.submission import Submitter
from gateway.errors import Conflict, GatewayError, InvalidRequest, ScheduleNotFound, Unreadable

#: the channel of the sessions that belong to a schedule
SCHEDULE_CHANNEL = "cron"
_Times = list[int]

#: maximum number of times in a preview
MAX_PREVIEW_TIMES = 100
#: how often an edit is applied to the newest version of its schedule, when other edits come first each time
MAX_EDIT_ATTEMPTS = 10
#: seconds between these attempts: the first pause, and each is twice as long as the one before
EDIT_PAUSE_SECONDS = 0.005


class Schedules:
    """Finds and changes schedules."""

    def __init__(
        self,
        store: Store,
        agents: Agents,
        sessions: Sessions,
        clock: Clock,
        submitter: Submitter,
        changed: Callable[[], None],
    ) -> None:
        """Args:
        changed: called when the next time of a schedule may have changed.
        """
        self._store = store
        self._agents = agents
        self._sessions = sessions
        self._clock = clock
        self._submitter = submitter
        self._changed = changed

    def with_store(self, store: Store, agents: Agents, sessions: Sessions, submitter: Submitter) -> Schedules:
        """Return the same on top of another store."""
        return Schedules(store, agents, sessions, self._clock, submitter, self._changed)

    async def create_schedule(
        self,
        spec: ScheduleSpec,
        id_: str | None = None,
        *,
        enabled: bool = True,
        key: IdempotencyKey | None = None,
        staged: Sequence[StagedFile] = (),
    ) -> Schedule:
        """Create a schedule, with the given id or a generated one.

        Args:
            staged: those of its attachments that are not stored yet.

        Raises:
            InvalidRequest: its times cannot be read, or never come; the message says why.
            AgentNotFound: there is no such agent.
            Conflict: there is one with that id already, or the key was used with another body.
            FileUnknown: one of its attachments is not stored.
            StorageFull, Unavailable: the disk has no room for a file.
        """
        made = self._build_schedule(self._pin_agent(spec), id_, enabled=enabled)
        try:
            return await self._store.schedules.create(made, key, staged)
        finally:  # if the caller is cancelled before the store answers, the schedule may still be on disk
            self._changed()

    async def import_schedule(self, spec: ScheduleSpec, id_: str, *, enabled: bool, dry_run: bool = False) -> bool:
        """Create a schedule of another system. Returns False if there is one with that id that has these labels.

        Args:
            dry_run: check, and create nothing.

        Raises:
            InvalidRequest, AgentNotFound, Conflict: as for a new schedule.
        """
        with contextlib.suppress(ScheduleNotFound):
            found = await self._store.schedules.get(id_)
            if spec.labels.keys() <= found.spec.labels.keys():
                return False
            raise Conflict(f"there is another schedule {id_!r}, which was not made by that system.")
        if dry_run:
            self._build_schedule(spec, id_, enabled=enabled)
        else:
            await self.create_schedule(spec, id_, enabled=enabled)
        return True

    async def edit_schedule(
        self,
        id_: str,
        changes: Mapping[str, Any],
        enabled: bool | None = None,
        staged: Sequence[StagedFile] = (),
    ) -> Schedule:
        """Change fields of a schedule's spec. New times count from now on. A zone is only for cron expressions.

        An edit that removes the reason for which it was disabled by itself enables it again.

        Args:
            enabled: enables or disables it in the same step; None leaves that to the edit.
            staged: those of its new attachments that are not stored yet.

        Raises:
            ScheduleNotFound: there is none.
            InvalidRequest, AgentNotFound: as for a new schedule. Nothing was changed.
            Conflict: it cannot be enabled, because its only time has passed.
        """

        def apply_changes(found: Schedule) -> Schedule:
            edited = self._apply_spec_changes(found, changes)
            if enabled is None or (enabled and edited.enabled):
                return edited
            return self._apply_toggle(edited, enabled)

        return await self._replace_schedule(id_, apply_changes, staged)

    async def toggle_schedule(self, id_: str, enabled: bool | None = None) -> Schedule:
        """Enable or disable a schedule, or switch it if `enabled` is None.

        Times while it is disabled do not count as missed.

        Raises:
            ScheduleNotFound: there is none.
            Conflict: its only time has passed.
        """
        return await self._replace_schedule(
            id_, lambda found: self._apply_toggle(found, not found.enabled if enabled is None else enabled)
        )

    async def delete_schedule(self, id_: str) -> None:
        """Delete a schedule. Its runs stay.

        Raises:
            ScheduleNotFound: there is none.
        """
        await self._store.schedules.delete(id_)
        self._changed()

    async def trigger_schedule(self, id_: str, key: IdempotencyKey | None = None) -> AcceptedRun:
        """Submit a run of a schedule now, in addition to its times, even if it is disabled.

        Raises:
            ScheduleNotFound: there is none.
            AgentNotFound, InvalidRequest: its agent does not exist or is disabled.
            AgentBusy: its session is busy, and the session mode of its agent is to reject.
            TooDeep: agents have asked one another too often.
        """
        found = await self._store.schedules.get(id_)
        spec, admission = self._submitter.prepare_run(self._build_spec(found, self._clock(), None))
        accepting = self._store.schedules.trigger(found.id, spec, key, admission)
        return await self._submitter.await_acceptance(spec, accepting)

    async def get_schedule(self, id_: str) -> Schedule:
        """Return a schedule.

        Raises:
            ScheduleNotFound: there is none.
        """
        return await self._store.schedules.get(id_)

    async def next_fire_at(self) -> int | None:
        """Return when the next schedule is due, in milliseconds since 1970 UTC; None if there is none."""
        return await self._store.schedules.next_fire_at()

    def find_session(self, found: Schedule) -> str | None:
        """Return the key of the session into which a schedule's runs go; None if they would be refused."""
        try:
            return self._build_spec(found, found.anchor, None).session
        except GatewayError:
            return None

    async def list_schedules(self, page: Page) -> Sequence[Schedule]:
        return await self._store.schedules.list(page)

    async def iterate_schedules(self, label: str, limit: int) -> AsyncGenerator[Schedule, None]:
        """Yield the newest schedules that have a label, oldest first, with one of them in memory."""
        for id_ in await self._store.schedules.list_ids(label, limit):
            with contextlib.suppress(ScheduleNotFound, Unreadable):  # it was deleted meanwhile, or is set aside
                yield await self._store.schedules.get(id_)

    async def list_fires(self, id_: str, page: Page) -> Sequence[FireRecord]:
        """Return what happened at a schedule's times, newest first.

        Raises:
            ScheduleNotFound: there is none.
        """
        return await self._store.schedules.list_fires((await self._store.schedules.get(id_)).id, page)

    async def list_last_fires(self, page: Page, each: int) -> Sequence[ScheduleFires]:
        """Return what happened last at the times of each schedule, the newest schedule first."""
        return await self._store.schedules.list_last_fires(page, each)

    def preview_times(self, expression: str, timezone: str, count: int) -> _Times:
        """Return the next times of an expression.

        Raises:
            InvalidRequest: it cannot be read, or never comes.
        """
        cron.find_time_zone(timezone)
        now = self._clock()
        anchor = now // 1000 * 1000
        timing, last = cron.parse_expression(expression, timezone), now
        found: _Times = []
        while len(found) < min(count, MAX_PREVIEW_TIMES) and (time := timing.next_after(last, anchor)) is not None:
            found.append(time)
            last = time
        if not found:
            raise _never_due_error(expression)
        return found

    def list_next_times(self, found: Schedule, count: int) -> _Times:
        """Return the next times of a schedule; none if it is disabled or its zone is no longer known here."""
        times: _Times = []
        last: int | None = found.next_at if found.enabled else None
        with contextlib.suppress(InvalidRequest):
            while last is not None and len(times) < count:
                times.append(last)
                last = found.timing.next_after(last, found.anchor)
        return times

    def plan_run(self, found: Schedule, time: int) -> PlannedRun:
        """Return the run that a time of a schedule becomes.

        Raises:
            AgentNotFound, InvalidRequest: its agent does not exist or is disabled.
        """
        begin = schedule.apply_jitter(found.id, time, found.spec.jitter)
        spec, admission = self._submitter.prepare_run(self._build_spec(found, time, begin))
        return PlannedRun(time=time, spec=spec, admission=admission)

    def _build_spec(self, found: Schedule, time: int, begin: int | None) -> RunSpec:
        spec = found.spec
        session = str(self._session_key(found, self._agents.choose_agent(find_agent_name(self._agents, spec)).id, time))
        return RunSpec(
            source=Source.CRON,
            agent=session.partition(":")[0],
            session=session,
            input=spec.input,
            attachments=spec.attachments,
            model=spec.model,
            timeout=spec.timeout,
            deliver=spec.deliver,
            labels={**spec.labels, "schedule": found.id},
            budget=spec.budget,
            run_at=begin,
            submitted_by=f"schedule:{found.id}",
        )

    def _session_key(self, found: Schedule, agent: str, time: int) -> SessionKey:
        name = found.spec.session or found.id
        key = self._sessions.resolve_key(name, SCHEDULE_CHANNEL, agent)
        if not found.spec.fresh:
            return key
        where = "session, together with the time that fresh adds"
        return SessionKey.from_parts(key.agent, key.channel, f"{key.chat}~{time}", field=where)

    def _pin_agent(self, spec: ScheduleSpec) -> ScheduleSpec:
        """Return what a limited caller asks for with the id of its agent, also in the key of its session.

        The default agent and the names of agents are looked up at each time of the schedule, and may be others then.

        Raises:
            AgentNotFound: it reaches none, or not this one.
            InvalidRequest: the session is one of another agent.
        """
        if not self._agents.is_limited:
            return spec
        agent = self._agents.choose_agent(find_agent_name(self._agents, spec)).id
        session = spec.session
        if session is not None and SessionKey.parse_key(session) is not None:
            key = self._sessions.resolve_key(session, SCHEDULE_CHANNEL, agent)
            session = session if key.chat == session else str(key)  # else it only looks like a key
        return msgspec.structs.replace(spec, agent=agent, session=session)

    def _apply_spec_changes(self, found: Schedule, changes: Mapping[str, Any]) -> Schedule:
        spec = msgspec.structs.replace(found.spec, **changes)
        if "agent" in changes or "session" in changes:
            spec = self._pin_agent(spec)
        if spec.timezone != found.spec.timezone:
            cron.find_time_zone(spec.timezone)
        now = self._clock()
        other_zone = spec.timezone != found.spec.timezone and bool(spec.timing.cron)
        if spec.expression != found.spec.expression or other_zone:
            anchor = now // 1000 * 1000
            return schedule.apply_edit(found, spec, anchor, self._compute_next_time(spec, now, anchor))
        next_at = found.timing.next_after(now, found.anchor) if found.has_failed else found.next_at
        return schedule.apply_edit(found, spec, found.anchor, next_at)

    def _apply_toggle(self, found: Schedule, enabled: bool) -> Schedule:
        if not enabled:
            return msgspec.structs.replace(found, enabled=False, reason=None)
        next_at = found.timing.next_after(self._clock(), found.anchor)
        if next_at is None:
            raise Conflict("its time has passed.", remedy="Set another time first.")
        return msgspec.structs.replace(found, enabled=True, reason=None, failures=0, next_at=next_at)

    async def _replace_schedule(
        self, id_: str, change: Callable[[Schedule], Schedule], staged: Sequence[StagedFile] = ()
    ) -> Schedule:
        for attempt in range(MAX_EDIT_ATTEMPTS):
            if attempt:
                await asyncio.sleep(EDIT_PAUSE_SECONDS * 2 ** (attempt - 1))
            changed = change(await self._store.schedules.get(id_))
            self._check_runnable(changed)
            try:
                replaced = await self._store.schedules.replace(changed, staged)
            finally:
                self._changed()
            if replaced is not None:
                return replaced
        raise Conflict(
            f"the schedule {id_!r} was changed {MAX_EDIT_ATTEMPTS} times while this edit was made.",
            remedy="Look at it, then edit it again.",
        )

    def _build_schedule(self, spec: ScheduleSpec, id_: str | None, *, enabled: bool) -> Schedule:
        now = self._clock()
        cron.find_time_zone(spec.timezone)
        if id_ is not None and not ids.is_slug(id_):
            raise InvalidRequest("id: only letters, digits and . _ @ - (at most 64 characters).")
        anchor = now // 1000 * 1000
        made = Schedule(
            id=id_ or ids.make_ulid(now).lower(),
            spec=spec,
            enabled=enabled,
            anchor=anchor,
            next_at=self._compute_next_time(spec, now, anchor),
            created=now,
            updated=now,
        )
        self._check_runnable(made)
        return made

    def _check_runnable(self, made: Schedule) -> None:
        """Raise an error if a run of this schedule would be refused."""
        if made.enabled:
            self._build_spec(made, made.anchor, None)

    def _compute_next_time(self, spec: ScheduleSpec, now: int, anchor: int) -> int:
        timing = cron.parse_expression(spec.expression, spec.timezone)
        found = timing.next_after(now, anchor)
        if found is None and timing.only_time:
            raise InvalidRequest(f"schedule: the time {spec.expression!r} has passed.")
        if found is None:
            raise _never_due_error(spec.expression)
        return found


def _never_due_error(expression: str) -> InvalidRequest:
    return InvalidRequest(f"schedule: the time {expression!r} never comes, or has passed.")


def find_agent_name(agents: Agents, spec: ScheduleSpec) -> str | None:
    """Return the name of the agent that a schedule names: a full session key names one, too. None is the default."""
    full = None if spec.session is None else SessionKey.parse_key(spec.session)
    return full.agent if spec.agent is None and full and agents.knows_name(full.agent) else spec.agent
