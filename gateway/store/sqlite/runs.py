"""Runs: accepted, claimed, moved and ended, each by one function.

A session's queued runs form a lane, first come, first served. The one that may be claimed next has
`ready = 1`: there is at most one such run in a lane, and none while one is running. So a claim is
a look-up in an index, however long a lane is. A delayed run joins its lane when it is due.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Any

import apsw
import msgspec

from gateway.domain import ids
from gateway.domain import run as domain
from gateway.domain.agent import SessionMode
from gateway.domain.event import AnyHappening, End, Usage
from gateway.domain.event import Status as StatusEvent
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.ports.store import Fenced
from gateway.domain.queue import Admission, Backlog, Counts, Limits
from gateway.domain.run import (
    FINAL,
    Accepted,
    Mode,
    Move,
    Outcome,
    Round,
    Run,
    RunFilter,
    RunSpec,
    Source,
    Status,
    Verdict,
)
from gateway.domain.session import SessionKey
from gateway.errors import AgentBusy, RunNotFound, Unavailable
from gateway.store.sqlite import agents, deliveries, event_log, idempotency, permissions, schedules, sessions, usage
from gateway.store.sqlite.database import Transaction

_COLUMNS = (
    "seq, id, spec, status, outcome, attempt, epoch, owner, cancel_requested, last_event, result, usage, error,"
    " rounds, done, created, started, finished"
)
#: a session's runs that are open. INDEXED BY: SQLite does not know that these indexes are small, and
#: an index that is no longer there is to be an error, not a slow gateway
_LANE = "runs INDEXED BY runs_lane WHERE session = ?1 AND status IN ('queued', 'running')"
#: the one of a session's runs that is running, or may be claimed next
_HEAD = "runs INDEXED BY runs_head WHERE session = ?1 AND (status = 'running' OR ready = 1)"
#: what a history shows
_ENDED_WITH = "seq IN (SELECT run FROM labels WHERE name = ?) AND finished IS NOT NULL AND hidden = 0"
#: times that one claim looks for runs in the place of those that a budget refuses or lets wait
CLAIMS = 8
_spec = msgspec.json.Decoder(RunSpec).decode
_usage = msgspec.json.Decoder(Usage).decode
_encode = msgspec.json.Encoder().encode


def _run(row: Sequence[Any]) -> Run:
    (
        seq,
        id_,
        spec,
        status,
        outcome,
        attempt,
        epoch,
        owner,
        cancel,
        last,
        result,
        used,
        error,
        rounds,
        done,
        *times,
    ) = row
    created, started, finished = times
    return Run(
        seq=seq,
        id=id_,
        spec=_spec(spec),
        status=Status(status),
        outcome=Outcome(outcome) if outcome else None,
        attempt=attempt,
        epoch=epoch,
        owner=owner,
        cancel_requested=bool(cancel),
        last_event=last,
        result=result,
        usage=_usage(used),
        error=error,
        rounds=rounds,
        done=None if done is None else bool(done),
        created=created,
        started=started,
        finished=finished,
    )


# --- accepting --------------------------------------------------------------------------------


def accept(
    tx: Transaction,
    spec: RunSpec,
    key: IdempotencyKey | None,
    busy: SessionMode,
    admission: Admission | None,
    queue_limit: int,
) -> Accepted:
    earlier = idempotency.used(tx, key)
    if earlier is not None:
        return Accepted(by_id(tx, earlier), fresh=False)
    if _tallied(tx, Status.QUEUED, Status.HELD) >= queue_limit:
        raise Unavailable(f"{queue_limit} runs are waiting already.", remedy="Try again when some are done.")
    if admission is not None:
        agents.admit(tx, spec, admission)
        alike = _alike(tx, spec) if admission.coalesce else None
        if alike is not None:
            idempotency.remember(tx, key, alike.id)
            return Accepted(alike, fresh=False)
    interrupted = () if spec.held else _meet(tx, spec.session, busy)
    _touch(tx, spec.session)
    status = Status.HELD if spec.held else Status.QUEUED
    delayed = spec.run_at is not None and spec.run_at > tx.now
    tx.execute(
        "INSERT INTO runs (session, ready, id, agent, source, spec, status, priority, run_at, last_event, created)"
        f" VALUES (?1, ?2 AND NOT EXISTS (SELECT 1 FROM {_HEAD}), ?3, ?4, ?5, ?6, ?7, ?8, ?9, 1, ?10)",
        (
            spec.session,
            not delayed and not spec.held,  # where a lane has no head, nobody waits in it
            identifier := ids.ulid(tx.now),
            spec.agent,
            spec.source,
            _encode(spec).decode(),
            status,
            spec.priority,
            spec.run_at if delayed else None,
            tx.now,
        ),
    )
    seq = tx.last_row()
    for name, value in spec.labels.items():
        tx.execute("INSERT INTO labels (name, value, run) VALUES (?, ?, ?)", (name, value, seq))
    _tally(tx, spec, status)
    event_log.append(tx, seq, identifier, 0, [StatusEvent(status=status)])
    run = Run(id=identifier, seq=seq, spec=spec, status=status, last_event=1, created=tx.now)
    event_log.note_run(tx, run)
    idempotency.remember(tx, key, identifier)
    return Accepted(run, fresh=True, interrupted=interrupted)


def _alike(tx: Transaction, spec: RunSpec) -> Run | None:
    """Return a run of the same source that waits in the session with the same input."""
    row = tx.execute(
        f"SELECT {_COLUMNS} FROM {_LANE} AND status = 'queued' AND source = ?2"
        " AND json_extract(spec, '$.input') = ?3 ORDER BY seq LIMIT 1",
        (spec.session, spec.source, spec.input),
    ).fetchone()
    return _run(row) if row else None


def release(tx: Transaction, run_id: str, busy: SessionMode, key: IdempotencyKey | None) -> Accepted:
    run = by_id(tx, run_id)
    if idempotency.used(tx, key) is not None:
        return Accepted(run, fresh=False)
    domain.target(run.status, Move.RELEASE)
    interrupted = _meet(tx, run.spec.session, busy)
    _touch(tx, run.spec.session)
    released = _move(tx, run, Move.RELEASE)
    _advance(tx, run.spec.session)
    idempotency.remember(tx, key, run.id)
    return Accepted(released, fresh=True, interrupted=interrupted)


def _touch(tx: Transaction, session: str) -> None:
    key = SessionKey.parse(session)
    assert key is not None, "front doors make session keys"
    sessions.touch(tx, key)


def _meet(tx: Transaction, session: str, busy: SessionMode) -> tuple[str, ...]:
    """Do with a session that is busy as its mode says; returns the runs that were asked to stop."""
    if busy is SessionMode.QUEUE:
        return ()
    if busy is SessionMode.REJECT and tx.execute(f"SELECT 1 FROM {_LANE} LIMIT 1", (session,)).get:
        raise AgentBusy(f"the session {session} is busy.", remedy="Wait for its answer, or use another session.")
    running = tx.execute(
        "UPDATE runs INDEXED BY runs_head SET cancel_requested = 1 WHERE session = ?"
        " AND (status = 'running' OR ready = 1) AND status = 'running' RETURNING id",
        (session,),
    )
    return tuple(str(identifier) for (identifier,) in running.fetchall())


# --- moving -----------------------------------------------------------------------------------


def _move(
    tx: Transaction, run: Run, move: Move, said: Sequence[AnyHappening] = (), reason: str = "", **changes: Any
) -> Run:
    """Make a move: the one place where a run's status changes, is stamped, tallied and logged.

    Args:
        said: events that come before the move's own.
        reason: why, where the move itself does not say.
        changes: fields of the run that change with it.
    """
    status = domain.target(run.status, move)
    changes["status"] = status
    if run.status is Status.RUNNING:
        said = [*said, *permissions.withdraw(tx, run)]
    if status.final:
        changes |= {"finished": tx.now, "owner": None}
    moved = msgspec.structs.replace(run, **changes)
    last = event_log.append(tx, run.seq, run.id, run.last_event, [*said, _told(moved, reason)])
    moved = msgspec.structs.replace(moved, last_event=last)
    tx.execute(
        "UPDATE runs SET status = ?, ready = ?, outcome = ?, attempt = ?, epoch = ?, owner = ?, last_event = ?,"
        " result = ?, usage = ?, error = ?, rounds = ?, done = ?, started = ?, finished = ? WHERE seq = ?",
        (
            status,
            int(move is Move.REQUEUE),
            moved.outcome,
            moved.attempt,
            moved.epoch,
            moved.owner,
            last,
            moved.result,
            _encode(moved.usage).decode(),
            moved.error,
            moved.rounds,
            moved.done,
            moved.started,
            moved.finished,
            run.seq,
        ),
    )
    _tally(tx, run.spec, status, before=run.status)
    event_log.note_run(tx, moved)
    if status.final:
        deliveries.create(tx, moved)
        schedules.ended(tx, moved)
        if run.spec.ephemeral:
            sessions.delete(tx, run.spec.session)
        _advance(tx, run.spec.session)
    return moved


def _told(run: Run, reason: str) -> AnyHappening:
    """Return the event that tells of a run's new status."""
    if run.status.final:
        assert run.outcome is not None, "what ends has an outcome"
        return End(status=run.status, outcome=run.outcome, result=run.result, error=run.error)
    return StatusEvent(status=run.status, attempt=run.attempt, reason=reason)


