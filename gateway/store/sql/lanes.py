"""Lanes: the queued runs of each session, first come, first served.

In a lane, the run that may be claimed next has `ready = 1`: there is at most one such run in a lane, and none while
one is running. So a claim is a look-up in an index, however long a lane is. A delayed run joins its lane when it is
due.
"""

from __future__ import annotations

from gateway.store.sql.transaction import Transaction

#: the open runs of a session. INDEXED BY, because SQLite does not know that these indexes are small, and because
#: a missing index shall be an error, not a slow gateway
OPEN_RUNS_OF_SESSION = "runs INDEXED BY runs_lane WHERE session = ?1 AND status IN ('queued', 'running')"
#: the run of a session that is running or may be claimed next
FIRST_OF_SESSION = "runs INDEXED BY runs_head WHERE session = ?1 AND (status = 'running' OR ready = 1)"


def advance_lane(tx: Transaction, session: str) -> None:
    """Make the first due run of a session's lane ready, unless one is ready or running already."""
    tx.read_later(
        tx.execute(
            f"UPDATE runs SET ready = 1 WHERE seq = (SELECT seq FROM {OPEN_RUNS_OF_SESSION} AND status = 'queued'"
            f" AND run_at IS NULL AND NOT EXISTS (SELECT 1 FROM {FIRST_OF_SESSION}) ORDER BY seq LIMIT 1)"
            " RETURNING agent",
            (session,),
        ),
        lambda rows: tx.ready_agents.update(agent for (agent,) in rows.fetchall()),
    )
