"""How far a backup is, is told a few times a second."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gateway.backup import progress
from gateway.backup.progress import REPORT_INTERVAL_SECONDS, Progress


def test_steps_are_told_at_once_and_what_is_between_them_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    now = 100.0
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now))
    shown = Progress(told.append)
    shown.begin("writing files")
    for size in ("1 MB", "2 MB"):
        shown.show(size)
    shown.begin("writing workspaces")
    now += REPORT_INTERVAL_SECONDS + 0.01
    shown.show("3 MB")
    assert told == ["writing files", "1 MB", "writing workspaces", "3 MB"]
