"""Draw mutants, run the tests for each, and print which were seen; see `scripts/mutants --help`."""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import json
import os
import queue
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mutants.sampling import AREAS, Mutant, draw_mutants
from mutants.selection import QUICK, Baseline, measure_baseline
from mutants.workspace import Workspace

_PROJECT = Path(__file__).resolve().parent.parent
_NEAR_SECONDS = 45.0
"""The nearest tests run first, one after another, as many as took this long without a change."""
_SECONDS_PER_TEST = 120
_RUN_SECONDS = 1200.0
"""The longest time for one run of pytest; a change that makes the tests hang has been seen."""


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: `failed`, `hung`, `types` (mypy sees it), or `survived`; and what saw it."""

    mutant: str
    kind: str
    outcome: str
    by: str
    seconds: float
    diff: str


def main() -> int:
    options = _read_options()
    mutants = draw_mutants(_PROJECT, options.areas or list(AREAS), options.count, options.seed)
    if options.list:
        for mutant in mutants:
            print(f"# {mutant.kind}: {mutant.name}\n{mutant.diff}\n")
        return 0
    options.results.parent.mkdir(parents=True, exist_ok=True)
    known = _read_results(options.results)
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
        tools = Path(os.environ["MUTANTS_TOOLS"])
        spaces = [Workspace(_PROJECT, Path(directory) / str(number), tools) for number in range(options.jobs)]
        print("Running the quick tests without a change ...", file=sys.stderr)
        baseline = measure_baseline(spaces[0], 2 * options.jobs)
        for test in baseline.failed:
            print(f"Left out, because it fails without a change: {test}", file=sys.stderr)
        waiting = [mutant for mutant in mutants if mutant.diff not in known]
        for verdict in _try_all(waiting, spaces, baseline):
            known[verdict.diff] = verdict
            with options.results.open("a", encoding="utf-8") as results:
                results.write(json.dumps(vars(verdict)) + "\n")
            print(
                f"{len(known)}/{len(mutants)} {verdict.outcome:8} {verdict.seconds:5.0f} s  {verdict.kind}: "
                f"{verdict.mutant}  {verdict.by}",
                file=sys.stderr,
            )
    return _report([known[mutant.diff] for mutant in mutants])


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/mutants",
        description="Change the core at random in a copy of the tree, and see whether a test fails.",
        epilog=f"Areas: {', '.join(AREAS)}; all if none is named. The same seed and tree give the same sample.",
    )
    parser.add_argument("areas", nargs="*", metavar="AREA", help="parts of the core")
    parser.add_argument("--seed", type=int, default=1, help="the seed of the sample (default: 1)")
    parser.add_argument("--count", type=int, default=150, help="how many mutants (default: 150)")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 2) // 2), help="mutants at one time")
    parser.add_argument("--list", action="store_true", help="print the sample, and run nothing")
    parser.add_argument(
        "--results",
        type=Path,
        default=_PROJECT / ".mutants" / "results.jsonl",
        help="where verdicts are kept; those that are there are not tried again (default: .mutants/results.jsonl)",
    )
    options = parser.parse_args()
    if unknown := [area for area in options.areas if area not in AREAS]:
        parser.error(f"no area is named {unknown[0]}; there are {', '.join(AREAS)}")
    if options.count < 1 or options.jobs < 1:
        parser.error("--count and --jobs are at least 1")
    return options


def _read_results(path: Path) -> dict[str, Verdict]:
    """Return the verdicts of earlier runs, by the mutants' diffs."""
    if not path.exists():
        return {}
    verdicts = (Verdict(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines())
    return {verdict.diff: verdict for verdict in verdicts}


def _try_all(mutants: list[Mutant], spaces: list[Workspace], baseline: Baseline) -> Iterable[Verdict]:
    """Try the mutants, one at a time in each workspace, and yield the verdicts as they come."""
    free: queue.SimpleQueue[Workspace] = queue.SimpleQueue()
    for space in spaces:
        free.put(space)

    def try_one(mutant: Mutant) -> Verdict:
        space = free.get()
        try:
            return _try_mutant(mutant, space, baseline)
        finally:
            free.put(space)

    with concurrent.futures.ThreadPoolExecutor(len(spaces)) as pool:
        futures = [pool.submit(try_one, mutant) for mutant in mutants]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _try_mutant(mutant: Mutant, space: Workspace, baseline: Baseline) -> Verdict:
    file = space.tree / mutant.path
    began = time.monotonic()
    file.write_text(mutant.mutated, encoding="utf-8")
    try:
        outcome, by = _run_tests(mutant, space, baseline)
    finally:
        file.write_text(mutant.source, encoding="utf-8")
    return Verdict(mutant.name, mutant.kind, outcome, by, round(time.monotonic() - began, 1), mutant.diff)


def _run_tests(mutant: Mutant, space: Workspace, baseline: Baseline) -> tuple[str, str]:
    """Return the outcome and what saw the change: the nearest tests, the types, all others that are quick."""
    chosen = baseline.choose_tests(mutant)
    near, total = [], 0.0
    for test in chosen:
        total += baseline.seconds[test]
        if near and total > _NEAR_SECONDS:
            break
        near.append(test)
    left_out = [f"--deselect={test}" for test in (*baseline.failed, *near)]
    if near and (found := _run_pytest(space, ["-p", "no:xdist", "-p", "no:randomly"], near)):
        return found
    if space.run_module("mypy", "--no-error-summary", seconds=_RUN_SECONDS).status == 1:
        return "types", "mypy"
    return _run_pytest(space, ["-n", "4", "--dist", "worksteal", "-m", QUICK], left_out) or ("survived", "")


def _run_pytest(space: Workspace, options: list[str], tests: list[str]) -> tuple[str, str] | None:
    """Run tests until one fails; return the outcome and its name, or None if all pass."""
    listed = space.tree.parent / "tests"
    listed.write_text("\n".join(tests), encoding="utf-8")
    ended = space.run_module(
        "pytest", "-q", "-x", "--tb=no", f"--timeout={_SECONDS_PER_TEST}", *options, f"@{listed}", seconds=_RUN_SECONDS
    )
    if ended.status is None:
        return "hung", ""
    if ended.status == 0:
        return None
    failed = [line for line in ended.output.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return "failed", failed[0].split()[1] if failed else ended.output.splitlines()[-1]


def _report(verdicts: list[Verdict]) -> int:
    """Print the survivors as diffs, and a table of the kinds; return 1 if any survived, else 0."""
    for verdict in verdicts:
        if verdict.outcome == "survived":
            print(f"# {verdict.kind}: {verdict.mutant}\n{verdict.diff}\n")
    outcomes = ("failed", "hung", "types", "survived")
    table = Table("kind", *outcomes, title=f"{len(verdicts)} mutants")
    counts = collections.Counter((verdict.kind, verdict.outcome) for verdict in verdicts)
    for kind in sorted({verdict.kind for verdict in verdicts}):
        table.add_row(kind, *(str(counts[kind, outcome]) for outcome in outcomes))
    table.add_section()
    totals = collections.Counter(verdict.outcome for verdict in verdicts)
    table.add_row("all", *(str(totals[outcome]) for outcome in outcomes))
    Console(width=shutil.get_terminal_size((120, 24)).columns).print(table)
    return 1 if totals["survived"] else 0


if __name__ == "__main__":
    sys.exit(main())
