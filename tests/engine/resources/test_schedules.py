"""Edits of schedules while others edit them, too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.schedule import ScheduleSpec
from gateway.engine.resources import schedules
from gateway.errors import Conflict
from tests.engine.stage import Between, staged

pytestmark = pytest.mark.both_stores


class Losing(Between):
    """A store in which another edit of a schedule always comes first, or only the first few times."""

    losses = 1 << 30

    async def perform(self, name: str, operation: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        found = await super().perform(name, operation, *args, **kwargs)
        if name == "schedules.replace" and self.losses:
            self.losses -= 1
            return None
        return found


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, in seconds; they take no time."""
    made: list[float] = []

    async def pause(seconds: float) -> None:
        made.append(seconds)

    monkeypatch.setattr(schedules.asyncio, "sleep", pause)
    return made


async def test_an_edit_that_always_comes_second_ends_with_a_conflict(tmp_path: Path, pauses: list[float]) -> None:
    async with staged(tmp_path, wrap=Losing) as stage:
        made = await stage.engine.schedules.create_schedule(ScheduleSpec(expression="every 1h", input="wake"))

        with pytest.raises(Conflict, match="edit it again"):
            await stage.engine.schedules.edit_schedule(made.id, {"input": "rise"})

        assert len(pauses) == schedules.MAX_EDIT_ATTEMPTS - 1
        assert pauses == sorted(pauses)
        assert min(pauses) > 0


async def test_an_edit_that_comes_second_a_few_times_is_made(tmp_path: Path, pauses: list[float]) -> None:
    async with staged(tmp_path, wrap=Losing) as stage:
        made = await stage.engine.schedules.create_schedule(ScheduleSpec(expression="every 1h", input="wake"))
        stage.engine.schedules._store.losses = 3

        edited = await stage.engine.schedules.edit_schedule(made.id, {"input": "rise"})

        assert (edited.spec.input, len(pauses)) == ("rise", 3)


@pytest.mark.parametrize("expression", ["every 1h", "2030-01-31T09:00:00Z"])
async def test_another_zone_does_not_move_times_that_need_none(tmp_path: Path, expression: str) -> None:
    now = 1_800_000_000_000
    async with staged(tmp_path, clock=lambda: now) as stage:
        made = await stage.engine.schedules.create_schedule(ScheduleSpec(expression=expression, input="wake"))
        now += 60_000

        edited = await stage.engine.schedules.edit_schedule(made.id, {"timezone": "Asia/Tokyo"})

        assert edited.spec.timezone == "Asia/Tokyo"
        assert (edited.anchor, edited.next_at) == (made.anchor, made.next_at)


async def test_another_zone_moves_the_times_of_a_cron_expression(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        spec = ScheduleSpec(expression="0 9 * * *", timezone="Europe/Berlin", input="wake")
        made = await stage.engine.schedules.create_schedule(spec)

        edited = await stage.engine.schedules.edit_schedule(made.id, {"timezone": "Asia/Tokyo"})

        assert made.next_at is not None
        assert edited.next_at is not None
        assert (edited.next_at - made.next_at) % 86_400_000 in (16 * 3_600_000, 17 * 3_600_000)
