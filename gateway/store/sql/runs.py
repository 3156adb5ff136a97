"""Runs, from their acceptance to their end. One function makes every change of status."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.domain import ids
from gateway.domain import run as domain
from gateway.domain.agent import SessionMode
from gateway.domain.event import AnyEventData, End, Usage
from gateway.domain.event import Status as StatusEvent
from gateway.domain.file import File
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.ports.file_store import StagedFile
from gateway.domain.ports.run_store import Fenced
from gateway.domain.queue import AdmissionRules
from gateway.domain.run import (
    AcceptedRun,
    AttemptResult,
    GoalRound,
    Mode,
    Move,
    Outcome,
    Run,
    RunSpec,
    Status,
)
from gateway.errors import AgentBusy, Unavailable, Unreadable
from gateway.store.sql import (
    agents,
    deliveries,
    end_counts,
    event_log,
    files,
    idempotency,
    permissions,
    run_queries,
    schedules,
    sessions,
    setting_aside,
    tally,
    usage,
    workspaces,
)
from gateway.store.sql.lanes import FIRST_OF_SESSION, OPEN_RUNS_OF_SESSION, advance_lane
from gateway.store.sql.transaction import Transaction

encode_json = msgspec.json.Encoder().encode


# --- accepting --------------------------------------------------------------------------------


def accept_run(
    tx: Transaction,
    spec: RunSpec,
    key: IdempotencyKey | None = None,
    admission: AdmissionRules | None = None,
    staged: Sequence[StagedFile] = (),
) -> AcceptedRun:
    earlier = idempotency.find_used(tx, key)
    if earlier is not None:
        return AcceptedRun(run_queries.get_run(tx, earlier), is_new=False)
    if tally.count_runs(tx, Status.QUEUED, Status.HELD) >= tx.queue_limit:
        raise Unavailable(f"{tx.queue_limit} runs are waiting already.", remedy="Try again when some are done.")
    mode = SessionMode.QUEUE
    if admission is not None:
        mode = admission.session_mode
        agents.admit_run(tx, spec, admission)
        alike = _find_waiting_duplicate(tx, spec) if admission.coalesce and not spec.attachments else None
        if alike is not None:
            idempotency.save_key(tx, key, alike.id)
            return AcceptedRun(alike, is_new=False)
    files.check_stored(tx, spec.attachments, staged)
    files.store_staged(tx, staged)
    interrupted = () if spec.held else _apply_session_mode(tx, spec.session, mode)
    touch = sessions.begin_touch(tx, spec.session, _first_words(spec))
    status = Status.HELD if spec.held else Status.QUEUED
    delayed = spec.run_at is not None and spec.run_at > tx.now
    seq = tx.insert(
        "INSERT INTO runs (session, ready, id, agent, source, spec, status, priority, run_at, parent, last_event,"
        f" created) VALUES (?1, iif(?2 = 1 AND NOT EXISTS (SELECT 1 FROM {FIRST_OF_SESSION}), 1, 0), ?3, ?4, ?5, ?6,"
        " ?7, ?8, ?9, ?10, 1, ?11)",
        (
            spec.session,
            not delayed and not spec.held,  # a lane without a first run is empty
            identifier := ids.make_ulid(tx.now),
            spec.agent,
            spec.source,
            encode_json(spec).decode(),
            status,
            spec.priority,
            spec.run_at if delayed else None,
            spec.parent,
            tx.now,
        ),
    )
    if not touch.is_found():
        sessions.create_touched(tx, touch, after_run=seq - 1)
    if status is Status.QUEUED and not delayed:
        tx.ready_agents.add(spec.agent)
    for name, value in spec.labels.items():
        tx.execute("INSERT INTO labels (name, value, run) VALUES (?, ?, ?)", (name, value, seq))
    if spec.retry_of is not None:
        tx.execute("UPDATE runs SET retried = 1 WHERE id = ?", (spec.retry_of,))
    files.use_files(tx, spec.attachments, run=seq)
    tally.move_count(tx, spec, status)
    event_log.append_events(tx, seq, identifier, 0, [StatusEvent(status=status)])
    run = Run(id=identifier, seq=seq, spec=spec, status=status, last_event=1, created=tx.now)
    event_log.note_run(tx, run)
    idempotency.save_key(tx, key, identifier)
    return AcceptedRun(run, is_new=True, interrupted_runs=interrupted)


def _find_waiting_duplicate(tx: Transaction, spec: RunSpec) -> Run | None:
    """Return a queued run of the session that has the same source and input, and no files either."""
    rows = tx.execute(
        f"SELECT {run_queries.RUN_COLUMNS} FROM {OPEN_RUNS_OF_SESSION} AND status = 'queued' AND source = ?2"
        " AND iif(json_valid(spec), json_extract(spec, '$.input'), NULL) = ?3"
        " AND iif(json_valid(spec), json_extract(spec, '$.attachments'), '') IS NULL ORDER BY seq LIMIT 1",
        (spec.session, spec.source, spec.input),
    )
    return next(iter(run_queries.decode_runs(tx, rows)), None)


def release_run(tx: Transaction, run_id: str, busy: SessionMode, key: IdempotencyKey | None = None) -> AcceptedRun:
    run = run_queries.get_run(tx, run_id)
    if idempotency.find_used(tx, key) is not None:
        return AcceptedRun(run, is_new=False)
    domain.apply_move(run.status, Move.RELEASE)
    interrupted = _apply_session_mode(tx, run.spec.session, busy)
    sessions.touch_session(tx, run.spec.session, _first_words(run.spec))
    released = move_run(tx, run, Move.RELEASE)
    advance_lane(tx, run.spec.session)
    idempotency.save_key(tx, key, run.id)
    return AcceptedRun(released, is_new=True, interrupted_runs=interrupted)


def _first_words(spec: RunSpec) -> str:
    """Return what becomes the title of a session without one."""
    return spec.input or ", ".join(file.name for file in spec.attachments)


def _apply_session_mode(tx: Transaction, session: str, busy: SessionMode) -> tuple[str, ...]:
    """Treat a busy session as its mode says. Returns the runs that were asked to stop."""
    if busy is SessionMode.QUEUE:
        return ()
    open_runs = f"SELECT 1 FROM {OPEN_RUNS_OF_SESSION} AND run_at IS DISTINCT FROM {setting_aside.NEVER} LIMIT 1"
    if busy is SessionMode.REJECT and tx.execute(open_runs, (session,)).get:
        raise AgentBusy(f"the session {session} is busy.", remedy="Wait for its answer, or use another session.")
    running = tx.execute(
        "UPDATE runs INDEXED BY runs_head SET cancel_requested = 1 WHERE session = ?"
        " AND (status = 'running' OR ready = 1) AND status = 'running' RETURNING id",
        (session,),
    )
    return tuple(str(identifier) for (identifier,) in running.fetchall())


# --- moving -----------------------------------------------------------------------------------


def move_run(
    tx: Transaction,
    run: Run,
    move: Move,
    said: Sequence[AnyEventData] = (),
    reason: str = "",
    *,
    has_requests: bool = True,
    **changes: Any,
) -> Run:
    """Change a run's status: the only place where that happens. Stamps, counts and logs it.

    Args:
        said: events to log before the event of the move.
        reason: why, if the move itself does not say it.
        has_requests: whether the agent may wait for answers to permission requests.
        changes: other fields of the run that change.
    """
    status = domain.apply_move(run.status, move)
    changes["status"] = status
    if run.status is Status.RUNNING and has_requests:
        said = [*said, *permissions.withdraw_open(tx, run)]
    if status.is_final:
        changes |= {"finished": tx.now, "owner": None}
    moved = msgspec.structs.replace(run, **changes)
    last = event_log.append_events(tx, run.seq, run.id, run.last_event, [*said, _status_event(moved, reason)])
    moved = msgspec.structs.replace(moved, last_event=last)
    tx.execute(
        "UPDATE runs SET status = ?, ready = ?, outcome = ?, attempt = ?, epoch = ?, owner = ?, last_event = ?,"
        " result = ?, finish = ?, usage = ?, error = ?, rounds = ?, done = ?, notices = ?, files = ?, started = ?,"
        " finished = ?"
        " WHERE seq = ?",
        (
            status,
            int(move is Move.REQUEUE),
            moved.outcome,
            moved.attempt,
            moved.epoch,
            moved.owner,
            last,
            moved.result,
            moved.finish,
            encode_json(moved.usage).decode(),
            moved.error,
            moved.rounds,
            moved.done,
            encode_json(moved.notices).decode(),
            _encode_files(moved.files),
            moved.started,
            moved.finished,
            run.seq,
        ),
    )
    tally.move_count(tx, run.spec, status, before=run.status)
    event_log.note_run(tx, moved)
    if run.status is Status.RUNNING or (status.is_final and tx.dialect.dispatches):  # it may have been dispatched
        tx.stopped.append(run)
    if status.is_final:
        tx.ended.append(moved)
        end_counts.count_end(tx, status, tx.now)
        deliveries.create_deliveries(tx, moved)
        schedules.record_run_end(tx, moved)
        if run.spec.ephemeral:
            sessions.delete_session(tx, run.spec.session)
        elif not run.spec.keeps_workspace:
            workspaces.release_workspace(tx, run.spec.session)
        advance_lane(tx, run.spec.session)
    return moved


def _encode_files(made: Sequence[File]) -> str | None:
    return encode_json(made).decode() if made else None


def _status_event(run: Run, reason: str) -> AnyEventData:
    """Return the event that reports a run's new status."""
    if run.status.is_final:
        assert run.outcome is not None, "an ended run has an outcome"
        return End(status=run.status, outcome=run.outcome, result=run.result, finish=run.finish, error=run.error)
    return StatusEvent(status=run.status, attempt=run.attempt, reason=reason)


