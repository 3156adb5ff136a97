"""The table of moves, and what happens to interrupted runs."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.run import (
    FINAL_STATUSES,
    RUN_MOVES,
    Move,
    OnInterrupt,
    Outcome,
    Status,
    apply_move,
    decide_after_interruption,
    draw_diagram,
)
from gateway.errors import Conflict
from tests.contracts.stores import spec


@pytest.mark.parametrize("status", sorted(FINAL_STATUSES))
@pytest.mark.parametrize("move", Move)
def test_no_move_leads_out_of_a_final_status(status: Status, move: Move) -> None:
    with pytest.raises(Conflict):
        apply_move(status, move)


@given(st.sampled_from(Status), st.sampled_from(Move))
def test_a_move_leads_where_the_table_says_or_nowhere(status: Status, move: Move) -> None:
    if status in RUN_MOVES[move].from_statuses:
        assert apply_move(status, move) is RUN_MOVES[move].to_status
    else:
        with pytest.raises(Conflict, match=f"cannot {move} a task that is {status}"):
            apply_move(status, move)


def test_every_status_can_be_reached_from_a_first_status() -> None:
    reached = {Status.QUEUED, Status.HELD}
    for _ in Status:
        reached |= {row.to_status for row in RUN_MOVES.values() if row.from_statuses & reached}

    assert reached == set(Status)


def test_the_diagram_shows_every_move() -> None:
    drawn = set(re.findall(r"(\w+) --> (\w+): (\w+)", draw_diagram()))

    assert drawn == {
        (str(source), str(row.to_status), str(move)) for move, row in RUN_MOVES.items() for source in row.from_statuses
    }
    assert draw_diagram().startswith("stateDiagram-v2\n    [*] --> queued")


@pytest.mark.parametrize(
    ("policy", "attempt", "ends"),
    [
        (OnInterrupt.RETRY, 1, False),
        (OnInterrupt.RETRY, 2, False),
        (OnInterrupt.RETRY, 3, True),
        (OnInterrupt.RETRY, 4, True),
        (OnInterrupt.FAIL, 1, True),
    ],
)
def test_an_interrupted_run_is_retried_or_fails_by_its_policy(policy: OnInterrupt, attempt: int, ends: bool) -> None:
    verdict = decide_after_interruption(spec(on_interrupt=policy), attempt, "the machine fell")

    assert (verdict is not None) is ends
    if verdict is not None:
        assert (verdict.move, verdict.outcome) == (Move.FAIL, Outcome.INTERRUPTED)
        assert "the machine fell" in (verdict.error or "")
