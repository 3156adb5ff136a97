"""A run that is queued for long is explained."""

from __future__ import annotations

import queue
from typing import Any

import pytest

from cli.follow import follow
from harness.waiting import PATIENCE


class Told:
    """Reports a fixed reason for waiting."""

    def __init__(self, waits: dict[str, Any] | None) -> None:
        self.waits = waits

    def get(self, path: str) -> dict[str, Any]:
        return {"task": {"waits": self.waits}}


def test_a_run_that_is_queued_for_long_is_asked_what_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "EXPLAIN_AFTER_SECONDS", 0.0)
    said: queue.Queue[str] = queue.Queue()

    with follow.explain_long_wait(Told({"why": "the agent is busy", "until": None}), "01", said.put):
        assert said.get(timeout=PATIENCE) == "It waits: the agent is busy."


def test_a_run_that_begins_soon_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "EXPLAIN_AFTER_SECONDS", PATIENCE)
    asked: list[str] = []

    with follow.explain_long_wait(Told({"why": "x", "until": None}), "01", asked.append) as timer:
        timer.cancel()
        timer.join(PATIENCE)

        assert not timer.is_alive()
    assert asked == []
