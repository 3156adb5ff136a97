"""The last step of a restore: names are exchanged, in a way that the next command can finish after any interruption.

All that is restored is whole and on disk before `restore.json` is written. From then on the restore counts: whoever
comes next finishes the renames, each of which is done at most once. Only the restore itself turns back if the disk
refuses one: then the plan is replaced by its opposite, which is finished in the same way.

Standard library only: each start of a gateway looks whether there is something to finish.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gateway import paths, private_file
from gateway.errors import ConfigError

#: bytes of the plan that are read
_MAX_PLAN_BYTES = 1 << 20


class Move(NamedTuple):
    """A name that is changed."""

    source: str
    target: str


class _Plan(NamedTuple):
    moves: Sequence[Move]
    #: directories to remove at the end
    drafts: Sequence[str]

    def is_draft(self, path: str) -> bool:
        return any(path.startswith(draft + os.sep) for draft in self.drafts)

    @property
    def is_undo(self) -> bool:
        return any(self.is_draft(move.target) for move in self.moves)

    def may_be_gone(self, move: Move) -> bool:
        """Return whether a name may be in neither of its places.

        What is put in place must be there, and so must what comes back, but not all that is put aside: SQLite removes
        the files next to a database when somebody has looked at it.
        """
        if self.is_draft(move.target):
            return True  # it may have gone with the draft
        if self.is_draft(move.source):
            return False
        whole = {path for other in self.moves for path in other}
        return not self.is_undo or any(
            path.startswith((f"{one}-", f"{one}.")) for path in move for one in whole if one != path
        )


def write_plan(home: Path, moves: Sequence[Move], drafts: Sequence[Path]) -> None:
    """Store the renames. From now on the restore will be finished.

    Args:
        drafts: directories to remove at the end.

    Raises:
        OSError: it cannot be written; nothing has changed.
    """
    told = {"moves": [list(move) for move in moves], "drafts": [str(draft) for draft in drafts]}
    private_file.replace_private_file(paths.restore_plan_file(home), json.dumps(told).encode())


def finish_plan(home: Path) -> bool:
    """Do what is left of a restore; return False if there was nothing. The caller holds the lock of restores.

    Raises:
        ConfigError: it cannot be finished; it is tried again the next time.
    """
    plan = _read_plan(home)
    if plan is None:
        return False
    try:
        _do_plan(home, plan)
    except OSError as error:
        raise ConfigError(
            f"cannot finish the restore into {paths.display_path(home)}: {error}.",
            remedy="Correct that, then run any gateway command that starts, or gateway restore, again.",
        ) from error
    return True


def carry_out_plan(home: Path) -> None:
    """Do a plan that was just written. If the disk refuses a rename, those before it are undone, and nothing is lost.

    Raises:
        OSError: a rename was refused; all is as it was.
        ConfigError: it can be neither finished nor undone; that is tried again the next time.
    """
    plan = _read_plan(home)
    assert plan is not None, "it was just written"
    try:
        _do_plan(home, plan)
    except OSError:
        back = [Move(move.target, move.source) for move in reversed(plan.moves)]
        with contextlib.suppress(OSError):  # with the first plan, the next start tries to finish it
            write_plan(home, back, [Path(draft) for draft in plan.drafts])
        finish_plan(home)
        for move in plan.moves:
            if not plan.is_draft(move.source):
                _remove_empty(Path(move.target).parent, home)
        raise


def _read_plan(home: Path) -> _Plan | None:
    file = paths.restore_plan_file(home)
    try:
        told: Any = json.loads(private_file.read_private_file(file, _MAX_PLAN_BYTES))
        return _Plan([Move(*map(str, pair)) for pair in told["moves"]], [str(draft) for draft in told["drafts"]])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"cannot read {paths.display_path(file)}: {error}.", remedy=private_file.REPAIR_HINT
        ) from error


def _do_plan(home: Path, plan: _Plan) -> None:
    for move in plan.moves:
        if not any(os.path.lexists(path) for path in move) and not plan.may_be_gone(move):
            raise FileNotFoundError(errno.ENOENT, "it is gone; is its disk mounted?", move.source)
    for move in plan.moves:
        _do_move(move, is_draft=plan.is_draft(move.source))
    for directory in sorted({Path(path).parent for move in plan.moves for path in move}):
        private_file.sync_names(directory)
    for draft in plan.drafts:
        shutil.rmtree(draft, ignore_errors=True)
    paths.restore_plan_file(home).unlink()
    private_file.sync_names(home)


def _do_move(move: Move, *, is_draft: bool) -> None:
    """Change a name, unless that was done before.

    Args:
        is_draft: whether it puts something restored in place. What a command has made there meanwhile is kept.
    """
    if not os.path.lexists(move.source):
        return
    if os.path.lexists(move.target):
        if not is_draft:
            return
        os.rename(move.target, f"{move.target}.before-restore-{os.urandom(4).hex()}")
    os.makedirs(os.path.dirname(move.target), mode=0o700, exist_ok=True)
    os.rename(move.source, move.target)


def _remove_empty(directory: Path, home: Path) -> None:
    """Remove a directory in which nothing is kept after all, and its parents below the state directory."""
    with contextlib.suppress(OSError):
        while directory != home:
            directory.rmdir()
            directory = directory.parent
