"""Times of a schedule were missed or refused; it ends when a later run of the schedule succeeds."""

from __future__ import annotations

from collections import Counter

from gateway.domain import times
from gateway.domain.alert import AlertKind
from gateway.domain.run import Status
from gateway.domain.schedule import FireOutcome, FireRecord, Schedule
from gateway.engine.alerts.condition import AlertSources, Finding, Look, Situation
from gateway.errors import GatewayError, ScheduleNotFound

#: fires that are read at one look
MAX_FIRES_PER_LOOK = 500


class ScheduleMissed:
    kind = AlertKind.SCHEDULE_MISSED
    interval_seconds = 15.0

    def __init__(self, sources: AlertSources) -> None:
        self._store = sources.store

    async def look(self, situation: Situation) -> Look:
        findings = await self._find_missed(situation)
        found = {finding.subject for finding in findings}
        ended = {}
        for subject, alert in situation.open.items():
            if subject not in found and (why := await self._explain_end(subject, alert.opened)) is not None:
                ended[subject] = why
        return Look(open=findings, ended=ended)

    async def _find_missed(self, situation: Situation) -> list[Finding]:
        moments = [change.at for change in situation.news.changes if change.topic == "schedule"]
        if not moments:
            return []
        fires = await self._store.alerts.list_missed_fires(min(moments), max(moments), MAX_FIRES_PER_LOOK)
        counts = Counter(schedule for schedule, _ in fires)
        newest = dict(fires)
        findings = []
        for subject, count in counts.items():
            try:
                schedule = await self._store.schedules.get(subject)
            except GatewayError:  # it was deleted since, or cannot be read
                continue
            # The level makes that new times are told, though the condition is open already.
            findings.append(
                Finding(
                    subject=subject,
                    text=_describe_missed(schedule, newest[subject], count),
                    level=newest[subject].scheduled_for,
                    agent=schedule.spec.agent,
                )
            )
        return findings

    async def _explain_end(self, schedule_id: str, opened: int) -> str | None:
        """Return why a schedule is all right again, or None if it is not."""
        try:
            schedule = await self._store.schedules.get(schedule_id)
        except ScheduleNotFound:
            return f"schedule {schedule_id} was deleted"
        except GatewayError:
            return None
        if schedule.last_at is None or schedule.last_at < opened or schedule.last_status != Status.SUCCEEDED:
            return None
        return f"schedule {_name_schedule(schedule)} has run again"


def _describe_missed(schedule: Schedule, fire: FireRecord, count: int) -> str:
    when = times.format_rfc3339(fire.scheduled_for)
    what = "was refused" if fire.outcome is FireOutcome.REFUSED else "was missed"
    many = f"{count:,} times were missed or refused, the last one {when}" if count > 1 else f"{when} {what}"
    return f"schedule {_name_schedule(schedule)}: {many}{f' ({fire.error})' if fire.error else ''}"


def _name_schedule(schedule: Schedule) -> str:
    return f'"{schedule.spec.name}"' if schedule.spec.name else schedule.id


CONDITION = ScheduleMissed