def end_round(
    tx: Transaction,
    run_id: str,
    epoch: int,
    ended: GoalRound,
    said: Sequence[AnyEventData],
    staged: Sequence[StagedFile] = (),
) -> None:
    run = run_queries.current_attempt(tx, run_id, epoch)
    files.store_staged(tx, staged, within_quota=False)
    files.use_files(tx, ended.files, run=run.seq)
    last = event_log.append_events(tx, run.seq, run.id, run.last_event, [*said, *permissions.withdraw_open(tx, run)])
    usage.count_usage(tx, run, said)
    total = encode_json(run.usage + ended.usage).decode()
    tx.execute(
        "UPDATE runs SET last_event = ?, rounds = ?, usage = ?, files = ? WHERE seq = ?",
        (last, ended.number, total, _encode_files((*run.files, *ended.files)), run.seq),
    )
    sessions.write_round(tx, run, sessions.find_last_message(tx, run), ended.number, ended.reply)


def finish_run(
    tx: Transaction,
    run_id: str,
    epoch: int,
    result: AttemptResult,
    said: Sequence[AnyEventData],
    staged: Sequence[StagedFile] = (),
) -> Run:
    run, has_requests, last = run_queries.read_ending(tx, run_id, epoch)
    files.store_staged(tx, staged, within_quota=False)
    files.use_files(tx, result.files, run=run.seq)
    result = domain.decide_end(run, result)
    finished = move_run(
        tx,
        run,
        result.move,
        said,
        has_requests=has_requests,
        outcome=result.outcome,
        result=result.result,
        finish=result.finish,
        error=result.error,
        usage=run.usage + result.usage,
        rounds=result.rounds,
        done=result.done,
        notices=result.notices,
        files=(*run.files, *result.files),
    )
    usage.settle_run(tx, run, said, finished)
    is_deleted = run.spec.ephemeral and finished.status.is_final  # its session
    sessions.write_transcript(tx, finished, None if is_deleted else last, refused=result.prompt_refused)
    return finished


