"""`GET /api/work`: what the gateway has to do, and what it did in a day."""

from __future__ import annotations

from pathlib import Path

from gateway.store.sql import end_counts
from tests.contracts.stores import START, SteppedClock
from tests.support.inprocess import serving

MINUTE = 60_000
DAY = 86_400_000


async def test_runs_count_that_ended_since_the_beginning_of_the_minute_a_day_ago(tmp_path: Path) -> None:
    begin = START // MINUTE * MINUTE
    clock = SteppedClock(begin + 59_000)
    async with serving(tmp_path, clock=clock) as served:
        for finished in (begin - DAY - 1, begin - DAY, begin):
            await served.engine._store._database.write(  # type: ignore[attr-defined]
                lambda tx, at=finished: end_counts.count_end(tx, "succeeded", at)
            )
        async with served.client.get("/api/work") as answer:
            found = await answer.json()

    assert found["ended"] == 2
