"""The claim: which queued runs begin now, decided and written in one transaction."""

from __future__ import annotations

import heapq
from typing import Any

from gateway.domain.queue import RunLimits
from gateway.domain.run import (
    Move,
    Outcome,
    Run,
    Source,
    Status,
)
from gateway.store.sqlite import (
    lanes,
    run_queries,
    runs,
    sessions,
    setting_aside,
    tally,
    usage,
)
from gateway.store.sqlite.database import Transaction

#: how often one claim looks for other runs in place of those that a budget refuses or delays
MAX_CLAIM_ROUNDS = 8


def claim_runs(tx: Transaction, owner: str, limits: RunLimits) -> list[Run]:
    _admit_due_runs(tx)
    done: list[Run] = []
    waiting: set[int] = set()
    for _ in range(MAX_CLAIM_ROUNDS):
        all_went = True
        for run in _choose_runs(tx, limits, waiting):
            asked = usage.check_budgets(tx, run, limits)
            all_went &= asked.go
            if asked.go:
                done.append(_claim_run(tx, run, owner))
            elif asked.refusal is not None:
                done.append(_refuse_run(tx, run, asked.refusal))
            else:
                waiting.add(run.seq)
        if all_went:
            break
    return done


def _choose_runs(tx: Transaction, limits: RunLimits, waiting: set[int]) -> list[Run]:
    """Return the runs for which there is room, in the order in which they begin."""
    free = max(limits.total - tally.count_runs(tx, Status.RUNNING), 0)
    behind = free if limits.background is None else max(limits.background - _count_running_background(tx), 0)
    room = {agent: limit - _count_running(tx, agent) for agent, limit in limits.agents.items()}
    lines = [_list_claimable(tx, agent, min(free, room[agent]), behind, waiting) for agent in room]
    chosen: list[Run] = []
    # Agents share what is free: the one whose next run has waited longest goes first, so none starves.
    for run in heapq.merge(*lines, key=lambda run: run.seq):
        background = run.spec.source is Source.BACKGROUND
        if len(chosen) == free or (background and not behind) or not room[run.spec.agent]:
            continue
        chosen.append(run)
        room[run.spec.agent] -= 1
        behind -= background
    return chosen


def _list_claimable(tx: Transaction, agent: str, room: int, behind: int, waiting: set[int]) -> list[Run]:
    """Return the runs of an agent that may be claimed now, the most urgent first.

    There may be more of them than there is room for, because runs of source `background` have a limit of their own.

    Args:
        behind: how many runs of source `background` may begin.
        waiting: numbers of runs that wait for a budget.
    """
    if room <= 0:
        return []
    but = f" AND seq NOT IN ({', '.join(map(str, waiting))})" if waiting else ""
    found = _list_ready(tx, "runs_ready", "<>", agent, room, but)
    if behind:
        found += _list_ready(tx, "runs_behind", "=", agent, min(room, behind), but)
        found.sort(key=lambda run: (-run.spec.priority, run.seq))
    return found


def _list_ready(tx: Transaction, index: str, is_background: str, agent: str, limit: int, but: str) -> list[Run]:
    rows = tx.execute(
        f"SELECT {run_queries.RUN_COLUMNS} FROM runs INDEXED BY {index}"
        f" WHERE agent = ? AND status = 'queued' AND ready = 1 AND source {is_background} 'background'{but}"
        " ORDER BY priority DESC, seq LIMIT ?",
        (agent, limit),
    )
    found = rows.fetchall()
    readable = run_queries.decode_runs(tx, found)
    if len(readable) < len(found):  # their sessions go on without them, and there is room for others
        setting_aside.set_aside_unreadable(tx, found, readable)
        return _list_ready(tx, index, is_background, agent, limit, but)
    return readable


def _refuse_run(tx: Transaction, run: Run, error: str) -> Run:
    refused = runs.move_run(tx, run, Move.REFUSE, outcome=Outcome.OVER_BUDGET, error=error)
    sessions.write_transcript(tx, refused)
    return refused


def _claim_run(tx: Transaction, run: Run, owner: str) -> Run:
    changes = {"attempt": run.attempt + 1, "epoch": run.epoch + 1, "started": run.started or tx.now}
    return runs.move_run(tx, run, Move.CLAIM, (), "", owner=owner, **changes)


def _admit_due_runs(tx: Transaction) -> None:
    """Put delayed runs that are now due into their lanes."""
    due = tx.execute(
        "UPDATE runs INDEXED BY runs_due SET run_at = NULL WHERE status = 'queued' AND run_at <= ? RETURNING session",
        (tx.now,),
    ).fetchall()
    for (session,) in due:
        lanes.advance_lane(tx, str(session))


def _count_running_background(tx: Transaction) -> int:
    running = "SELECT count(*) FROM runs INDEXED BY runs_background WHERE source = 'background' AND status = 'running'"
    found: Any = tx.execute(running).get
    return int(found)


def _count_running(tx: Transaction, agent: str) -> int:
    found: Any = tx.execute("SELECT count(*) FROM runs WHERE status = 'running' AND agent = ?", (agent,)).get
    return int(found)
