"""Deleting a session together with its open runs."""

from __future__ import annotations

from gateway.errors import Conflict, SessionNotFound
from gateway.store.sql import runs, sessions
from gateway.store.sql.transaction import Transaction


def delete_with_runs(tx: Transaction, key: str, *, force: bool) -> list[str]:
    """Delete a session and cancel its runs. Returns the running ones, which were asked to stop.

    Raises:
        SessionNotFound: there is none with that key.
        Conflict: it has queued or running runs, and `force` is False.
    """
    found = sessions.find_session(tx, key)
    if found is None:
        raise SessionNotFound(f"there is no session {key!r}.")
    if found.active_runs and not force:
        raise Conflict(
            f"the session {key} has tasks that run or wait: {found.active_runs}.",
            remedy="To cancel them first: ?force=true, or gateway sessions delete --force.",
        )
    stopping = runs.cancel_session_runs(tx, key)
    sessions.delete_session(tx, key)
    return stopping
