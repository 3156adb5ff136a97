"""Hold the drills and print how they went: `scripts/drill [--long] [NAME ...]`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from drills import (
    Drill,
    Impossible,
    commits,
    crash,
    deliveries,
    descriptors,
    disk,
    restarts,
    schedules,
    streams,
    writers,
)


class Row(NamedTuple):
    name: str
    short: Drill
    #: where the long form is another one
    long: Drill | None = None


DRILLS = [
    Row("kill -9 at random", crash.kill_at_random, partial(crash.kill_at_random, kills=500, strict=True)),
    Row("no orphan beside a retry", crash.no_orphan_beside_a_retry),
    Row("a stop drains", crash.a_stop_drains),
    Row("a second signal cuts the grace", crash.a_second_signal_cuts_the_grace),
    Row(
        "restarts under load",
        restarts.under_load,
        partial(restarts.under_load, restarts=20, seconds=20.0, p99=250.0),
    ),
    Row(
        "status over starts and stops",
        restarts.status_over_starts,
        partial(restarts.status_over_starts, turns=50, calls=200),
    ),
    Row(
        "kill -9 around fires",
        schedules.kill_around_fires,
        partial(schedules.kill_around_fires, kills=30),
    ),
    Row("disk full", disk.full),
    Row("disk refuses", disk.refusing),
    Row("disk read-only", disk.read_only),
    Row("no descriptors left", descriptors.none_left),
    Row("two writers on one store", writers.two, partial(writers.two, seconds=20.0, share=0.2)),
    Row("readers who take nothing", streams.stalled_readers, partial(streams.stalled_readers, back=20, strict=True)),
    Row("readers over a restart", streams.over_a_restart, partial(streams.over_a_restart, restarts=5)),
    Row("no answer before its sync", commits.no_answer_before_its_sync),
    Row("kill -9 before delivery", deliveries.kill_before_delivery, partial(deliveries.kill_before_delivery, kills=30)),
    Row("a receiver in every mood", deliveries.every_mood, partial(deliveries.every_mood, tasks=500, down=10.0)),
    Row(
        "a dead receiver delays nobody",
        deliveries.a_dead_receiver_delays_nobody,
        partial(deliveries.a_dead_receiver_delays_nobody, dead=500, well=200, strict=True),
    ),
]


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/drill", description="Hold the reliability drills.")
    parser.add_argument("--long", action="store_true", help="hold the long forms")
    parser.add_argument("names", nargs="*", help="drills to hold; all when none is named")
    options = parser.parse_args()
    table = Table("drill", "outcome", "s", "figures", title="Drills, long form" if options.long else "Drills")
    failed = 0
    for row in DRILLS:
        if options.names and row.name not in options.names:
            continue
        began = time.monotonic()
        outcome, figures = _hold(row.long if options.long and row.long else row.short)
        failed += outcome == "failed"
        table.add_row(row.name, outcome, f"{time.monotonic() - began:.1f}", figures)
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    return 1 if failed else 0


def _hold(drill: Drill) -> tuple[str, str]:
    with tempfile.TemporaryDirectory(prefix="drill-") as directory:
        try:
            figures = drill(Path(directory))
        except Impossible as why:
            return "skipped", str(why)
        except Exception as broken:
            return "failed", f"{type(broken).__name__}: {broken}"
    return "passed", ", ".join(f"{name}: {figure}" for name, figure in figures.items())


if __name__ == "__main__":
    sys.exit(main())
