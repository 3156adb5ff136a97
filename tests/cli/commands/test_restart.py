"""`gateway restart`, as far as it can be tested without a gateway."""

from __future__ import annotations

from pathlib import Path

from cli.commands import restart
from cli.instance import Instance
from gateway import config
from gateway.supervisor import deadlines


def test_it_waits_longer_than_a_generation_may_take_and_so_hears_why_one_was_given_up() -> None:
    ready = config.load({"HOME": "/nowhere"}).gateway.ready_timeout

    assert ready + deadlines.YIELD_TIMEOUT_SECONDS < restart.RESTART_TIMEOUT_SECONDS


def test_the_way_back_names_the_complete_copy_from_before_the_migration(tmp_path: Path) -> None:
    instance = Instance(tmp_path, tmp_path / "config.json", {"HOME": "/nowhere", "MOONGATE_HOME": str(tmp_path)})
    database = tmp_path / "data/moongate.db"
    database.parent.mkdir()
    database.with_name("moongate.db.schema-8.new").touch()
    assert not restart._explain_way_back(instance, 0.0)

    database.with_name("moongate.db.schema-7").touch()
    said = restart._explain_way_back(instance, 0.0)
    assert "move moongate.db and its -wal away" in said
    assert f"copy {database}.schema-7 to its place" in said
    assert not restart._explain_way_back(instance, database.with_name("moongate.db.schema-7").stat().st_mtime + 1)
