"""The workspaces of sessions: which directory belongs to which session, and which ones nobody uses any more.

A row outlives its session until the directory is removed, so that a crash leaves no directory behind, and a later
session of the same key never gets the files of an earlier one.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.domain import ids
from gateway.domain.ports.upkeep_store import ReleasedWorkspace
from gateway.store.sql.transaction import Reader, Transaction

#: how much later a workspace may have been used than is stored
WORKSPACE_USE_PRECISION_MILLISECONDS = 3_600_000
#: how many workspaces one step releases or lists
MAX_WORKSPACES_AT_ONCE = 100
#: a condition: the run number `?3` belongs to the session `?1`, not to one of the same key that was deleted before
_BELONGS_TO_SESSION = "EXISTS (SELECT 1 FROM sessions WHERE key = ?1 AND after_run < ?3)"
#: selects the name of the workspace of a session `?1`, if it was used so recently that this need not be written again
SELECT_RECENT_WORKSPACE = (
    f"SELECT name FROM workspaces WHERE session = ?1 AND released = 0 AND used > ?2 AND {_BELONGS_TO_SESSION}"
)
_SESSION_HAS_OPEN_RUNS = (
    "EXISTS (SELECT 1 FROM runs INDEXED BY runs_lane"
    " WHERE runs.session = workspaces.session AND status IN ('queued', 'running'))"
)
#: a condition for released workspaces: an agent still works there. The running run of their session does, unless the
#: session was deleted and began again: then the run is in a workspace that is not released
_IS_IN_USE = (
    "(EXISTS (SELECT 1 FROM runs INDEXED BY runs_head"
    " WHERE runs.session = workspaces.session AND (status = 'running' OR ready = 1) AND status = 'running')"
    " AND NOT EXISTS (SELECT 1 FROM workspaces AS later WHERE later.session = workspaces.session"
    " AND later.released = 0))"
)


def find_recent_workspace(reader: Reader, session: str, seq: int) -> str | None:
    """Return the name of a run's workspace, if it was used so recently that this need not be written again."""
    name: str | None = reader.execute(SELECT_RECENT_WORKSPACE, (session, recent_since(reader), seq)).get
    return name


def recent_since(reader: Reader) -> int:
    """Return the value `?2` of `SELECT_RECENT_WORKSPACE`."""
    return reader.now - WORKSPACE_USE_PRECISION_MILLISECONDS


def open_workspace(tx: Transaction, session: str, seq: int) -> str:
    """Return the name of the workspace of a session's run, marked as used now; a new name if it has none."""
    row = tx.execute(
        f"UPDATE workspaces SET used = ?2 WHERE session = ?1 AND released = 0 AND {_BELONGS_TO_SESSION} RETURNING name",
        (session, tx.now, seq),
    ).fetchone()
    if row is not None:
        return str(row[0])
    name = ids.make_ulid(tx.now).lower()
    tx.execute(  # a run that is asked to stop may work on while its session is deleted
        f"INSERT INTO workspaces (name, session, used, released) VALUES (?4, ?1, ?2, iif({_BELONGS_TO_SESSION}, 0, 1))",
        (session, tx.now, seq, name),
    )
    return name


def release_workspace(tx: Transaction, session: str) -> None:
    """Give up the workspace of a session: it will be removed."""
    tx.execute("UPDATE workspaces SET released = 1 WHERE session = ? AND released = 0", (session,))


def leave_workspace(tx: Transaction, session: str) -> None:
    """Leave the workspace of a session on its host, which is gone: it is kept as if it were that of another session."""
    tx.execute("UPDATE workspaces SET session = name WHERE session = ? AND released = 0", (session,))


def release_unused(tx: Transaction, before: int) -> int:
    """Give up workspaces that were not used since then, unless their session has open runs. Returns their number."""
    tx.execute(
        "UPDATE workspaces SET released = 1 WHERE name IN (SELECT name FROM workspaces INDEXED BY workspaces_used"
        f" WHERE released = 0 AND used <= ? AND NOT {_SESSION_HAS_OPEN_RUNS} LIMIT {MAX_WORKSPACES_AT_ONCE})",
        (before,),
    )
    return tx.changes_made()


def list_released(reader: Reader, after: str = "") -> list[ReleasedWorkspace]:
    """Return some workspaces to remove, in the order of their names, and whether an agent still works in them."""
    rows = reader.execute(
        f"SELECT name, {_IS_IN_USE} FROM workspaces INDEXED BY workspaces_released"
        f" WHERE released = 1 AND name > ?{reader.dialect.on_this_host}"
        f" ORDER BY name LIMIT {MAX_WORKSPACES_AT_ONCE}",
        (after,),
    )
    return [ReleasedWorkspace(str(name), bool(in_use)) for name, in_use in rows]


def forget_workspaces(tx: Transaction, names: Sequence[str]) -> None:
    """Forget workspaces whose directories are removed."""
    for name in names:
        tx.execute(f"DELETE FROM workspaces WHERE name = ? AND released = 1{tx.dialect.on_this_host}", (name,))
