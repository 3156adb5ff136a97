"""A restore that ends while a gateway starts: the start goes on with what was restored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway import __main__ as program
from gateway import paths
from gateway.backup import pending
from gateway.backup.pending import Move
from gateway.supervisor import lock

LEVELS = ["debug", "error"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory with a config, and a draft of another one."""
    monkeypatch.setenv("MOONGATE_HOME", str(tmp_path))
    monkeypatch.delenv("MOONGATE_CONFIG", raising=False)
    (tmp_path / ".restore-01234567").mkdir()
    for place, level in zip((tmp_path, tmp_path / ".restore-01234567"), LEVELS, strict=True):
        (place / "config.json").write_text(json.dumps({"log": {"level": level}}))
    return tmp_path


def restore(home: Path) -> None:
    draft = home / ".restore-01234567"
    moves = [
        Move(str(home / "config.json"), str(home / "kept")),
        Move(str(draft / "config.json"), str(home / "config.json")),
    ]
    pending.write_plan(home, moves, [draft])


@pytest.mark.parametrize("ends", [True, False])
def test_settings_that_were_restored_before_the_lock_was_taken_are_those_of_the_start(
    home: Path, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    acquire: Callable[..., Any] = program._acquire_lock
    seen = []

    def restore_first(settings: Any, **named: Any) -> Any:
        seen.append(settings.log.level)
        if len(seen) == 1:
            restore(home)
            if ends:
                pending.finish_plan(home)
        return acquire(settings, **named)

    monkeypatch.setattr(program, "_acquire_lock", restore_first)
    reading, held = program._lock_config(force=False)

    try:
        assert (seen, reading.settings.log.level) == (LEVELS, "error")
        assert not paths.restore_plan_file(home).exists()
        assert lock.is_held(held.path)
    finally:
        held.release()