def claim(tx: Transaction, owner: str, limits: Limits) -> list[Run]:
    _let_due_in(tx)
    done: list[Run] = []
    waiting: set[int] = set()
    for _ in range(CLAIMS):
        all_went = True
        for run in _chosen(tx, limits, waiting):
            asked = usage.ask(tx, run, limits, tx.days, tx.now)
            all_went &= asked.go
            if asked.go:
                done.append(_claimed(tx, run, owner))
            elif asked.refusal is not None:
                done.append(_refused(tx, run, asked.refusal))
            else:
                waiting.add(run.seq)
        if all_went:
            break
    return done


def _chosen(tx: Transaction, limits: Limits, waiting: set[int]) -> list[Run]:
    """Return the runs for which there is room, in the order in which they are to begin."""
    free = max(limits.total - _tallied(tx, Status.RUNNING), 0)
    behind = free if limits.background is None else max(limits.background - _in_background(tx), 0)
    room = {agent: limit - _running(tx, agent) for agent, limit in limits.agents.items()}
    lines = [_next(tx, agent, min(free, room[agent]), behind, waiting) for agent in room]
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


def _next(tx: Transaction, agent: str, room: int, behind: int, waiting: set[int]) -> list[Run]:
    """Return the runs of an agent that may be claimed now, the most urgent first.

    They are more than there is room for where some are of source `background`: of those, others may be
    taken instead.

    Args:
        waiting: runs that a budget lets wait, by their numbers.
    """
    if room <= 0:
        return []
    but = f" AND seq NOT IN ({', '.join(map(str, waiting))})" if waiting else ""
    found = _ready(tx, "runs_ready", "<>", agent, room, but)
    if behind:
        found += _ready(tx, "runs_behind", "=", agent, min(room, behind), but)
        found.sort(key=lambda run: (-run.spec.priority, run.seq))
    return found


