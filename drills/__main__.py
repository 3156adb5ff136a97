"""Hold the drills and print how they went: `scripts/drill [--long] [NAME ...]`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from drills import Drill, Impossible
from drills.catalogue import DRILLS


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
