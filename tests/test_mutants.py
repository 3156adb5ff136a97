"""The changes that mutation tests make: each is code, and the same seed draws the same."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.thorough import leave_out_on_push

ROOT = Path(__file__).parent.parent


def list_mutants(*options: str) -> str:
    """Return what `scripts/mutants --list` prints; skip the test if its tools are not installed."""
    if not (ROOT / ".mutants").exists():
        assert not os.environ.get("MOONGATE_TEST_ALL"), (
            "all tests must run, but the tools of scripts/mutants are missing"
        )
        pytest.skip("the tools of scripts/mutants are not installed: run scripts/mutants --list")
    done = subprocess.run(
        [ROOT / "scripts" / "mutants", "--list", *options], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@leave_out_on_push
@pytest.mark.slow
def test_a_sample_of_mutants_is_the_same_for_the_same_seed_and_holds_one_change_each() -> None:
    sample = list_mutants("--seed", "7", "--count", "12", "domain", "outbound")
    assert sample == list_mutants("--seed", "7", "--count", "12", "domain", "outbound")
    assert sample != list_mutants("--seed", "8", "--count", "12", "domain", "outbound")
    diffs = sample.split("\n# ")
    assert len(diffs) == 12
    for diff in diffs:
        assert diff.count("\n--- a/gateway/") == 1
        assert diff.count("\n@@ ") == 1
        assert any(line.startswith("-") for line in diff.splitlines()[3:])