def _requeue(tx: Transaction, run: Run, why: str) -> Run:
    """Queue an interrupted run again, or end it, by its policy and by whether a cancel was requested."""
    requeued = _requeue_or_end(tx, run, why)
    usage.settle_run(tx, run, (), requeued)
    return requeued


def _requeue_or_end(tx: Transaction, run: Run, why: str) -> Run:
    if run.cancel_requested:
        return move_run(tx, run, Move.CANCEL, outcome=Outcome.CANCELLED_BY_USER)
    result = domain.decide_after_interruption(run.spec, run.attempt, why)
    if result is None:
        return move_run(tx, run, Move.REQUEUE, (), why, owner=None)
    changes: dict[str, Any] = {"outcome": result.outcome, "error": result.error}
    if run.spec.mode is Mode.GOAL:
        changes |= {"rounds": (run.rounds or 0) + 1, "done": False}
    failed = move_run(tx, run, result.move, **changes)
    sessions.write_transcript(tx, failed, sessions.find_last_message(tx, failed))
    return failed


def requeue_run(tx: Transaction, run_id: str, epoch: int, why: str) -> Run:
    return _requeue(tx, run_queries.current_attempt(tx, run_id, epoch), why)


def rescue_runs(tx: Transaction, owner: str) -> list[Run]:
    still = tx.dialect.is_abandoned  # it may have been heard of since it was found to be gone
    found, readable = run_queries.fetch_runs(
        tx, f"runs INDEXED BY runs_running WHERE status = 'running' AND owner = ?{still}", (owner,)
    )
    setting_aside.set_aside_unreadable(tx, found, readable)
    return [_requeue(tx, run, "its gateway ended") for run in readable]


