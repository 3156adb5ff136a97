"""What other commands say about updates: that one was interrupted, and that a newer version is there.

Light, because `gateway status` uses it: it imports more only if there is something to say.
"""

from __future__ import annotations

from pathlib import Path

import gateway
from gateway import paths
from gateway.errors import GatewayError


def describe_interruption(home: Path) -> str | None:
    """Return what to say about an update that was interrupted; None if none was, or one is under way."""
    if not paths.update_journal_file(home).exists():
        return None
    from cli.update import journal
    from gateway.supervisor import lock

    if lock.is_held(paths.locks_directory(home) / journal.UPDATE_LOCK_FILE):
        return None
    try:
        found = journal.read_journal(home)
    except GatewayError as error:
        return f"An update may have been interrupted: {error.message} {error.remedy or ''}".strip()
    if found is None:
        return None
    return (
        f"An update from version {found.from_version} to {found.to_version} was interrupted (step: {found.step})."
        " Finish or undo it: gateway update"
    )


def find_newer_version(home: Path) -> str | None:
    """Return the newest version if it is newer than this one; None if not, or if nobody asked."""
    if not paths.update_status_file(home).exists():
        return None
    from gateway.updates.status import read_update_status
    from gateway.updates.versions import is_newer

    found = read_update_status(home)
    newest = None if found is None else found.latest
    return newest if newest is not None and is_newer(newest, gateway.__version__) else None


def list_notes(home: Path) -> list[str]:
    """Return the lines about updates for people."""
    interrupted, newer = describe_interruption(home), find_newer_version(home)
    notes = [] if interrupted is None else [interrupted]
    said = f"Version {newer} is available (this is {gateway.__version__}): gateway update"
    return notes if newer is None else [*notes, said]
