"""A mark next to the environment that an update builds: the state directory whose update it is.

Two gateways may share an environment. What one of them has left there after a kill may be its only whole old version.
"""

from __future__ import annotations

from pathlib import Path

from cli.update.installation import Installation
from gateway import paths, private_file
from gateway.errors import Conflict

#: bytes of a mark that are read
_MAX_OWNER_BYTES = 4096


def _mark_of(site: Installation) -> Path:
    return site.candidate.with_name(f"{site.candidate.name}-of")


def write_mark(site: Installation, home: Path) -> None:
    """Note whose update it is.

    Raises:
        OSError: the mark cannot be written.
    """
    private_file.replace_private_file(_mark_of(site), str(home.absolute()).encode())


def remove_mark(site: Installation) -> None:
    _mark_of(site).unlink(missing_ok=True)


def find_other_state(site: Installation, home: Path) -> Path | None:
    """Return the state directory of another gateway whose update of this environment has not ended; None without."""
    try:
        content = private_file.read_private_file(_mark_of(site), _MAX_OWNER_BYTES)
    except OSError:
        return None
    other = Path(content.decode("utf-8", "surrogateescape"))
    if other == home.absolute() or not paths.update_journal_file(other).exists():
        return None
    return other


def refuse_other_state(site: Installation, home: Path) -> None:
    """Refuse an update of an environment in which that of another gateway was interrupted.

    Raises:
        Conflict: one was.
    """
    if (other := find_other_state(site, home)) is not None:
        raise Conflict(
            f"an update of {site.environment} was interrupted that was begun for the state directory {other}.",
            remedy=f"Nothing has changed. Finish or undo that one first: MOONGATE_HOME={other} gateway update",
        )
