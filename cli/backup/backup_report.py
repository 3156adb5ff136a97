"""The last results of backups, as `gateway status` shows them. Light, because that command is to be quick."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli import output
from cli.instance import Instance
from gateway.backup.status import read_backup_status


def read_report(instance: Instance) -> dict[str, Any] | None:
    """Return the last results from the state directory, in the form of `/health`; None if there are none."""
    found = read_backup_status(instance.home)
    success, failure = found.last_success, found.failure_since
    if success is None and failure is None:
        return None
    return {
        "last_success_at": None if success is None else output.format_rfc3339(success.at),
        "file": None if success is None else success.file,
        "bytes": None if success is None else success.bytes,
        "lost": None if success is None else success.lost,
        "last_failure_at": None if failure is None else output.format_rfc3339(failure.at),
        "error": None if failure is None else failure.error,
    }


def describe_backups(told: Mapping[str, Any] | None) -> list[str]:
    """Return the line about the last backup; none if none was ever made or planned."""
    if told is None:
        return []
    made = told["last_success_at"]
    where = f" in {output.shorten_home(Path(told['file']))}" if told["file"] else ""
    said = "   Backup: " + ("none yet" if made is None else f"{output.format_elapsed(made, None)} ago{where}")
    if lost := told.get("lost"):  # an older gateway does not tell
        said += f"; it lacks {lost:,} file{'s' * (lost > 1)}, damaged or unreadable: see gateway backup verify"
    if told["last_failure_at"] is not None:
        said += f"; the last one failed {output.format_elapsed(told['last_failure_at'], None)} ago: {told['error']}"
    return [said]
