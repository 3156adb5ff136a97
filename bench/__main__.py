"""`python -m bench [ROW...] [--quick] [--peers]`: measure, print a table, and write `RESULTS.md`."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from bench import peers, report
from gateway import plugins

RESULTS = Path(__file__).with_name("RESULTS.md")


def main() -> None:
    rows: dict[str, report.Row] = dict(plugins.discover_modules("bench.rows", "ROW"))
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure against bare counterparts.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"only these: {', '.join(rows)}")
    parser.add_argument("--quick", action="store_true", help="only check that every row runs")
    parser.add_argument("--peers", action="store_true", help="also measure peers, installed into build/peers")
    arguments = parser.parse_args()
    unknown = set(arguments.rows) - set(rows)
    if unknown:
        parser.error(f"there is no row {', '.join(sorted(unknown))}")
    peers.wanted = arguments.peers
    found = [(rows[name], _measured(name, rows[name], arguments.quick)) for name in arguments.rows or rows]
    before = report.earlier(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    print(report.table(found, before))
    if arguments.rows or arguments.quick:
        print("\nRESULTS.md is unchanged: only a full run of all rows writes it.")
        return
    RESULTS.write_text(report.document(found, before, Path(tempfile.gettempdir())), "utf-8")


def _measured(name: str, row: report.Row, quick: bool) -> report.Result:
    print(f"{name} ...", flush=True)
    result = row.run(quick)
    for note in result.notes:
        print(f"  {note}", flush=True)
    return result


main()
