"""The last outcomes: of the runs of each agent, and of what was sent through each channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.domain.delivery import ChannelSends, SendOutcome
from gateway.domain.run import EndedRun, Outcome, Status
from gateway.domain.unreadable import RowKind
from gateway.store.sql.transaction import Reader
from gateway.store.sql.unreadable import decode_rows

# The index has all that is read of the large rows, but the id, which is in front of what is large.
_ENDED_RUNS = (
    "SELECT id, status, outcome, started, finished FROM runs INDEXED BY runs_ended"
    " WHERE agent = ? AND finished IS NOT NULL ORDER BY finished DESC, started DESC LIMIT ?"
)
_SENDS = (
    "SELECT at, CAST(error AS BLOB) FROM delivery_attempts INDEXED BY delivery_attempts_of_channel"
    " WHERE kind = ? AND (error IS NULL) = {} AND kind <> 'webhook' AND took IS NOT NULL ORDER BY at DESC LIMIT ?"
)


def list_ended_runs(reader: Reader, agents: Sequence[str], each: int) -> dict[str, list[EndedRun]]:
    """Return the last runs of some agents that have ended, by agent, the earliest end first."""
    return {
        agent: decode_rows(
            reader, RowKind.TASK, reader.execute(_ENDED_RUNS, (agent, each)), _decode_ended, lambda row: (row[0],)
        )[::-1]
        for agent in agents
    }


def _decode_ended(row: Sequence[Any]) -> EndedRun:
    id_, status, outcome, started, finished = row
    return EndedRun(
        id=id_,
        status=Status(status),
        outcome=Outcome(outcome) if outcome else None,
        started=started,
        finished=finished,
    )


def read_channel_sends(reader: Reader, names: Sequence[str], each: int) -> dict[str, ChannelSends]:
    """Return the last attempts to send something through some channels, by name."""
    return {name: _read_sends(reader, name, each) for name in names}


def _read_sends(reader: Reader, name: str, each: int) -> ChannelSends:
    accepted: list[Any] = reader.execute(_SENDS.format("TRUE"), (name, each)).fetchall()
    failed: list[Any] = reader.execute(_SENDS.format("FALSE"), (name, each)).fetchall()
    both = sorted([SendOutcome(at, True) for at, _ in accepted] + [SendOutcome(at, False) for at, _ in failed])
    return ChannelSends(
        recent=tuple(both[-each:]),
        last_success=accepted[0][0] if accepted else None,
        last_failure=failed[0][0] if failed else None,
        last_error=failed[0][1].decode("utf-8", "replace") if failed else None,
    )
