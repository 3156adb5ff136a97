"""What is said of a `pg_dump` that cannot do its work."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.backup import databases
from gateway.backup.contents import Installation
from gateway.errors import ConfigError, GatewayError, Unavailable

#: what pg_dump of version 15 says to a server of version 17
MISMATCH = """pg_dump: error: aborting because of server version mismatch
pg_dump: detail: server version: 17.2; pg_dump version: 15.10"""
REFUSED = "pg_dump: error: connection to server failed: FATAL: password authentication failed"


@pytest.mark.parametrize(
    ("says", "kind", "told"),
    [
        (MISMATCH, ConfigError, r"older than the server: server version: 17\.2; pg_dump version: 15\.10\."),
        (REFUSED, Unavailable, "password authentication failed"),
    ],
)
def test_it_is_told_why_pg_dump_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, kind: type[GatewayError], told: str
) -> None:
    pytest.importorskip("psycopg")
    program = tmp_path / "pg_dump"
    program.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{says}\nEND\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    place = Installation(tmp_path, tmp_path / "config.json", tmp_path / "data", "postgresql://me:secret@localhost/db")

    with pytest.raises(kind, match=told) as failed:
        databases.copy_for_archive(place, tmp_path / "dump", lambda: None)

    assert "--no-database" in str(failed.value)
    assert "secret" not in str(failed.value)