def _ready(tx: Transaction, index: str, is_background: str, agent: str, limit: int, but: str) -> list[Run]:
    rows = tx.execute(
        f"SELECT {_COLUMNS} FROM runs INDEXED BY {index} WHERE agent = ? AND status = 'queued' AND ready = 1"
        f" AND source {is_background} 'background'{but} ORDER BY priority DESC, seq LIMIT ?",
        (agent, limit),
    )
    return [_run(row) for row in rows.fetchall()]


def _refused(tx: Transaction, run: Run, error: str) -> Run:
    refused = _move(tx, run, Move.REFUSE, outcome=Outcome.OVER_BUDGET, error=error)
    sessions.write_transcript(tx, refused)
    return refused


def _claimed(tx: Transaction, run: Run, owner: str) -> Run:
    changes = {"attempt": run.attempt + 1, "epoch": run.epoch + 1, "started": run.started or tx.now}
    return _move(tx, run, Move.CLAIM, (), "", owner=owner, **changes)


def end_round(tx: Transaction, run_id: str, epoch: int, ended: Round, said: Sequence[AnyHappening]) -> None:
    run = held(tx, run_id, epoch)
    last = event_log.append(tx, run.seq, run.id, run.last_event, [*said, *permissions.withdraw(tx, run)])
    usage.count(tx, run, said)
    total = _encode(run.usage + ended.usage).decode()
    tx.execute(
        "UPDATE runs SET last_event = ?, rounds = ?, usage = ? WHERE seq = ?", (last, ended.number, total, run.seq)
    )
    sessions.write_round(tx, run, ended.number, ended.reply)


