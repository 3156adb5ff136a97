"""Times of a schedule were missed or refused; it ends when a later run succeeds, or when it is disabled for a day."""

from __future__ import annotations

from gateway.domain import times
from gateway.domain.alert import AlertKind, OpenAlert
from gateway.domain.cron import MAX_LISTED_TIMES
from gateway.domain.run import Status
from gateway.domain.schedule import FireOutcome, FireRecord, Schedule
from gateway.engine.alerts.condition import AlertSources, Finding, Look, Situation, name_schedule

#: schedules whose missed times are told at one look: a round has no more news
MAX_MISSED_PER_LOOK = 1_000
#: milliseconds after which missed times of a schedule that is disabled, and may never run again, are no alert any more
MISSED_MEMORY_MILLISECONDS = 86_400_000


class ScheduleMissed:
    kind = AlertKind.SCHEDULE_MISSED
    interval_seconds = 15.0
    needs_news = True

    def __init__(self, sources: AlertSources) -> None:
        self._sources = sources

    async def look(self, situation: Situation) -> Look:
        findings = await self._find_missed(situation)
        found = {finding.subject for finding in findings}
        ended = {}
        others = [subject for subject in situation.open if subject not in found]
        schedules = await self._sources.find_schedules(others)
        for subject in others:
            if subject not in schedules:
                ended[subject] = f"schedule {subject} was deleted"
            elif (schedule := schedules[subject]) is not None:
                why = _explain_end(schedule, situation.open[subject], situation.now)
                if why is not None:
                    ended[subject] = why
        return Look(open=findings, ended=ended)

    async def _find_missed(self, situation: Situation) -> list[Finding]:
        moments = [change.at for change in situation.news.changes if change.topic == "schedule"]
        if not moments:
            return []
        missed = await self._sources.store.alerts.list_missed_fires(min(moments), max(moments), MAX_MISSED_PER_LOOK)
        schedules = await self._sources.find_schedules([one.schedule for one in missed])
        # The level makes that new times are told, though the condition is open already.
        return [
            Finding(
                subject=one.schedule,
                text=_describe_missed(schedule, one.newest, one.total),
                level=one.newest.scheduled_for,
                agent=self._sources.find_agent(schedule),
            )
            for one in missed
            if (schedule := schedules.get(one.schedule)) is not None  # else it was deleted, or cannot be read
        ]


def _explain_end(schedule: Schedule, alert: OpenAlert, now: int) -> str | None:
    """Return why a schedule is all right again, or None if it is not."""
    if schedule.last_at is not None and schedule.last_at >= alert.opened and schedule.last_status == Status.SUCCEEDED:
        return f"schedule {name_schedule(schedule)} has run again"
    if not schedule.enabled and now - alert.told >= MISSED_MEMORY_MILLISECONDS:
        return f"schedule {name_schedule(schedule)} is disabled, and has missed nothing more"
    return None


def _describe_missed(schedule: Schedule, fire: FireRecord, count: int) -> str:
    when = times.format_rfc3339(fire.scheduled_for)
    what = "was refused" if fire.outcome is FireOutcome.REFUSED else "was missed"
    more = " or more" if count >= MAX_LISTED_TIMES else ""  # no more are noted one by one
    many = f"{count:,}{more} times were missed or refused, the last one {when}" if count > 1 else f"{when} {what}"
    return f"schedule {name_schedule(schedule)}: {many}{f' ({fire.error})' if fire.error else ''}"


CONDITION = ScheduleMissed
