"""The last step of a restore: names are exchanged, in a way that the next command can finish after any interruption.

All that is restored is whole and on disk before `restore.json` is written. From then on the restore counts: whoever
comes next finishes the renames, each of which is done at most once.

Standard library only: each start of a gateway looks whether there is something to finish.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gateway import private_file
from gateway.errors import ConfigError
from gateway.paths import display_path

#: bytes of the plan that are read
_MAX_PLAN_BYTES = 1 << 20


class Move(NamedTuple):
    """A name that is changed."""

    source: str
    target: str


def plan_file(home: Path) -> Path:
    """Return the file that lists the renames of a restore that has not ended."""
    return home / "restore.json"


def write_plan(home: Path, moves: Sequence[Move], drafts: Sequence[Path]) -> None:
    """Store the renames. From now on the restore will be finished.

    Args:
        drafts: directories to remove at the end.

    Raises:
        OSError: it cannot be written; nothing has changed.
    """
    told = {"moves": [list(move) for move in moves], "drafts": [str(draft) for draft in drafts]}
    private_file.replace_private_file(plan_file(home), json.dumps(told).encode())


def finish_plan(home: Path) -> bool:
    """Do what is left of a restore; return False if there was nothing. The caller holds the lock of restores.

    Raises:
        ConfigError: it cannot be finished; it is tried again the next time.
    """
    file = plan_file(home)
    try:
        told: Any = json.loads(private_file.read_private_file(file, _MAX_PLAN_BYTES))
        moves = [Move(*map(str, pair)) for pair in told["moves"]]
        drafts = [str(draft) for draft in told["drafts"]]
    except FileNotFoundError:
        return False
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"cannot read {display_path(file)}: {error}.", remedy=private_file.REPAIR_HINT) from error
    try:
        for move in moves:
            _do_move(move)
        for directory in sorted({Path(path).parent for move in moves for path in move}):
            _sync_names(directory)
        for draft in drafts:
            shutil.rmtree(draft, ignore_errors=True)
        file.unlink()
        _sync_names(home)
    except OSError as error:
        raise ConfigError(
            f"cannot finish the restore into {display_path(home)}: {error}.",
            remedy="Correct that, then run any gateway command that starts, or gateway restore, again.",
        ) from error
    return True


def _do_move(move: Move) -> None:
    """Change a name, unless that was done before."""
    if os.path.lexists(move.source) and not os.path.lexists(move.target):
        os.makedirs(os.path.dirname(move.target), mode=0o700, exist_ok=True)
        os.rename(move.source, move.target)


def _sync_names(directory: Path) -> None:
    """Make the names in a directory durable, if possible."""
    with contextlib.suppress(OSError):
        private_file.sync_path(directory)
