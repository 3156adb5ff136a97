"""Run the drills and print their outcomes: `scripts/drill [--long] [NAME ...]`."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from drills import Drill, Impossible
from drills.catalogue import DRILLS


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/drill", description="Run the reliability drills.")
    parser.add_argument("--long", action="store_true", help="run the long forms")
    parser.add_argument(
        "names", nargs="*", help="drills to run, or what is before the colon in their names; all if none is named"
    )
    options = parser.parse_args()
    table = Table("drill", "outcome", "s", "figures", title="Drills, long form" if options.long else "Drills")
    failed = 0
    for row in DRILLS:
        if options.names and not {row.name, row.name.partition(":")[0]} & set(options.names):
            continue
        began = time.monotonic()
        outcome, figures = _hold(row.long if options.long and row.long else row.short)
        failed += outcome == "failed"
        table.add_row(row.name, outcome, f"{time.monotonic() - began:.1f}", escape(figures))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    return 1 if failed else 0


def _hold(drill: Drill) -> tuple[str, str]:
    """Run a drill in a new directory, which is kept if it fails; return its outcome, and a description."""
    directory = tempfile.mkdtemp(prefix="drill-")
    try:
        figures = drill(Path(directory))
    except Impossible as why:
        outcome, words = "skipped", str(why)
    except Exception:
        return "failed", f"{traceback.format_exc(limit=-1).strip()}\nIts files are in {directory}"
    else:
        outcome, words = "passed", ", ".join(f"{name}: {figure}" for name, figure in figures.items())
    shutil.rmtree(directory, ignore_errors=True)
    return outcome, words


if __name__ == "__main__":
    sys.exit(main())
