"""Draw mutants, run the tests for each, and print which were seen; see `scripts/mutants --help`."""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import functools
import json
import os
import queue
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mutants.sampling import AREAS, Mutant, draw_mutants
from mutants.selection import Baseline, measure_baseline
from mutants.workspace import Workspace

_PROJECT = Path(__file__).resolve().parent.parent
_NEAR_SECONDS = 45.0
"""The nearest tests run first, one after another, as many as took this long without a change."""
_SECONDS_PER_TEST = 120
_UNSTABLE_TESTS = 3
"""How many tests may fail once only, for one mutant, before the search for one that sees it ends."""
_RUN_SECONDS = 1200.0
"""The longest time for one run of pytest; a change that makes the tests hang has been seen."""


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant, and what saw it.

    The outcome is `failed` (a test saw it), `hung`, `types` (mypy saw it), or `survived`.
    """

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
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    known = _read_results(options.results)
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
        Path(directory).chmod(0o755)  # some tests start programs as another user
        tools = Path(os.environ["MUTANTS_TOOLS"])
        spaces = [Workspace(_PROJECT, Path(directory) / str(number), tools) for number in range(options.jobs)]
        try:
            for verdict in _try_all([mutant for mutant in mutants if mutant.diff not in known], spaces):
                known[verdict.diff] = verdict
                with options.results.open("a", encoding="utf-8") as results:
                    results.write(json.dumps(vars(verdict)) + "\n")
                done = sum(mutant.diff in known for mutant in mutants)
                print(f"{done}/{len(mutants)} {_describe(verdict)}", file=sys.stderr)
        except KeyboardInterrupt:
            print(f"Stopped. The verdicts so far are in {options.results}; a second run goes on.", file=sys.stderr)
            return 130
        finally:
            for space in spaces:
                space.close()
    return _report([known[mutant.diff] for mutant in mutants])


def _describe(verdict: Verdict) -> str:
    return f"{verdict.outcome:8} {verdict.seconds:4.0f} s  {verdict.kind}: {verdict.mutant}  {verdict.by}"


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


def _try_all(mutants: list[Mutant], spaces: list[Workspace]) -> Iterator[Verdict]:
    """Yield the verdicts as they come: first of those that the nearest tests or the types see, then of the others."""
    if not mutants:
        return
    print("Running the quick tests without a change ...", file=sys.stderr)
    baseline = measure_baseline(spaces[0], 2 * len(spaces))
    for test in baseline.failed:
        print(f"Left out, because it fails without a change: {test}", file=sys.stderr)
    unseen = []
    for mutant, verdict in _try_each(mutants, spaces, functools.partial(_run_near_tests, baseline)):
        if verdict.outcome == "survived":
            unseen.append(mutant)
            print(f"not seen by the nearest tests: {mutant.name}", file=sys.stderr)
        else:
            yield verdict
    for _, verdict in _try_each(unseen, spaces, functools.partial(_run_other_tests, baseline)):
        yield verdict


_Found = tuple[str, str]
"""An outcome, and what saw the change."""


def _try_each(
    mutants: list[Mutant], spaces: list[Workspace], run_tests: Callable[[Mutant, Workspace], _Found | None]
) -> Iterator[tuple[Mutant, Verdict]]:
    """Run tests for each mutant, one at a time in each workspace, and yield the verdicts as they come."""
    free: queue.SimpleQueue[Workspace] = queue.SimpleQueue()
    for space in spaces:
        free.put(space)

    def try_one(mutant: Mutant) -> tuple[Mutant, Verdict]:
        space = free.get()
        file = space.tree / mutant.path
        began = time.monotonic()
        file.write_text(mutant.mutated, encoding="utf-8")
        try:
            outcome, by = run_tests(mutant, space) or ("survived", "")
        finally:
            file.write_text(mutant.source, encoding="utf-8")
            free.put(space)
        seconds = round(time.monotonic() - began, 1)
        return mutant, Verdict(mutant.name, mutant.kind, outcome, by, seconds, mutant.diff)

    with concurrent.futures.ThreadPoolExecutor(len(spaces)) as pool:
        futures = [pool.submit(try_one, mutant) for mutant in mutants]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()
            if not all(future.done() for future in futures):
                for space in spaces:
                    space.close()


def _choose_near_tests(baseline: Baseline, mutant: Mutant) -> list[str]:
    """Return the nearest of the tests that execute the change, as many as took _NEAR_SECONDS without it."""
    near: list[str] = []
    total = 0.0
    for test in baseline.choose_tests(mutant):
        total += baseline.seconds[test]
        if near and total > _NEAR_SECONDS:
            break
        near.append(test)
    return near


def _run_near_tests(baseline: Baseline, mutant: Mutant, space: Workspace) -> _Found | None:
    """Run the nearest tests, then mypy; return what saw the change, if anything did."""
    near = _choose_near_tests(baseline, mutant)
    if near and (found := _run_pytest(space, ["-p", "no:xdist", "-p", "no:randomly"], near)):
        return found
    if space.run_module("mypy", "--no-error-summary", seconds=_RUN_SECONDS).status == 1:
        return "types", "mypy"
    return None


def _run_other_tests(baseline: Baseline, mutant: Mutant, space: Workspace) -> _Found | None:
    """Run all other tests that can see the change. One that fails must fail again alone, or it is left out."""
    near = _choose_near_tests(baseline, mutant)
    others = {*baseline.choose_tests(mutant), *baseline.choose_programs_tests()}.difference(near)
    for _ in range(_UNSTABLE_TESTS):
        found = _run_pytest(space, ["-n", "4", "--dist", "worksteal"], sorted(others))
        if found is None or found[0] == "hung" or _run_pytest(space, ["-p", "no:xdist"], [found[1]]):
            return found
        others.discard(found[1])
    return None


def _run_pytest(space: Workspace, options: list[str], tests: list[str]) -> _Found | None:
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
    return "failed", failed[0].split(" ", 1)[1].partition(" - ")[0] if failed else ended.output.splitlines()[-1]


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
