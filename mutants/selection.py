"""Which tests can see a change: those that execute its lines, the nearest and quickest first."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mutants.sampling import Mutant
from mutants.workspace import Workspace

QUICK = "not (opencode or codex or clients or service or drill or slow)"
"""The tests that `scripts/test --quick` runs."""

_BASELINE_SECONDS = 3600.0


@dataclass(frozen=True)
class Baseline:
    """How the tests do without a change: seconds of each that passes, what failed, which tests execute a line, and the
    files with tests that start Python programs."""

    seconds: dict[str, float]
    failed: tuple[str, ...]
    executed: dict[str, dict[int, set[str]]]
    starting: frozenset[str]

    def choose_tests(self, mutant: Mutant) -> list[str]:
        """Return the tests that execute the mutant's lines, or else any line of its file."""
        lines = self.executed.get(mutant.path, {})
        wanted = range(mutant.first_line, mutant.last_line + 1)
        tests: set[str] = set().union(*(lines.get(line, ()) for line in wanted))
        tests = tests or set().union(*lines.values())
        words = set(Path(mutant.path).with_suffix("").parts[1:])

        def order(test: str) -> tuple[int, float]:
            file = Path(test.partition("::")[0])
            near = len(words & {*file.parent.parts, file.stem.removeprefix("test_")})
            return -near, self.seconds[test]

        return sorted(tests & self.seconds.keys(), key=order)

    def choose_programs_tests(self) -> list[str]:
        """Return the tests of the files in which any starts a Python program: they may share it."""
        return [test for test in self.seconds if test.partition("::")[0] in self.starting]


def measure_baseline(workspace: Workspace, workers: int) -> Baseline:
    """Run the quick tests once without a change, and note what each executes in its own process.

    Raises RuntimeError if no test passes.
    """
    with tempfile.TemporaryDirectory() as directory:
        ended = workspace.run_module(
            "pytest", "-q", "-n", str(workers), "-m", QUICK, "-p", "mutants.recorder",
            seconds=_BASELINE_SECONDS, environment={"MUTANTS_RECORDS": directory},
        )  # fmt: skip
        records = [json.loads(file.read_text(encoding="utf-8")) for file in Path(directory).iterdir()]
    seconds: dict[str, float] = {}
    executed: dict[str, dict[int, set[str]]] = {}
    for record in records:
        seconds |= record["seconds"]
        for file, lines in record["executed"].items():
            known = executed.setdefault(Path(file).relative_to(workspace.tree).as_posix(), {})
            for line, tests in lines.items():
                known.setdefault(int(line), set()).update(filter(None, tests))
    failed = {test for record in records for test in record["failed"]}
    if not seconds.keys() - failed:
        raise RuntimeError(f"No test passed without a change:\n{ended.output}")
    starting = frozenset(test.partition("::")[0] for record in records for test in record["starting"])
    passed = {test: took for test, took in seconds.items() if test not in failed}
    return Baseline(passed, tuple(sorted(failed)), executed, starting)
