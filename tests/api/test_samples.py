"""`GET /api/samples`: points of a plot, over any time of the last days."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.domain import times
from gateway.domain.sample import Sample
from tests.contracts.stores import START, SteppedClock
from tests.support.inprocess import Serving, serving

MINUTE = 60_000
DAY = 86_400_000


async def get(served: Serving, expected: int = 200, **query: Any) -> Any:
    async with served.client.get("/api/samples", params=query) as answer:
        assert answer.status == expected, await answer.text()
        return await answer.json()


async def add(served: Serving, *ats: int) -> None:
    for at in ats:
        sample = Sample(
            at=at,
            running=1,
            queued=2,
            ended=3,
            failed=1,
            accept_ms=1.5,
            memory_bytes=1 << 20,
            cpu_percent=12.5,
            loop_lag_ms=2.5,
            database_bytes=4096,
        )
        await served.engine._store.samples.add(sample)


async def test_without_a_range_the_last_hour_is_shown(tmp_path: Path) -> None:
    clock = SteppedClock()
    async with serving(tmp_path, clock=clock) as served:
        await add(served, START - 2 * 60 * MINUTE, START - MINUTE)
        found = await get(served)

    assert found["step_seconds"] == 60
    assert found["samples"] == [
        {
            "at": times.format_rfc3339((START - MINUTE) // MINUTE * MINUTE),
            "running": 1.0,
            "queued": 2.0,
            "ended": 3.0,
            "failed": 1.0,
            "accept_ms": 1.5,
            "memory_bytes": 1 << 20,
            "cpu_percent": 12.5,
            "loop_lag_ms": 2.5,
            "database_bytes": 4096,
        }
    ]


async def test_a_week_has_no_more_points_than_asked_for(tmp_path: Path) -> None:
    clock = SteppedClock()
    async with serving(tmp_path, clock=clock) as served:
        await add(served, *range(START - 7 * DAY, START, 60 * MINUTE))
        found = await get(served, since=times.format_rfc3339(START - 7 * DAY), points=20)

    assert 15 < len(found["samples"]) <= 20
    assert found["step_seconds"] % 60 == 0


async def test_what_is_older_than_samples_are_kept_is_left_out(tmp_path: Path) -> None:
    clock = SteppedClock()
    async with serving(tmp_path, clock=clock) as served:
        await add(served, START - 9 * DAY, START - 7 * DAY)
        found = await get(served, since="2000-01-01T00:00:00Z", points=2000)

    assert len(found["samples"]) == 1


@pytest.mark.parametrize(
    "query",
    [
        {"since": "2023-11-14T22:13:20Z", "until": "2023-11-14T22:13:20Z"},
        {"since": "yesterday"},
        {"since": "1700000000"},
        {"since": "2023-11-14T22:13:20"},
        {"points": "1"},
        {"points": "2001"},
        {"until": "0001-01-01T00:00:00+23:59"},
    ],
    ids=str,
)
async def test_a_range_that_makes_no_sense_is_refused(moongate: Serving, query: dict[str, str]) -> None:
    assert "error" in msgspec.json.encode(await get(moongate, 400, **query)).decode()
