"""Many schedules: the time until they are ready to fire, and the cost of one fire."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import time
from pathlib import Path

from bench import inside, peers
from bench.measure import Sample
from bench.report import Figure, Result, Row
from gateway.domain.schedule import ScheduleSpec
from gateway.domain.times import wall_clock
from gateway.store.sqlite.store import SqliteStore

MANY, FEW = 10_000, 1_000
#: number of schedules that are due at the same time
DUE = 100

_PEER = """
import logging, time
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
logging.disable()
began = time.perf_counter()
scheduler = BackgroundScheduler(timezone="UTC")
for number in range({count}):
    trigger = CronTrigger.from_crontab(f"{{number % 60}} {{number // 60 % 24}} * * *", timezone="UTC")
    scheduler.add_job(print, trigger, id=str(number))
scheduler.start(paused=True)
print(time.perf_counter() - began)
scheduler.shutdown(wait=False)
"""


def run(quick: bool) -> Result:
    many, few, count = (200, 20, 1) if quick else (MANY, FEW, 5)
    with tempfile.TemporaryDirectory() as place:
        for number in (many, few):
            asyncio.run(_fill(Path(place, str(number)), number))
        loads, fires, ratios = [], [], []
        for _ in range(count):
            load, fire = asyncio.run(_measured(Path(place, str(many))))
            _, beside = asyncio.run(_measured(Path(place, str(few))))
            loads.append(load * 1000)
            fires.append(fire * 1000)
            ratios.append(fire / beside)
    figures = [
        Figure(name=f"ready to fire {many:,} schedules", sample=Sample.of(loads), unit="ms"),
        Figure(name=f"one of {DUE} fires, of {many:,} schedules", sample=Sample.of(fires), unit="ms"),
        Figure(name=f"the same / of {few:,} schedules", sample=Sample.of(ratios), unit="x", reach=1.25),
    ]
    python = peers.apscheduler()
    if python is not None:
        theirs = [_peer(python, many) for _ in range(count)]
        ratio = Sample.of(load / 1000 / peer for load, peer in zip(loads, theirs, strict=True))
        figures.append(Figure(name="ready to fire / APScheduler's load", sample=ratio, unit="x", reach=0.35))
    return Result(figures=figures, notes=["A fire stores its row, its run and the next time, in one transaction."])


async def _fill(home: Path, count: int) -> None:
    async with inside.engine(home) as (engine, _):
        for start in range(0, count, 200):
            numbers = range(start, min(start + 200, count))
            await asyncio.gather(*(engine.schedules.create_schedule(_spec(number)) for number in numbers))


def _spec(number: int) -> ScheduleSpec:
    return ScheduleSpec(expression=f"{number % 60} {number // 60 % 24} 1 1 *", input="What is the time?")


async def _measured(home: Path) -> tuple[float, float]:
    """Return the seconds from the opening of the store to its first check, and the seconds of one fire of many."""
    store = SqliteStore(home / "data" / "moongate.db")
    try:
        began = time.perf_counter()
        await store.schedules.list_due(wall_clock(), DUE)
        await store.schedules.next_fire_at()
        load = time.perf_counter() - began
    finally:
        await store.close()
    async with inside.engine(home) as (engine, _):
        made = [await engine.schedules.create_schedule(_spec(number)) for number in range(DUE)]
        began = time.perf_counter()
        await asyncio.gather(*(engine.schedules.trigger_schedule(each.id) for each in made))
        fire = (time.perf_counter() - began) / DUE
        for each in made:
            await engine.schedules.delete_schedule(each.id)
    return load, fire


def _peer(python: str, count: int) -> float:
    program = _PEER.format(count=count)
    return float(subprocess.run([python, "-c", program], check=True, capture_output=True, text=True).stdout)


ROW = Row(
    title="Schedules",
    setup=f"In process, {MANY:,} cron schedules on disk. With --peers, compared with APScheduler, which adds as many"
    " cron jobs to its memory.",
    run=run,
)
