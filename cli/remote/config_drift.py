"""Finds files with settings that changed since the running gateway read them, and says what to do about a change.

Light, because `gateway status` uses it.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from cli.instance import Instance
from gateway import paths
from gateway.config_files.json_file import decode_config, get_nested
from gateway.errors import ConfigError


def find_changed_file(instance: Instance, began: float) -> Path | None:
    """Return the config file or `.env` if it changed since a gateway read it; None if neither did.

    The supervisor keeps a copy of the config that it uses. Without one, and for `.env`, the time of the last change
    counts.

    Args:
        began: when the running generation began, in seconds since 1970 UTC.
    """
    if _has_config_changed(instance.config, began):
        return instance.config
    dotenv = instance.home / ".env"
    return dotenv if _changed_after(dotenv, began) else None


def advise_restart(instance: Instance) -> str:
    """Return the command that brings the files into force: a restart, or a check if it would refuse them."""
    from gateway import config  # late: these import much of the gateway
    from gateway.assembly.checks import check_settings

    try:
        check_settings(config.load(instance.env), instance.env)
    except ConfigError:
        return "gateway config check (the config cannot be used, so a restart would be refused)"
    return "gateway stop, then: gateway start" if _has_moved_on_its_port(instance.config) else "gateway restart"


def _has_moved_on_its_port(file: Path) -> bool:
    """Return whether the file names another host than the copy in use, and the same port, which is still taken."""
    used, wanted = _read(paths.last_good_config(file)), _read(file)
    if used is None:
        return False
    known = [_read_address(content) for content in (used, wanted or b"{}")]
    return known[0][0] != known[1][0] and known[0][1] == known[1][1]


def _read_address(content: bytes) -> tuple[object, object]:
    try:
        found = decode_config(content, "the config")
    except ConfigError:
        return None, None
    return get_nested(found, "gateway.host") or "127.0.0.1", get_nested(found, "gateway.port")


def _has_config_changed(file: Path, began: float) -> bool:
    used = _read(paths.last_good_config(file))
    return _changed_after(file, began) if used is None else _read(file) != used


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes() if file.is_file() else None
    except OSError:
        return None


def _changed_after(file: Path, began: float) -> bool:
    with contextlib.suppress(OSError):
        return file.stat().st_mtime > began
    return False
