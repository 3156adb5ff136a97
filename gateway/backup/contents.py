"""What a backup contains: the places of an installation, and which of them are taken."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from gateway import paths
from gateway.backup import drafts
from gateway.backup.agent_memory import MemoryPlace
from gateway.backup.archive import ArchiveWriter, walk_tree
from gateway.backup.manifest import MAX_MEMBER_DEPTH, MAX_MEMBER_NAME_BYTES, Part, may_be_link
from gateway.config_files import variables
from gateway.errors import Unavailable
from gateway.store.file_directory import DRAFTS
from gateway.store.sqlite import snapshot

#: the name of the config file in a backup, whatever its own name is
CONFIG_NAME = f"{Part.CONFIG}/config.json"
#: the name of `.env`
ENV_NAME = f"{Part.SECRETS}/.env"
#: the database in a backup: a SQLite file, or a dump of PostgreSQL
DATABASE_NAME, DUMP_NAME = f"{Part.DATABASE}/moongate.db", f"{Part.DATABASE}/postgresql.dump"


class Installation(NamedTuple):
    """The places of one installation."""

    home: Path
    config: Path
    data: Path
    #: URL of the PostgreSQL database, if the store is one
    store_url: str | None = None

    @property
    def database(self) -> Path:
        return paths.database_file(self.data)

    @property
    def files(self) -> Path:
        """The contents of files of messages and answers."""
        return self.data / "files"

    @property
    def outputs(self) -> Path:
        """Large outputs of tools."""
        return self.home / "outputs"

    @property
    def workspaces(self) -> Path:
        """The directories of sessions."""
        return self.home / "workspaces"

    @property
    def dump(self) -> Path:
        """Where the dump of a PostgreSQL database is put, for the user to load it."""
        return self.data / "postgresql.dump"

    @property
    def secret_files(self) -> list[Path]:
        return [paths.env_file(self.home), paths.token_file(self.home), paths.webhook_secret_file(self.home)]


class BackupChoice(NamedTuple):
    """Which parts are wanted."""

    secrets: bool = False
    database: bool = True
    workspaces: bool = True
    agents: bool = False


def add_secret_files(archive: ArchiveWriter, place: Installation) -> None:
    """Add `.env`, the token and the webhook secret. What a link leads to is added in its place."""
    for file in place.secret_files:
        if file.exists():
            archive.add_file(f"{Part.SECRETS}/{file.name}", Path(os.path.realpath(file)))


def add_stored_files(archive: ArchiveWriter, place: Installation) -> None:
    """Add the contents of files; drafts are no contents yet."""
    add_tree(
        archive,
        Part.FILES,
        place.files,
        skip=lambda path: path.partition("/")[0] == DRAFTS,
        find_hash=lambda path: path.replace("/", "") if len(path) == 65 else None,
    )


def add_memories(archive: ArchiveWriter, places: Collection[MemoryPlace], piece: Path) -> None:
    """Add what agents' programs keep.

    Args:
        piece: a file to use for a while.
    """

    def add_database(name: str, path: Path) -> bool:
        """Add a database of SQLite as it is at one moment: its program may be writing to it."""
        if not snapshot.is_database(path):
            return False
        drafts.create_piece(piece)
        try:
            snapshot.copy_foreign_database(path, piece)
            archive.add_file(name, piece)
        except Unavailable as error:
            archive.note_omission(name, error.message, lost=True)
        finally:
            piece.unlink(missing_ok=True)
        return True

    for place in places:
        archive.add_directory(f"{Part.AGENTS}/{place.name}", 0o700)
        add_tree(archive, f"{Part.AGENTS}/{place.name}", place.path, skip=place.is_skipped, add_file=add_database)


def add_tree(
    archive: ArchiveWriter,
    prefix: str,
    root: Path,
    *,
    skip: Callable[[str], bool] = lambda _: False,
    find_hash: Callable[[str], str | None] = lambda _: None,
    add_file: Callable[[str, Path], bool] = lambda _, __: False,
) -> None:
    """Add all that is below a directory, if there is one. What cannot be added is named.

    Args:
        skip: returns whether a relative path is left out.
        find_hash: returns the hash that a file must have, by its relative path.
        add_file: adds a file in a way of its own, or returns False.
    """
    if not root.is_dir():
        return

    def refuse(below: str, error: OSError) -> None:
        archive.note_unreadable(f"{prefix}/{below}".rstrip("/"), error)

    for path, entry in walk_tree(root, refuse):
        if skip(path):
            continue
        name = f"{prefix}/{path}"
        if name.count("/") >= MAX_MEMBER_DEPTH or len(os.fsencode(name)) > MAX_MEMBER_NAME_BYTES:
            archive.note_omission(name, "it is nested too deeply", lost=True)
            continue
        try:
            mode = entry.stat(follow_symlinks=False).st_mode
        except OSError as error:
            archive.note_unreadable(name, error)
            continue
        if not (stat.S_ISREG(mode) and add_file(name, Path(entry.path))):
            _add_entry(archive, name, Path(entry.path), mode, find_hash(path))


def _add_entry(archive: ArchiveWriter, name: str, path: Path, mode: int, expected_sha256: str | None) -> None:
    if stat.S_ISDIR(mode):
        archive.add_directory(name, mode)
    elif stat.S_ISLNK(mode) and not may_be_link(name):
        archive.note_omission(name, f"it is a link to {os.path.realpath(path)}, which is not in the backup", lost=True)
    elif stat.S_ISLNK(mode):
        archive.add_link(name, path)
    elif stat.S_ISREG(mode):
        archive.add_file(name, path, expected_sha256=expected_sha256)
    else:
        archive.note_omission(name, "it is a socket, a pipe or a device")


def note_outside_workspaces(archive: ArchiveWriter, place: Installation, decoded: Any) -> None:
    """Name the directories outside of the state directory that a config gives to agents: they are theirs."""
    if isinstance(decoded, list):
        for one in decoded:
            note_outside_workspaces(archive, place, one)
    elif isinstance(decoded, dict):
        for name, one in decoded.items():
            if name == "workspace" and isinstance(one, str) and not variables.has_variable(one):
                path = Path(os.path.expanduser(one))
                if path.is_absolute() and not path.is_relative_to(place.home):
                    archive.note_omission(str(path), "a workspace outside of the state directory is not backed up")
            else:
                note_outside_workspaces(archive, place, one)


def note_missing_contents(archive: ArchiveWriter, place: Installation, hashes: Iterable[str]) -> None:
    """Name the contents of files to which the copied database refers, and which are not on disk."""
    for sha256 in hashes:
        below = f"{sha256[:2]}/{sha256[2:]}"
        if (place.files / below).exists():
            continue
        if snapshot.find_content(place.database, sha256):
            archive.note_omission(f"{Part.FILES}/{below}", "the database refers to it, but it is not there", lost=True)
        else:
            archive.note_omission(f"{Part.FILES}/{below}", "it was removed meanwhile")


def measure_tree(root: Path, skip: Callable[[str], bool] = lambda _: False) -> int:
    """Return the bytes of all plain files below a directory, or of the file itself."""
    if not root.is_dir():
        return root.stat().st_size if root.is_file() else 0
    total = 0
    for path, entry in walk_tree(root, lambda _, __: None):
        try:
            if not skip(path) and entry.is_file(follow_symlinks=False):
                total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return total