def finish(tx: Transaction, run_id: str, epoch: int, verdict: Verdict, said: Sequence[AnyHappening]) -> Run:
    run = held(tx, run_id, epoch)
    finished = _move(
        tx,
        run,
        verdict.move,
        said,
        outcome=verdict.outcome,
        result=verdict.result,
        error=verdict.error,
        usage=run.usage + verdict.usage,
        rounds=verdict.rounds,
        done=verdict.done,
    )
    usage.leave(tx, run, said, finished)
    sessions.write_transcript(tx, finished)
    return finished


def requeue(tx: Transaction, run: Run, why: str) -> Run:
    """Give back a run that was cut short, or end it, by its policy and by what was asked of it."""
    requeued = _requeued(tx, run, why)
    usage.leave(tx, run, (), requeued)
    return requeued


def _requeued(tx: Transaction, run: Run, why: str) -> Run:
    if run.cancel_requested:
        return _move(tx, run, Move.CANCEL, outcome=Outcome.CANCELLED_BY_USER)
    verdict = domain.after_interruption(run.spec, run.attempt, why)
    if verdict is None:
        return _move(tx, run, Move.REQUEUE, (), why, owner=None)
    changes: dict[str, Any] = {"outcome": verdict.outcome, "error": verdict.error}
    if run.spec.mode is Mode.GOAL:
        changes |= {"rounds": (run.rounds or 0) + 1, "done": False}
    failed = _move(tx, run, verdict.move, **changes)
    sessions.write_transcript(tx, failed)
    return failed


def give_back(tx: Transaction, run_id: str, epoch: int, why: str) -> Run:
    return requeue(tx, held(tx, run_id, epoch), why)


def rescue(tx: Transaction, owner: str) -> list[Run]:
    rows = tx.execute(
        f"SELECT {_COLUMNS} FROM runs INDEXED BY runs_running WHERE status = 'running' AND owner = ?", (owner,)
    )
    return [requeue(tx, run, "its gateway ended") for run in [_run(row) for row in rows.fetchall()]]


def cancel(tx: Transaction, run_id: str, key: IdempotencyKey | None = None) -> Run:
    run = by_id(tx, run_id)
    if idempotency.used(tx, key) is not None:
        return run
    idempotency.remember(tx, key, run.id)
    if run.status is Status.RUNNING:
        tx.execute("UPDATE runs SET cancel_requested = 1 WHERE seq = ?", (run.seq,))
        return by_seq(tx, run.seq)
    return _move(tx, run, Move.CANCEL, outcome=Outcome.CANCELLED_BY_USER)


def cancel_lane(tx: Transaction, session: str) -> list[str]:
    """Cancel all runs of a session; returns the running ones, which were asked to stop."""
    lane = tx.execute(f"SELECT id FROM {_LANE} ORDER BY seq DESC", (session,)).fetchall()
    asked = [cancel(tx, str(identifier)) for (identifier,) in lane]
    return [run.id for run in asked if run.status is Status.RUNNING]


def abandon(tx: Transaction, agent: str, limit: int) -> list[Run]:
    """Fail queued runs of an agent that is gone, the oldest first, as their sessions tell it."""
    rows = tx.execute(
        f"SELECT {_COLUMNS} FROM runs INDEXED BY runs_waiting WHERE status = 'queued' AND agent = ?"
        " ORDER BY seq LIMIT ?",
        (agent, limit),
    )
    abandoned = []
    for run in [_run(row) for row in rows.fetchall()]:
        error = f"the agent {run.spec.agent!r} was removed before this run began."
        abandoned.append(_move(tx, run, Move.ABANDON, outcome=Outcome.AGENT_ERROR, error=error))
        sessions.write_transcript(tx, abandoned[-1])
    return abandoned


