"""Copies the database of an installation into the archive: of SQLite one moment, of PostgreSQL a dump."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from gateway.backup import drafts
from gateway.backup.archive import ArchiveWriter
from gateway.backup.contents import DATABASE_NAME, DUMP_NAME, Installation
from gateway.errors import ConfigError, Unavailable
from gateway.store.sqlite import snapshot

#: seconds that `pg_dump` may take
DUMP_TIMEOUT_SECONDS = 6 * 3600


def copy_for_archive(place: Installation, to: Path, on_step: Callable[[], None]) -> int:
    """Copy the database into a file next to the archive; return the number of its schema, 0 for a dump.

    Raises:
        GatewayError: it cannot be copied.
        OSError: the disk refuses.
    """
    drafts.create_piece(to)
    if place.store_url is None:
        return snapshot.copy_database(place.database, to, on_step)
    _dump_server(place.store_url, to)
    return 0


def add_copy(archive: ArchiveWriter, place: Installation, copied: Path) -> None:
    """Add the copy of the database."""
    archive.add_file(DATABASE_NAME if place.store_url is None else DUMP_NAME, copied)


def _find_variables(url: str) -> dict[str, str]:
    """Return the variables of PostgreSQL's programs for a URL: it may have a password, and everyone sees arguments.

    https://www.postgresql.org/docs/current/libpq-envars.html
    """
    from psycopg import conninfo  # late: most installations have no PostgreSQL

    names = {"dbname": "PGDATABASE", "application_name": "PGAPPNAME", "connect_timeout": "PGCONNECT_TIMEOUT"}
    return {names.get(name, f"PG{name.upper()}"): str(value) for name, value in conninfo.conninfo_to_dict(url).items()}


def _dump_server(url: str, to: Path) -> None:
    program = shutil.which("pg_dump")
    if program is None:
        raise ConfigError(
            "store.url: a backup of a PostgreSQL database needs the program pg_dump, which is not installed.",
            remedy="Install it (Debian: postgresql-client), or leave the database out: gateway backup --no-database",
        )
    env = {**os.environ, **_find_variables(url)}
    command = [program, "--format=custom", f"--file={to}", "--no-password"]
    try:
        done = subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=DUMP_TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"pg_dump has not ended within {DUMP_TIMEOUT_SECONDS // 3600} hours.") from None
    if done.returncode != 0:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        if any("server version mismatch" in line for line in lines):
            raise ConfigError(
                f"pg_dump is older than the server: {lines[-1].partition('detail: ')[2][:300] or lines[-1][:300]}.",
                remedy="Install the pg_dump of the server's version (Debian: postgresql-client-VERSION), or leave the"
                " database out: gateway backup --no-database",
            )
        raise Unavailable(
            f"pg_dump failed: {lines[-1][:300] if lines else done.returncode}.",
            remedy="Correct it, or leave the database out: gateway backup --no-database",
        )
