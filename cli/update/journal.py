"""The journal of an update: a file in the state directory that says which step an update is at.

It is written before each step, and removed at the end. A later version may read it: fields may be added with a
default, but none may change. What is known of the last finished update is in a file of its own.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from gateway import paths, private_file
from gateway.errors import ConfigError

#: name of the file in the state directory about the last update
LAST_UPDATE_FILE = "update-last.json"
#: file among the locks there that an update holds
UPDATE_LOCK_FILE = "update.lock"
_MAX_JOURNAL_BYTES = 64 * 1024

S = TypeVar("S", bound=Struct)


class Step(StrEnum):
    """A step of an update, while the journal names it."""

    #: the other version is built next to the present one; nothing that is used has changed
    BUILD = "build"
    #: the two are exchanged, and the gateway is replaced and watched
    EXCHANGE = "exchange"
    #: the other version serves; what is left of the update is removed
    FINISH = "finish"
    #: the version from before is put back
    RETURN = "return"


class Run(Struct, frozen=True, kw_only=True):
    """How the gateway ran before the update."""

    #: whether a service manager ran it
    by_service: bool
    #: whether it was ready to accept work
    ready: bool
    port: int | None = None
    host: str | None = None
    role: str | None = None


class Journal(Struct, frozen=True, kw_only=True):
    """An update that has not ended."""

    step: Step
    #: the environment that is exchanged
    environment: str
    #: identity of that environment before the exchange
    identity: str
    from_version: str
    to_version: str
    #: when it began, in milliseconds since 1970 UTC
    began: int
    #: how the gateway ran; None if it did not
    run: Run | None = None
    #: number of the last migration of the database before; None without a database in a file
    schema: int | None = None
    #: the file of that database; None without one, and in a journal of an earlier version
    database: str | None = None
    #: the backup that was made before; None without one
    backup: str | None = None
    #: for a rollback: the schema of the copy of the database that takes its place; None to keep the database
    restore_schema: int | None = None
    #: commits of a clone, before and after
    from_commit: str | None = None
    to_commit: str | None = None
    #: why the version from before is put back
    why: str = ""
    #: whether work that came since the exchange may be thrown away on the way back
    discard: bool = False
    #: whether it goes back to the environment from before the last update
    rollback: bool = False
    #: what identifies the copy from before a migration that was there before this update; None without one
    former_copy: str | None = None
    #: for a rollback: name of the file in which the other database is kept; None before the two are exchanged
    aside: str | None = None


class LastUpdate(Struct, frozen=True, kw_only=True):
    """The last update that ended well."""

    from_version: str
    to_version: str
    #: when it ended, in milliseconds since 1970 UTC
    at: int
    #: number of the last migration of the database before; None without a database in a file
    schema_before: int | None
    backup: str | None
    #: the commit of a clone before
    from_commit: str | None = None


def write_journal(home: Path, present: Journal) -> Journal:
    """Write the journal, so that it survives a power failure.

    Raises:
        OSError: it cannot be written.
    """
    private_file.replace_private_file(paths.update_journal_file(home), msgspec.json.encode(present))
    return present


def read_journal(home: Path) -> Journal | None:
    """Return the journal of an update that has not ended; None if there is none.

    Raises:
        ConfigError: there is one, but it cannot be read.
    """
    return _read(paths.update_journal_file(home), Journal)


def remove_journal(home: Path) -> None:
    paths.update_journal_file(home).unlink(missing_ok=True)


def write_last_update(home: Path, last: LastUpdate) -> None:
    """Raises:
    OSError: it cannot be written.
    """
    private_file.replace_private_file(home / LAST_UPDATE_FILE, msgspec.json.encode(last))


def read_last_update(home: Path) -> LastUpdate | None:
    """Return what is known of the last update; None if there was none.

    Raises:
        ConfigError: the file cannot be read.
    """
    return _read(home / LAST_UPDATE_FILE, LastUpdate)


def _read(path: Path, kind: type[S]) -> S | None:
    try:
        return msgspec.json.decode(private_file.read_private_file(path, _MAX_JOURNAL_BYTES), type=kind)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(
            f"the file {path} cannot be read, which says what an update has done: {error}.",
            remedy="If a newer version wrote it, use that one. Otherwise move the file away, if no update is to be"
            " finished or undone",
        ) from error