def append(tx: Transaction, run_id: str, epoch: int, said: Sequence[AnyHappening]) -> None:
    row: Any = tx.execute(
        "SELECT seq, last_event FROM runs WHERE id = ? AND epoch = ? AND status = 'running'", (run_id, epoch)
    ).fetchone()
    if row is None:
        raise Fenced(run_id)
    seq, last = row
    tx.execute("UPDATE runs SET last_event = ? WHERE seq = ?", (event_log.append(tx, seq, run_id, last, said), seq))
    if any(isinstance(one, Usage) for one in said):
        usage.count(tx, by_seq(tx, seq), said)


def remember(tx: Transaction, run_id: str, epoch: int, backend_ref: str) -> None:
    run = held(tx, run_id, epoch)
    sessions.set_backend_ref(tx, run, backend_ref)


def held(tx: Transaction, run_id: str, epoch: int) -> Run:
    """Return a running run of this attempt.

    Raises:
        Fenced: another claim or its end came first.
    """
    row = tx.execute(
        f"SELECT {_COLUMNS} FROM runs WHERE id = ? AND epoch = ? AND status = 'running'",
        (run_id, epoch),
    ).fetchone()
    if row is None:
        raise Fenced(run_id)
    return _run(row)


# --- lanes and tallies ------------------------------------------------------------------------


def _advance(tx: Transaction, session: str) -> None:
    """Make the first due run of a lane ready, unless one is ready or running already."""
    first: Any = tx.execute(
        f"SELECT CASE WHEN NOT EXISTS (SELECT 1 FROM {_HEAD}) THEN"
        f" (SELECT seq FROM {_LANE} AND status = 'queued' AND run_at IS NULL ORDER BY seq LIMIT 1) END",
        (session,),
    ).get
    if first is not None:
        tx.execute("UPDATE runs SET ready = 1 WHERE seq = ?", (first,))


def _let_due_in(tx: Transaction) -> None:
    """Put delayed runs whose time has come into their lanes."""
    due = tx.execute(
        "UPDATE runs INDEXED BY runs_due SET run_at = NULL WHERE status = 'queued' AND run_at <= ? RETURNING session",
        (tx.now,),
    ).fetchall()
    for (session,) in due:
        _advance(tx, str(session))


def _tally(tx: Transaction, spec: RunSpec, status: Status, before: Status | None = None) -> None:
    """Count a run under its status, and no longer under the one before."""
    for kind in ("", f"{Source.BACKGROUND} ") if spec.source is Source.BACKGROUND else ("",):
        tx.execute("INSERT INTO tally VALUES (?, 1) ON CONFLICT DO UPDATE SET n = n + 1", (f"{kind}{status}",))
        if before is not None:
            tx.execute("UPDATE tally SET n = n - 1 WHERE status = ?", (f"{kind}{before}",))


def _tallied(tx: Transaction, *statuses: Status) -> int:
    wanted = ", ".join("?" * len(statuses))
    found: Any = tx.execute(f"SELECT sum(n) FROM tally WHERE status IN ({wanted})", statuses).get
    return found or 0


def _in_background(tx: Transaction) -> int:
    running = "SELECT count(*) FROM runs INDEXED BY runs_background WHERE source = 'background' AND status = 'running'"
    found: Any = tx.execute(running).get
    return int(found)


def _running(tx: Transaction, agent: str) -> int:
    found: Any = tx.execute("SELECT count(*) FROM runs WHERE status = 'running' AND agent = ?", (agent,)).get
    return int(found)


# --- reading ----------------------------------------------------------------------------------


def by_seq(tx: Transaction, seq: int) -> Run:
    row = tx.execute(f"SELECT {_COLUMNS} FROM runs WHERE seq = ?", (seq,)).fetchone()
    assert row is not None
    return _run(row)


def by_id(reader: Transaction | apsw.Connection, run_id: str) -> Run:
    """Return a run by id or unique prefix.

    Raises:
        RunNotFound: none or several fit.
    """
    exact = f"SELECT {_COLUMNS} FROM runs WHERE id = ?"
    row = reader.execute(exact, (run_id,)).fetchone()
    if row is not None:
        return _run(row)
    prefix = run_id.upper()
    rows: list[Any] = []
    if prefix.isalnum() and len(prefix) <= 26:
        near = f"SELECT {_COLUMNS} FROM runs WHERE id >= ? AND id < ? LIMIT 2"
        rows = reader.execute(near, (prefix, prefix + "~")).fetchall()
    if len(rows) != 1:
        raise RunNotFound(f"{'no' if not rows else 'more than one'} run has the id {run_id[:64]!r}.")
    return _run(rows[0])


