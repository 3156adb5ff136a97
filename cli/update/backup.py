"""The backup before an update: made by `gateway backup` of the present version."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

from cli import commands
from cli.instance import Instance
from cli.update import database
from cli.update.database import Database
from cli.update.tools import run_program
from gateway.errors import GatewayError
from gateway.process.own_environment import find_own_executable

#: seconds that the backup may take
BACKUP_TIMEOUT_SECONDS = 3600.0
#: directory in the state directory for backups before updates
BACKUP_DIRECTORY = "backups"


def make_backup(instance: Instance) -> str:
    """Make a backup, and return its file; empty if no gateway ever ran, so that there is nothing to save.

    Raises:
        GatewayError: it cannot be made.
    """
    found = database.find_database(instance.env)
    if found is not None and not found.path.exists():
        return ""
    directory = instance.home / BACKUP_DIRECTORY
    if not (Path(commands.__file__).parent / "backup.py").exists():
        return _copy_database(found, directory)
    parts = ["--no-workspaces", *(["--no-database"] if found is None else [])]
    words = [find_own_executable(), "-P", "-m", "cli.main", "backup", str(directory), *parts, "--json"]
    done = run_program(words, instance.env, BACKUP_TIMEOUT_SECONDS)
    try:
        found = json.loads(done.out)
        return str(found["file"])
    except (ValueError, KeyError, TypeError) as error:
        raise GatewayError(
            f"no backup can be made: {done.last_words}", remedy="Nothing has changed. See why: gateway backup"
        ) from error


def _copy_database(found: Database | None, directory: Path) -> str:
    """Copy the database only, for a version without `gateway backup`."""
    import apsw

    if found is None:
        return ""
    directory.mkdir(mode=0o700, exist_ok=True)
    target = directory / f"before-update-{time.time_ns() // 1_000_000}.db"
    with contextlib.closing(apsw.Connection(str(found.path), flags=apsw.SQLITE_OPEN_READONLY)) as source:
        source.execute("VACUUM INTO ?", (str(target),))
    return str(target)
