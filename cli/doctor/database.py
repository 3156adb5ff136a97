"""Checks the database of a gateway that does not run: whether it is there, ours and whole."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import apsw

from cli import output
from cli.doctor.finding import Finding, Level
from cli.remote.probe import ProbeResult, State
from gateway import private_file
from gateway.config import Config
from gateway.errors import ConfigError, Unavailable
from gateway.store.sqlite.opening import APPLICATION_ID, find_usable_copy, is_unfinished, read_migrations

#: bytes of a SQLite file's header
HEADER_BYTES = 100


def examine_database(settings: Config, found: ProbeResult) -> Finding:
    if settings.store.url is not None:
        return _examine_server(settings)
    file = settings.database_path
    shown = output.shorten_home(file)
    if found.state is not State.STOPPED:
        return Finding("database", Level.OK, f"{shown}, in use by the gateway")
    restore = f"move {shown} and its -wal file away, and restore a backup"
    try:
        header = private_file.read_plain_file(file, HEADER_BYTES)
    except FileNotFoundError:
        return _no_database(file)
    except OSError as error:
        return Finding("database", Level.ERROR, f"cannot read {shown}", error.strerror)
    if len(header) < HEADER_BYTES or not header.startswith(b"SQLite format 3\0"):
        return Finding("database", Level.ERROR, f"{shown} is damaged, or is not a SQLite database", None, restore)
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        return Finding(
            "database", Level.ERROR, f"{shown} belongs to another program", None, "set data.directory elsewhere"
        )
    if not os.access(file.parent, os.W_OK) or not os.access(file, os.W_OK):
        remedy = "mount it writable, give this user the right to write there, or set data.directory"
        return Finding("database", Level.ERROR, f"the gateway cannot write to {shown}", "it is read-only", remedy)
    if (unusable := _examine_schema(file)) is not None:
        return unusable
    wrong = _quick_check(file)
    if wrong:
        return Finding("database", Level.ERROR, f"{shown} is damaged", wrong, restore)
    return Finding("database", Level.OK, f"{shown}, checked")


def _examine_server(settings: Config) -> Finding:
    """Return whether the PostgreSQL server of the settings answers and can be used. Nothing is changed there."""
    from gateway.store import choice  # late: it may import much

    try:
        choice.check_server(settings)
    except (ConfigError, Unavailable) as error:
        return Finding("database", Level.ERROR, error.message.rstrip("."), None, error.remedy)
    return Finding("database", Level.OK, f"{settings.shown_store}, answers")


def _no_database(file: Path) -> Finding:
    wal = file.with_name(f"{file.name}-wal")
    if wal.exists() and wal.stat().st_size:
        said = f"{output.shorten_home(file)} is missing, but its write-ahead log is there"
        return Finding("database", Level.ERROR, said, None, f"restore it next to {wal.name}, or move that file away")
    return Finding("database", Level.OK, "none yet; the first start creates it")


def _examine_schema(file: Path) -> Finding | None:
    """Return what is wrong with the schema, whose version may be newer; None if this Moongate can use it."""
    known = len(read_migrations())
    try:
        with contextlib.closing(apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
            present = int(connection.pragma("user_version"))
            is_copied = is_unfinished(connection)
    except apsw.Error:
        return None  # the next check says what is wrong
    if is_copied:
        said = f"{output.shorten_home(file)} holds a copy of another store that is not finished"
        return Finding("database", Level.ERROR, said, "gateway migrate was interrupted", "run it again: it goes on")
    if present <= known:
        return None
    remedy = "upgrade Moongate again"
    if (copy := find_usable_copy(file)) is not None:
        remedy += (
            f", or move the database with its -wal away and copy {output.shorten_home(copy)} to its place:"
            " what came after the upgrade is not in it"
        )
    said = f"{output.shorten_home(file)} has schema {present}; this Moongate knows {known}"
    return Finding("database", Level.ERROR, said, "a newer Moongate has migrated it", remedy)


def _quick_check(file: Path) -> str:
    """Return the faults that SQLite finds in a database that no process uses; empty if there are none."""
    try:
        connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            said = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)")]
        finally:
            connection.close()
    except apsw.Error as error:
        return str(error)
    return "" if said == ["ok"] else "; ".join(said)
