"""The details of a signal: taken once, in time, and by the right process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.supervisor import intent
from gateway.supervisor.intent import Outcome


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "gateway.0123456789abcdef.lock"


def test_an_intent_is_taken_once_by_its_process(lock: Path) -> None:
    asked = intent.leave_intent(lock, 7, hard=True, reason="why")

    assert intent.take_intents(lock, 7) == [asked]
    assert intent.take_intents(lock, 7) == []


def test_an_intent_for_another_process_is_deleted(lock: Path) -> None:
    intent.leave_intent(lock, 7, hard=False, reason="")

    assert intent.take_intents(lock, 8) == []
    assert list(lock.parent.iterdir()) == []


def test_intents_of_the_same_moment_are_all_taken_and_answered(lock: Path) -> None:
    asked = [intent.leave_intent(lock, 7, hard=False, reason=str(number)) for number in range(3)]

    assert {one.id for one in intent.take_intents(lock, 7)} == {one.id for one in asked}
    for one in asked:
        intent.write_outcome(lock, Outcome(one.id, True, 1, 2, ""))

    assert all((found := intent.take_outcome(lock, one)) is not None and found.id == one.id for one in asked)
    assert [intent.take_outcome(lock, one) for one in asked] == [None] * 3
    assert list(lock.parent.iterdir()) == []


@pytest.mark.parametrize("shift", [-intent.INTENT_VALID_SECONDS - 1, 3600.0])
def test_an_old_intent_and_one_from_the_future_are_not_valid(
    lock: Path, monkeypatch: pytest.MonkeyPatch, shift: float
) -> None:
    import time

    intent.leave_intent(lock, 7, hard=False, reason="")
    now = time.time()
    monkeypatch.setattr(intent.time, "time", lambda: now - shift)

    assert intent.take_intents(lock, 7) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 20_000, b"\xff", b'{"id": 1}'])
def test_garbage_is_not_an_intent(lock: Path, content: bytes) -> None:
    (lock.parent / "gateway.0123456789abcdef.x.restart").write_bytes(content)

    assert intent.take_intents(lock, 7) == []


def test_outcomes_that_nobody_reads_are_deleted(lock: Path) -> None:
    intent.write_outcome(lock, Outcome("old", True, 1, 2, ""))
    (left,) = lock.parent.iterdir()
    os.utime(left, (0, 0))

    intent.write_outcome(lock, Outcome("", True, 1, 2, ""))

    assert list(lock.parent.iterdir()) == []


def test_a_grace_is_taken_once_by_its_process(lock: Path) -> None:
    intent.leave_grace(lock, 7, 1.5)

    assert [intent.take_grace(lock, 8), intent.take_grace(lock, 7), intent.take_grace(lock, 7)] == [None, 1.5, None]
