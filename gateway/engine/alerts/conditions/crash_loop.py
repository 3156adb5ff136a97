"""Serving processes crashed several times in an hour; it ends an hour after the last crash but those allowed."""

from __future__ import annotations

from gateway.domain.alert import AlertKind
from gateway.domain.generation import CRASHED_REASON
from gateway.engine.alerts.condition import AlertSources, Finding, Look, Situation

#: the time in which crashes are counted
CRASH_WINDOW_MILLISECONDS = 3_600_000
#: records of serving processes that are read; more crashes than the settings allow to name do not matter
MAX_READ_GENERATIONS = 200
#: the subject: the gateway itself
GATEWAY_SUBJECT = "gateway"


class CrashLoop:
    kind = AlertKind.CRASH_LOOP
    interval_seconds = 15.0
    needs_news = False

    def __init__(self, sources: AlertSources) -> None:
        self._store = sources.store
        self._limit = sources.limits.crashes

    async def look(self, situation: Situation) -> Look:
        since = situation.now - CRASH_WINDOW_MILLISECONDS
        crashes = sum(
            record.reason == CRASHED_REASON and record.ended is not None and record.ended > since
            for record in await self._store.generations.list(MAX_READ_GENERATIONS)
        )
        if crashes >= self._limit:
            text = f"the gateway crashed {crashes} times in the last hour; gateway logs shows why"
            return Look(open=[Finding(subject=GATEWAY_SUBJECT, text=text)])
        return Look(ended=dict.fromkeys(situation.open, "the gateway no longer crashes"))


CONDITION = CrashLoop
