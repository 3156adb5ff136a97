"""Installations for the tests of this folder: a state directory with a database, files and workspaces."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.backup import pending, restoring, verifying, writing
from gateway.backup.contents import BackupChoice, Installation
from gateway.backup.manifest import Purpose
from gateway.backup.restoring import RestoredBackup, RestoreOptions, Restorer
from gateway.backup.verifying import VerifiedBackup
from gateway.backup.writing import BackupWriter, ConfigContent, WrittenBackup
from gateway.store.sqlite.store import SqliteStore
from harness.command_line import Shell
from tests.contracts.stores import claim_one, done, finish, spec

#: a value of the config that is secret, and its variable in a backup without secrets
SECRET, VARIABLE = "whsec_c2VjcmV0LXNlY3JldA==", "RESTORED_WEBHOOKS_SECRET"
CONTENT = b"what a file contains"


def make_installation(home: Path, runs: int = 3) -> Installation:
    """Make an installation with some of everything; it has ended runs in the session `main:test:a`."""
    place = Installation(home, home / "config.json", home / "data")
    (home / "data").mkdir(parents=True, mode=0o700)
    place.config.write_text(json.dumps({"webhooks": {"secret": SECRET}, "log": {"level": "debug"}}))
    for name, content in ((".env", "KEY=1\n"), ("token", "the-token"), ("webhook-secret", SECRET)):
        (home / name).write_text(content)
        (home / name).chmod(0o600)
    (home / "found-agent.json").write_text("{}")
    asyncio.run(_fill_store(place.database, runs))
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    stored = home / "data" / "files" / sha256[:2] / sha256[2:]
    stored.parent.mkdir(parents=True)
    stored.write_bytes(CONTENT)
    (home / "data" / "files" / "drafts" / "one").mkdir(parents=True)
    (home / "data" / "files" / "drafts" / "one" / "draft").write_text("unfinished")
    work = home / "workspaces" / "01abc"
    (work / "src" / "empty").mkdir(parents=True)
    (work / "src" / "run.sh").write_text("#!/bin/sh\n")
    (work / "src" / "run.sh").chmod(0o755)
    (work / "link").symlink_to("src/run.sh")
    return place


def make_shell(home: Path, cwd: Path) -> Shell:
    """Return a shell for an installation that does not run, or that does not exist yet."""
    keep = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return Shell({**keep, "HOME": str(cwd), "MOONGATE_HOME": str(home)}, cwd)


async def _fill_store(database: Path, runs: int) -> None:
    store = SqliteStore(database)
    for _ in range(runs):
        await store.runs.accept(spec())
        await finish(store, await claim_one(store), done())
    await store.close()


def write_backup(
    place: Installation,
    to: Path,
    choice: BackupChoice | None = None,
    *,
    running: bool = False,
    env: Mapping[str, str] | None = None,
    purpose: Purpose = Purpose.HAND,
    installation: str = "",
    now: float = 0,
) -> WrittenBackup:
    """Back an installation up."""
    content = place.config.read_bytes()
    config = ConfigContent(content, json.loads(content), [SECRET])
    writer = BackupWriter(
        place,
        choice or BackupChoice(),
        config,
        is_running=lambda: running,
        report=lambda _: None,
        purpose=purpose,
        installation=installation,
        env=dict(env or {"HOME": str(place.home)}),
    )
    return writer.write_backup(writing.choose_target(to, now))


def verify(file: Path) -> VerifiedBackup:
    found = verifying.verify_backup(file, lambda _: None)
    verifying.check_version(found)
    return found


def restore(
    file: Path, home: Path, options: RestoreOptions | None = None, *, env: Mapping[str, str] | None = None
) -> RestoredBackup:
    """Restore a backup into a state directory, as the command does after it has taken the locks."""
    home.mkdir(exist_ok=True)
    found = verify(file)
    known = dict(env or {"HOME": str(home)})
    place = restoring.find_installation(home, home / "config.json", known, found)
    return Restorer(place, found, options or RestoreOptions(), lambda _: None).restore_backup(known)


def restore_until_last_step(file: Path, home: Path, options: RestoreOptions | None = None) -> None:
    """Restore a backup, but for its last step, before which the command is killed."""
    with pytest.MonkeyPatch.context() as stopped:
        stopped.setattr(pending, "carry_out_plan", lambda _: None)
        restore(file, home, options)


def list_tree(directory: Path) -> dict[str, str]:
    """Return what is below a directory: the hash of files, the target of links, empty for directories."""
    found = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = ""
    return found
