"""The copy of the database with which another version is tried."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from cli.instance import Instance
from cli.update import trial
from cli.update.installation import Installation, Kind
from gateway.domain.times import wall_clock
from gateway.errors import StorageFull
from gateway.store.sqlite import copies, opening


def test_a_disk_without_room_for_a_copy_names_the_way_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise apsw.FullError("database or disk is full")

    home = tmp_path / "home"
    home.mkdir()
    opening.open_writer(home / "data/moongate.db", wall_clock).close()
    monkeypatch.setattr(copies, "copy_database", fail)
    instance = Instance(home, home / "config.json", {"MOONGATE_HOME": str(home), "HOME": str(tmp_path)})
    site = Installation(Kind.VENV, tmp_path / "venv", tmp_path / "venv/lib")
    with pytest.raises(StorageFull, match="is full") as caught:
        trial.try_serving(site, "9.0.0", instance, {})
    assert caught.value.remedy is not None
    assert "Nothing has changed" in caught.value.remedy
    assert "--no-trial" in caught.value.remedy
    assert not trial.trial_place(home).exists()
