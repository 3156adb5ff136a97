"""The claim: which queued runs begin now, decided and written in one transaction."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from gateway.domain.budget import UsageGrouping
from gateway.domain.queue import RunLimits
from gateway.domain.run import (
    ClaimedRun,
    Move,
    Outcome,
    Run,
    Source,
    Status,
)
from gateway.store.sql import lanes, run_queries, runs, sessions, setting_aside, tally, usage
from gateway.store.sql.transaction import Transaction

#: how often one claim looks for other runs in place of those that a budget refuses or delays
MAX_CLAIM_ROUNDS = 64
#: runs that one claim has dealt with when it looks for no others: writes wait for its end
MAX_RUNS_PER_CLAIM = 500
#: runs of each agent that it looks at then, in addition to those for which there is room
EXTRA_CANDIDATES = 16


#: begins a run, or lets a worker begin it; returns it as it is then
Begin = Callable[[Transaction, Run], Run]


class _Waits:
    """What cannot begin now because of a budget: all runs of these agents and schedules."""

    def __init__(self) -> None:
        self.agents: set[str] = set()
        self.schedules: set[str] = set()

    def add_run(self, run: Run, by: UsageGrouping | None) -> None:
        schedule = run.spec.schedule_id
        if by is UsageGrouping.SCHEDULE and schedule is not None:
            self.schedules.add(schedule)
        else:
            self.agents.add(run.spec.agent)

    def includes(self, run: Run) -> bool:
        return run.spec.agent in self.agents or run.spec.schedule_id in self.schedules

    @property
    def is_empty(self) -> bool:
        return not (self.agents or self.schedules)


class _Room:
    """How many runs may begin now."""

    def __init__(self, tx: Transaction, limits: RunLimits) -> None:
        runs_at_work = f"runs INDEXED BY runs_running WHERE {tx.dialect.takes_place}"
        by_agent = tx.execute(f"SELECT agent, count(*) FROM {runs_at_work} GROUP BY agent")
        self.free = max(limits.total - tally.count_runs(tx, Status.RUNNING), 0)
        self.background = self.free
        if limits.background is not None:
            self.background = max(limits.background - _count_running_background(tx), 0)
        tx.read_unread()  # together with the numbers by agent
        taken = dict(by_agent)
        self.agents = {agent: max(limit - taken.get(agent, 0), 0) for agent, limit in limits.agents.items()}

    def has_place(self, run: Run) -> bool:
        background = run.spec.source is Source.BACKGROUND
        return self.free > 0 and self.agents[run.spec.agent] > 0 and not (background and not self.background)

    def take_place(self, run: Run) -> None:
        self.free -= 1
        self.agents[run.spec.agent] -= 1
        self.background -= run.spec.source is Source.BACKGROUND


def claim_runs(tx: Transaction, owner: str, limits: RunLimits) -> list[Run]:
    return begin_runs(tx, limits, partial(claim_run, owner=owner))


def claim_at_commit(tx: Transaction, owner: str, limits: RunLimits) -> None:
    """Claim the runs that a transaction lets begin."""
    begin_at_commit(tx, limits, partial(claim_run, owner=owner))


def begin_runs(tx: Transaction, limits: RunLimits, begin: Begin) -> list[Run]:
    """Begin as many runs as the limits allow. Returns them, and those that a budget has refused."""
    _admit_due_runs(tx)
    return _begin_in_room(tx, limits, _Room(tx, limits), begin)


def begin_at_commit(tx: Transaction, limits: RunLimits, begin: Begin) -> None:
    """Begin the runs that a transaction lets begin: those that became ready, and others where it has made room."""
    if not (tx.ready_agents or tx.stopped or tx.has_unread):
        return
    room = _Room(tx, limits)
    may_concern_all = tx.stopped and (
        room.free <= len(tx.stopped)
        or limits.background is not None
        or any(run.spec.schedule_id is not None for run in tx.stopped)  # its budget may delay runs of other agents
    )
    if not may_concern_all:  # then the runs of other agents wait for something else
        concerned = tx.ready_agents.union(run.spec.agent for run in tx.stopped)
        room.agents = {agent: places for agent, places in room.agents.items() if agent in concerned}
    _begin_in_room(tx, limits, room, begin)


def _begin_in_room(tx: Transaction, limits: RunLimits, room: _Room, begin: Begin) -> list[Run]:
    done: list[Run] = []
    waits = _Waits()
    for _ in range(MAX_CLAIM_ROUNDS):
        found_obstacle = False
        for run in _list_candidates(tx, room, waits):
            if not room.has_place(run) or waits.includes(run):
                continue
            asked = usage.check_budgets(tx, run, limits)
            found_obstacle |= not asked.go
            if asked.go:
                room.take_place(run)
                done.append(begin(tx, run))
            elif asked.refusal is not None:
                done.append(_refuse_run(tx, run, asked.refusal))
            else:
                waits.add_run(run, asked.by)
        if not found_obstacle:
            return done
        if len(done) >= MAX_RUNS_PER_CLAIM:
            break
    tx.is_claim_due = True
    return done


def _list_candidates(tx: Transaction, room: _Room, waits: _Waits) -> Iterator[Run]:
    """Return runs that may begin now, in that order, for all places and maybe more."""
    extra = 0 if waits.is_empty else EXTRA_CANDIDATES
    lines = [
        _list_claimable(tx, agent, min(room.free, places) + extra, room.background, waits)
        for agent, places in room.agents.items()
        if min(room.free, places) > 0 and agent not in waits.agents
    ]
    # Agents share what is free: the one whose next run has waited longest goes first, so none starves.
    return heapq.merge(*lines, key=lambda run: run.seq)


def _list_claimable(tx: Transaction, agent: str, most: int, behind: int, waits: _Waits) -> list[Run]:
    """Return the runs of an agent that may be claimed now, the most urgent first.

    There may be more of them than there is room for, because runs of source `background` have a limit of their own.

    Args:
        behind: how many runs of source `background` may begin.
    """
    aside = json.dumps(sorted(waits.schedules))
    selected = [_select_ready(tx, "runs_ready", "<>", agent, most, aside)]
    if behind:
        selected.append(_select_ready(tx, "runs_behind", "=", agent, min(most, behind), aside))
    read = [one() for one in selected]
    if any(len(found.readable) < len(found.seqs) for found in read):
        for found in read:  # their sessions go on without them, and there is room for others
            setting_aside.set_aside_unreadable(tx, found.seqs, found.readable)
        return _list_claimable(tx, agent, most, behind, waits)
    listed = [run for found in read for run in found.readable]
    listed.sort(key=lambda run: (-run.spec.priority, run.seq))
    return listed


def _select_ready(
    tx: Transaction, index: str, is_background: str, agent: str, limit: int, aside: str
) -> Callable[[], run_queries.FoundRuns]:
    """Select ready runs of an agent, except those of some schedules, which `aside` names as a list in JSON."""
    but = (
        " AND NOT (source = 'cron' AND EXISTS (SELECT 1 FROM labels, json_each(?) AS aside"
        " WHERE labels.name = 'schedule' AND labels.value = aside.value AND labels.run = runs.seq))"
    )
    return run_queries.select_runs(
        tx,
        f"runs INDEXED BY {index}"
        f" WHERE agent = ? AND status = 'queued' AND ready = 1 AND source {is_background} 'background'"
        f"{tx.dialect.not_dispatched}{but}"
        " ORDER BY priority DESC, seq LIMIT ?",
        (agent, aside, limit),
    )


def _refuse_run(tx: Transaction, run: Run, error: str) -> Run:
    refused = runs.move_run(tx, run, Move.REFUSE, outcome=Outcome.OVER_BUDGET, error=error)
    sessions.write_transcript(tx, refused, sessions.find_last_message(tx, refused))
    return refused


def claim_run(tx: Transaction, run: Run, owner: str) -> Run:
    changes: dict[str, Any] = {"attempt": run.attempt + 1, "epoch": run.epoch + 1, "started": run.started or tx.now}
    claimed = runs.move_run(tx, run, Move.CLAIM, (), "", owner=owner, **changes)
    sessions.take_in_run(tx, run)
    tx.read_later(
        sessions.select_start(tx, run),
        lambda rows: tx.claimed.append(ClaimedRun(claimed, sessions.decode_start(rows))),
    )
    return claimed


def _admit_due_runs(tx: Transaction) -> None:
    """Put delayed runs that are now due into their lanes."""
    due = tx.execute(
        "UPDATE runs INDEXED BY runs_due SET run_at = NULL WHERE status = 'queued' AND run_at <= ? RETURNING session",
        (tx.now,),
    ).fetchall()
    for (session,) in due:
        lanes.advance_lane(tx, str(session))


def _count_running_background(tx: Transaction) -> int:
    running = f"runs INDEXED BY runs_background WHERE source = 'background' AND {tx.dialect.takes_place}"
    found: Any = tx.execute(f"SELECT count(*) FROM {running}").get
    return int(found)
