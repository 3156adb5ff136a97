"""The runs of a schedule failed several times in a row, or until it was disabled; it ends when one succeeds."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.domain.alert import AlertKind
from gateway.domain.run import Status
from gateway.domain.schedule import Schedule
from gateway.engine.alerts.condition import AlertSources, Finding, Look, Situation, name_schedule


class ScheduleFailing:
    kind = AlertKind.SCHEDULE_FAILING
    interval_seconds = 15.0
    needs_news = True

    def __init__(self, sources: AlertSources) -> None:
        self._sources = sources
        self._limit = sources.limits.schedule_failures

    async def look(self, situation: Situation) -> Look:
        news = situation.news
        failed = {run.spec.schedule_id for run in news.failed_runs} - {None}
        refused = {change.ref for change in news.changes if change.topic == "schedule" and change.state == "missed"}
        findings, ended = [], {}
        subjects = _list_subjects(failed, refused, situation.open)
        schedules = await self._sources.find_schedules(subjects)
        for subject in subjects:
            if subject not in schedules:
                ended[subject] = f"schedule {subject} was deleted"
            elif (schedule := schedules[subject]) is not None:  # else it cannot be read
                if self._is_failing(schedule):
                    findings.append(self._describe_failing(schedule))
                elif subject in situation.open:
                    ended[subject] = f"schedule {name_schedule(schedule)} {_explain_end(schedule)}"
        return Look(open=findings, ended={subject: why for subject, why in ended.items() if subject in situation.open})

    def _is_failing(self, schedule: Schedule) -> bool:
        """Return whether it has failed often enough, or was disabled for it; not if somebody has disabled it."""
        return schedule.has_failed or (schedule.failures >= self._limit and not _is_switched_off(schedule))

    def _describe_failing(self, schedule: Schedule) -> Finding:
        off = f", and it was disabled: {schedule.reason}" if schedule.has_failed else ""
        often = "once" if schedule.failures == 1 else f"{schedule.failures:,} times in a row"
        return Finding(
            subject=schedule.id,
            text=f"schedule {name_schedule(schedule)} failed {often}{off}",
            level=int(schedule.has_failed),
            agent=self._sources.find_agent(schedule),
        )


def _is_switched_off(schedule: Schedule) -> bool:
    return not schedule.enabled and schedule.reason is None


def _explain_end(schedule: Schedule) -> str:
    if _is_switched_off(schedule):
        return "was disabled"
    return (
        "works again" if schedule.last_status == Status.SUCCEEDED else "was changed: its failures count from zero again"
    )


def _list_subjects(*groups: Iterable[str | None]) -> list[str]:
    return sorted({subject for group in groups for subject in group if subject is not None})


CONDITION = ScheduleFailing
