"""A gateway with SQLite loads nothing of PostgreSQL."""

from __future__ import annotations

from pathlib import Path

from tests.supervisor.test_lightness import OPEN_GATEWAY, run_code

PACKAGES = {
    "psycopg",
    "psycopg_binary",
    "psycopg_pool",
    "procrastinate",
    "gateway.store.postgres",
    "gateway.engine.fleet",
}


def test_a_gateway_with_sqlite_loads_nothing_of_postgresql(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"agents": {"list": [{"id": "main", "backend": "echo"}]}}')

    loaded = run_code(OPEN_GATEWAY, tmp_path)

    assert "gateway.store.sqlite.store" in loaded
    assert loaded & PACKAGES == set()


def test_the_commands_load_nothing_of_postgresql(tmp_path: Path) -> None:
    loaded = run_code("import cli.main, cli.doctor.database, cli.commands.config", tmp_path)

    assert loaded & PACKAGES == set()
