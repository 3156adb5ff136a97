"""Ends an update: what it built is removed, and what is known of it is stored."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from cli.update import environment, journal, kept_environment, owner, trial
from cli.update.installation import Installation
from cli.update.journal import Journal, LastUpdate
from gateway.domain.times import wall_clock
from gateway.errors import GatewayError, StorageFull

#: errors of a disk that has no room, or no more for this user
_FULL_DISK = {errno.ENOSPC, errno.EDQUOT}


def tools_place(site: Installation) -> Path:
    """Return the directory for a pip of our own, while an update runs."""
    return site.candidate.with_name(site.candidate.name + "-tools")


def undo_build(home: Path, site: Installation) -> None:
    """Remove what was built; nothing that is used has changed."""
    with contextlib.suppress(OSError):
        shutil.rmtree(trial.trial_place(home), ignore_errors=True)
        if owner.find_other_state(site, home) is not None:  # what is there is of that one
            journal.remove_journal(home)
            return
        owner.remove_mark(site)
        for place in (site.candidate, tools_place(site)):
            environment.remove_directory(place)
        kept_environment.restore_former_copy(site)
    journal.remove_journal(home)


def record_end(home: Path, site: Installation, present: Journal) -> None:
    """Store what is known of an update that ended well, and remove what is left of it.

    Raises:
        OSError: the disk is full.
    """
    last = LastUpdate(
        from_version=present.from_version,
        to_version=present.to_version,
        at=wall_clock(),
        schema_before=present.schema,
        backup=present.backup,
        from_commit=present.from_commit,
    )
    journal.write_last_update(home, last)
    kept_environment.forget_former_copy(site)
    undo_build(home, site)  # the candidate's place has the environment from before, of which is a copy


@contextlib.contextmanager
def explain_unchanged() -> Iterator[None]:
    """Turn an error of the file system, before the exchange, into one that says what to do.

    Raises:
        GatewayError: it failed.
    """
    try:
        yield
    except OSError as error:
        if is_full_disk(error):
            raise StorageFull(
                "the disk is full; an update needs room for a second environment and a backup.",
                remedy="Nothing has changed. Free space, and run it again.",
            ) from error
        raise GatewayError(f"{describe_file_error(error)}.", remedy="Nothing has changed.") from error


@contextlib.contextmanager
def explain_unended(version: str) -> Iterator[None]:
    """Turn an error of the file system, after the exchange, into one that says what to do.

    Raises:
        GatewayError: it failed; the journal is still there.
    """
    try:
        yield
    except OSError as error:
        raise GatewayError(
            f"the update to version {version} cannot be ended: {describe_file_error(error)}.",
            remedy="Free space, or correct the owner of the directory; then finish or undo it: gateway update",
        ) from error


def is_full_disk(error: OSError) -> bool:
    return error.errno in _FULL_DISK or "No space left" in str(error)


def describe_file_error(error: OSError) -> str:
    """Return what an error of the file system says, also one that stands for many."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list) and error.args[0]:
        source, _, why = error.args[0][0]
        return str(why) if str(source) in str(why) else f"{source}: {why}"
    said = error.strerror or str(error)
    return f"{error.filename}: {said}" if error.filename else said
