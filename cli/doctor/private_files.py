"""Checks that private files and directories are readable only by their owner."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cli import output
from cli.doctor.finding import Finding, Level
from cli.instance import Instance
from gateway import paths, private_file
from gateway.config import Config


class PrivatePath(NamedTuple):
    """A file or directory that only its owner may read."""

    check: str
    path: Path
    mode: int
    #: how bad it is if others can read it
    level: Level
    #: whether it may be a link; None for a directory
    link: bool | None = None


def examine_private_paths(instance: Instance) -> Iterator[Finding]:
    """Yield what is found about each private path that exists."""
    for wanted in private_paths(instance):
        yield from _examine_path(*wanted)
    yield from _examine_kinds(instance)


def examine_password_file(settings: Config) -> Iterator[Finding]:
    """Yield what is found about the file with the password of the store, if there is one."""
    if settings.store.password_file is not None:
        file = paths.expand_path(settings.store.password_file, "store.password_file")
        yield from _examine_path("store password", file, 0o600, Level.WARNING, link=True)


def _examine_kinds(instance: Instance) -> Iterator[Finding]:
    """Report what stands in the place of a directory or a log of the gateway and is none; a start would refuse it."""
    log, lock = paths.log_file(instance.home, instance.config), paths.lock_file(instance.home, instance.config)
    console = paths.start_output_file(instance.home, instance.config)
    for directory in (instance.home, log.parent, lock.parent, paths.scratch_directory(instance.home)):
        if os.path.lexists(directory) and not directory.is_dir():
            yield _wrong_kind(directory, "it is not a directory")
    for file in (log, console, lock):
        if os.path.lexists(file) and (kind := private_file.describe_kind(file.lstat().st_mode)) is not None:
            yield _wrong_kind(file, f"it is {kind}, not a plain file")


def _wrong_kind(path: Path, cause: str) -> Finding:
    shown = output.shorten_home(path)
    return Finding("state directory", Level.ERROR, f"cannot use {shown}", cause, f"move {shown} away")


def private_paths(instance: Instance) -> list[PrivatePath]:
    """Return what must be private. It is an error if the gateway's own secrets are not; `.env` need not hold any."""
    found = [
        PrivatePath("state directory", instance.home, 0o700, Level.WARNING),
        PrivatePath("token", paths.token_file(instance.home), 0o600, Level.ERROR, link=False),
        PrivatePath("webhook secret", paths.webhook_secret_file(instance.home), 0o600, Level.ERROR, link=False),
        PrivatePath("settings key", paths.settings_key_file(instance.home), 0o600, Level.WARNING, link=False),
        PrivatePath(".env", paths.env_file(instance.home), 0o600, Level.WARNING, link=True),
    ]
    if instance.config.parent != instance.home:  # inside the state directory, the check of that covers it
        found.insert(2, PrivatePath("config file", instance.config, 0o600, Level.WARNING))
    return found


def is_open_to_others(path: Path) -> bool:
    """Return whether a path belongs to this user, is no link, and others have rights on it."""
    if os.name != "posix":
        return False
    found = path.lstat()
    return not stat.S_ISLNK(found.st_mode) and found.st_uid == os.getuid() and bool(found.st_mode & 0o077)


def _examine_path(check: str, path: Path, wanted: int, level: Level, link: bool | None) -> Iterator[Finding]:
    try:
        if link is not None:  # a start opens it in the same way
            with private_file.open_plain_file(path, follow=link) as descriptor:
                private_file.check_owner(os.fstat(descriptor))
        found = path.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        remedy = f"move {output.shorten_home(path)} away, or correct its owner and mode"
        yield Finding(check, Level.ERROR, f"cannot use {output.shorten_home(path)}", error.strerror, remedy)
        return
    if os.name != "posix":
        return
    if found.st_uid != os.getuid():
        yield Finding(
            check, Level.ERROR, f"{output.shorten_home(path)} belongs to another user", None, f"sudo chown $USER {path}"
        )
    elif stat.S_IMODE(found.st_mode) & 0o077:
        mode = f"its mode is {stat.S_IMODE(found.st_mode):o}"
        yield Finding(check, level, f"others can read {output.shorten_home(path)}", mode, f"chmod {wanted:o} {path}")
    else:
        yield Finding(check, Level.OK, f"{output.shorten_home(path)}, for you only")
