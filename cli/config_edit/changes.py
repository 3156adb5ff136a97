"""Writes a changed config file: checked whole first, replaced at once, with a copy of the one before."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cli.config_edit.edit_lock import hold_edit_lock
from gateway import config, paths, private_file
from gateway.assembly.checks import check_settings
from gateway.config import ConfigSources
from gateway.config_files import json_edit, json_file
from gateway.config_files.env_file import read_env_file
from gateway.errors import ConfigError, InternalError
from gateway.paths import display_path
from gateway.supervisor import state_owner

_UTF8_MARK = "\ufeff"

#: the way to a value: names, and numbers of list items
Steps = tuple[str | int, ...]

_DRAFT_NAME = "the changed file"
_WRONG_EDIT = "the config file was not changed: the change would have gone wrong."

#: what a change does: returns the new text; gets the present one, and what it says
Edit = Callable[[str, dict[str, Any]], str]


class Change(NamedTuple):
    """What was done to the config file."""

    #: the file itself, behind all links
    file: Path
    #: where the file before was kept; None if there was none, or if nothing changed
    copy: Path | None
    has_changed: bool


def change_config(env: Mapping[str, str], edit: Edit) -> Change:
    """Change the config file. Commands that do so at the same time wait for each other.

    Raises:
        ConfigError: the file, before or after the change, cannot be used; nothing is changed then.
        Unavailable: another command changes it all the time.
    """
    home = paths.state_directory(env)
    state_owner.refuse_foreign_state(home)
    with hold_edit_lock(home):
        file = Path(os.path.realpath(paths.config_file(env)))
        shown = display_path(paths.config_file(env))
        before = _read_file(file, shown)
        _refuse_read_only(file, shown)
        text = "{}\n" if before is None or not before.strip() else _decode_text(before, shown)
        mark = _UTF8_MARK if text.startswith(_UTF8_MARK) else ""
        text = text.removeprefix(mark)
        after = edit(text, json_file.decode_config(text.encode(), shown))
        content = (mark + after).encode()
        _check_content(content, env)
        if after == text:
            return Change(file, None, has_changed=False)
        return Change(file, _write_file(file, shown, before, content), has_changed=True)


def set_in_config(env: Mapping[str, str], find: Callable[[dict[str, Any]], tuple[Steps, Any]]) -> Change:
    """Set one value.

    Args:
        find: returns the path in the file and the value for it; gets what the file says.
    """

    def edit(text: str, content: dict[str, Any]) -> str:
        path, value = find(content)
        has_it, present = get_at(content, path)
        if has_it and present == value and type(present) is type(value):
            return text
        _refuse_other_kind(content, path)
        after = json_edit.set_value(text, path, value)
        _check_edit(after, path, value)
        return after

    return change_config(env, edit)


def get_at(content: Any, path: Steps) -> tuple[bool, Any]:
    """Return whether there is something at a path, and what."""
    for step in path:
        if isinstance(content, list) and isinstance(step, int) and step < len(content):
            content = content[step]
        elif isinstance(content, dict) and step in content:
            content = content.get(step)
        else:
            return False, None
    return True, content


def remove_from_config(env: Mapping[str, str], find: Callable[[dict[str, Any]], Steps]) -> Change:
    """Remove one value, if the file has it.

    Args:
        find: returns the path in the file; gets what the file says.
    """

    def edit(text: str, content: dict[str, Any]) -> str:
        path = find(content)
        if not get_at(content, path)[0]:
            return text
        after = json_edit.remove_value(text, path)
        if get_at(json_file.decode_config(after.encode(), _DRAFT_NAME), path)[0] and isinstance(path[-1], str):
            raise InternalError(_WRONG_EDIT)
        return after

    return change_config(env, edit)


def _refuse_other_kind(content: dict[str, Any], path: Steps) -> None:
    """Refuse a path through something that has no parts, such as a number in place of an object."""
    for length in range(1, len(path)):
        there, value = get_at(content, path[:length])
        wanted = list if isinstance(path[length], int) else dict
        if there and not isinstance(value, wanted):
            name = ".".join(map(str, path[:length]))
            raise ConfigError(
                f"{name}: is not {'a list' if wanted is list else 'an object'} in the config file.",
                remedy="See what is wrong with it: gateway config check",
            )


def _check_edit(after: str, path: Steps, value: Any) -> None:
    """Check that a text says what it was changed to say: nothing else is ever written."""
    if get_at(json_file.decode_config(after.encode(), _DRAFT_NAME), path) != (True, value):
        raise InternalError(_WRONG_EDIT)


def _read_file(file: Path, shown: str) -> bytes | None:
    try:
        return private_file.read_plain_file(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"cannot read {shown}: {error.strerror}.", remedy=private_file.REPAIR_HINT) from error


def _refuse_read_only(file: Path, shown: str) -> None:
    """Refuse to replace a file that nobody may write: another program may keep it."""
    if os.name == "posix" and file.exists() and not file.stat().st_mode & 0o222:
        raise ConfigError(f"cannot write {shown}: it is read-only.", remedy=f"If you may change it: chmod u+w {file}")


def _decode_text(content: bytes, shown: str) -> str:
    json_file.decode_config(content, shown)  # says what is wrong with it, and where
    return content.decode()


def _check_content(content: bytes, env: Mapping[str, str]) -> None:
    """Check a config as `gateway config check` does.

    Raises:
        ConfigError: a gateway would not start with it.
    """
    sources = ConfigSources(content, read_env_file(paths.env_file(paths.state_directory(env))))
    check_settings(config.parse_config(sources, env), env)


def _write_file(file: Path, shown: str, before: bytes | None, content: bytes) -> Path | None:
    copy = None if before is None else file.with_name(f"{file.name}.previous")
    try:
        paths.make_private_directory(file.parent)
        if copy is not None and before is not None:
            private_file.replace_shared_file(copy, before, like=file)
        private_file.replace_shared_file(file, content, like=file)
    except OSError as error:
        raise ConfigError(
            f"cannot write {shown}: {error.strerror}; it is as it was.", remedy=private_file.REPAIR_HINT
        ) from error
    return copy