def listed(connection: apsw.Connection, which: RunFilter, page: Page) -> list[Run]:
    conditions: list[tuple[str, Any]] = []
    for column in ("status", "agent", "session"):
        value = getattr(which, column)
        if value is not None:
            conditions.append((f"{column} = ?", value))
    if page.before is not None:
        conditions.append(("seq < ?", page.before))
    if which.label is not None:
        name, equals, value = which.label.partition("=")
        wanted = "SELECT run FROM labels WHERE name = ?" + (" AND value = ?" if equals else "")
        conditions.append((f"seq IN ({wanted})", (name, value) if equals else (name,)))
    where = " AND ".join(text for text, _ in conditions) or "TRUE"
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM runs {_narrowest(which)} WHERE {where} ORDER BY seq DESC LIMIT ?",
        (*_flat(value for _, value in conditions), page.limit),
    )
    return [_run(row) for row in rows]


def _narrowest(which: RunFilter) -> str:
    """Return which index to walk where several would do: SQLite does not know which one leads to the fewest runs."""
    if which.session is not None:
        return "INDEXED BY runs_session"
    if which.status is not None and which.agent is not None:
        return "INDEXED BY runs_agent" if which.status is Status.SUCCEEDED else "INDEXED BY runs_status"
    return ""


def _flat(values: Iterable[Any]) -> Iterable[Any]:
    for value in values:
        yield from value if isinstance(value, tuple) else (value,)


def finished(connection: apsw.Connection, label: str, limit: int) -> list[Run]:
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM runs WHERE {_ENDED_WITH} ORDER BY finished DESC, seq DESC LIMIT ?", (label, limit)
    )
    return [_run(row) for row in rows]


def hide_finished(tx: Transaction, label: str) -> int:
    tx.execute(f"UPDATE runs SET hidden = 1 WHERE {_ENDED_WITH}", (label,))
    return tx.changes_made()


def backlog(connection: apsw.Connection) -> Backlog:
    tallied = dict(connection.execute("SELECT status, n FROM tally WHERE status GLOB 'background *'"))
    active, queued = (tallied.get(f"{Source.BACKGROUND} {status}", 0) for status in (Status.RUNNING, Status.QUEUED))
    return Backlog(active=active, queued=queued, total=sum(tallied.values()))


def next_due(connection: apsw.Connection) -> int | None:
    found: Any = connection.execute(
        "SELECT min(run_at) FROM runs INDEXED BY runs_due WHERE status = 'queued' AND run_at IS NOT NULL"
    ).get
    return found  # type: ignore[no-any-return]


def counts(connection: apsw.Connection, since: int) -> Counts:
    now = dict(connection.execute("SELECT status, n FROM tally"))
    since_then = "SELECT status, count(*) FROM runs INDEXED BY runs_finished WHERE finished >= ? GROUP BY status"
    ended = dict(connection.execute(since_then, (since,)))
    number: Any = connection.execute("SELECT count(*) FROM sessions").get
    return Counts(
        queued=now.get(Status.QUEUED, 0),
        running=now.get(Status.RUNNING, 0),
        ended={status: ended.get(status, 0) for status in sorted(FINAL)},
        sessions=number,
    )


def owners(connection: apsw.Connection) -> list[str]:
    rows = connection.execute(
        "SELECT owner FROM runs INDEXED BY runs_running WHERE status = 'running' AND owner IS NOT NULL"
        " UNION SELECT owner FROM processes"
    )
    return [owner for (owner,) in rows]


def cancel_asked(connection: apsw.Connection, ids: Sequence[str]) -> list[str]:
    wanted = ", ".join("?" * len(ids))
    rows = connection.execute(
        f"SELECT id FROM runs WHERE id IN ({wanted}) AND status = 'running' AND cancel_requested = 1", tuple(ids)
    )
    return [str(identifier) for (identifier,) in rows]