def change_input(tx: Transaction, run_id: str, content: str) -> bool:
    run = run_queries.get_run(tx, run_id)
    if run.status not in (Status.QUEUED, Status.HELD) or run.attempt:
        return False
    changed = msgspec.structs.replace(run, spec=msgspec.structs.replace(run.spec, input=content))
    tx.execute("UPDATE runs SET spec = ? WHERE seq = ?", (encode_json(changed.spec).decode(), run.seq))
    event_log.note_run(tx, changed)
    return True


def cancel_run(tx: Transaction, run_id: str, key: IdempotencyKey | None = None) -> Run:
    run = run_queries.get_run(tx, run_id)
    if idempotency.find_used(tx, key) is not None:
        return run
    idempotency.save_key(tx, key, run.id)
    if run.status is Status.RUNNING:
        tx.execute("UPDATE runs SET cancel_requested = 1 WHERE seq = ?", (run.seq,))
        return run_queries.get_by_seq(tx, run.seq)
    return move_run(tx, run, Move.CANCEL, outcome=Outcome.CANCELLED_BY_USER)


def cancel_session_runs(tx: Transaction, session: str) -> list[str]:
    """Cancel all open runs of a session. Returns the running ones, which were asked to stop."""
    lane = tx.execute(f"SELECT id FROM {OPEN_RUNS_OF_SESSION} ORDER BY seq DESC", (session,)).fetchall()
    asked = []
    for (identifier,) in lane:
        with contextlib.suppress(Unreadable):  # it never begins: it was set aside
            asked.append(cancel_run(tx, str(identifier)))
    return [run.id for run in asked if run.status is Status.RUNNING]


def abandon_runs(tx: Transaction, agent: str, limit: int, name: str) -> list[Run]:
    """Fail queued runs of an agent that no longer exists, oldest first, so that transcripts stay in order."""
    found, readable = run_queries.fetch_runs(
        tx,
        "runs INDEXED BY runs_waiting WHERE status = 'queued' AND agent = ?"
        f" AND run_at IS DISTINCT FROM {setting_aside.NEVER} ORDER BY seq LIMIT ?",
        (agent, limit),
    )
    abandoned = []
    setting_aside.set_aside_unreadable(tx, found, readable)
    for run in readable:
        error = f"the agent {name!r} was removed before this run began."
        abandoned.append(move_run(tx, run, Move.ABANDON, outcome=Outcome.AGENT_ERROR, error=error))
        sessions.write_transcript(tx, abandoned[-1], sessions.find_last_message(tx, abandoned[-1]))
    return abandoned


def append_events(tx: Transaction, run_id: str, epoch: int, said: Sequence[AnyEventData]) -> None:
    row: Any = tx.execute(
        "SELECT seq, last_event, owner FROM runs WHERE id = ? AND epoch = ? AND status = 'running'", (run_id, epoch)
    ).fetchone()
    if row is None or run_queries.is_of_another(tx, row[2]):
        raise Fenced(run_id)
    seq, last, _ = row
    tx.execute(
        "UPDATE runs SET last_event = ? WHERE seq = ?", (event_log.append_events(tx, seq, run_id, last, said), seq)
    )
    if any(isinstance(one, Usage) for one in said):
        usage.count_usage(tx, run_queries.get_by_seq(tx, seq), said)


def save_backend_ref(tx: Transaction, run_id: str, epoch: int, backend_ref: str) -> None:
    run = run_queries.current_attempt(tx, run_id, epoch)
    sessions.set_backend_ref(tx, run, backend_ref)


# --- reading ----------------------------------------------------------------------------------


def hide_finished(tx: Transaction, label: str) -> int:
    tx.execute(f"UPDATE runs SET hidden = 1 WHERE {run_queries.ENDED_WITH_LABEL}", (label,))
    return tx.changes_made()
