"""A run failed."""

from __future__ import annotations

from gateway.domain.alert import AlertKind
from gateway.domain.run import Run
from gateway.engine.alerts.condition import AlertSources, Happening, Look, Situation


class RunFailed:
    kind = AlertKind.RUN_FAILED
    interval_seconds = None
    needs_news = True

    def __init__(self, sources: AlertSources) -> None:
        self._agents = sources.agents

    async def look(self, situation: Situation) -> Look:
        return Look(happened=[self._describe_run(run) for run in situation.news.failed_runs])

    def _describe_run(self, run: Run) -> Happening:
        agent = run.spec.agent
        why = run.error or run.outcome or "no reason is known"
        return Happening(
            subject=run.id,
            text=f"agent {self._agents.display_name(agent)}: {why}",
            at=run.finished or run.created,
            agent=agent,
            run=run,
        )


CONDITION = RunFailed
