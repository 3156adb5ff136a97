"""Permission requests of agents; each is answered once.

A request waits only while the attempt that asked it is at work: whatever moves its run on withdraws it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from gateway.domain import times
from gateway.domain.event import Permission
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.permission import Answer, AskedPermission, DenialReason, PermissionQuestion, PermissionRequest
from gateway.domain.question import AnswerContent, Question
from gateway.domain.reach import Reach
from gateway.domain.run import Run
from gateway.domain.unreadable import RowKind
from gateway.errors import Conflict, PermissionNotFound
from gateway.store.sql import event_log, idempotency, run_queries
from gateway.store.sql.reach import make_condition
from gateway.store.sql.transaction import Reader, Transaction
from gateway.store.sql.unreadable import decode_rows, fetch_row

_PERMISSION_COLUMNS = (
    "n, event, action, CAST(choices AS BLOB), asked, expires, answer, answered, by, lapse,"
    " CAST(question AS BLOB), CAST(content AS BLOB)"
)
#: what is true of a request that waits: its run has not ended. The others are settled
_WAITS = {True: "answer IS NULL AND status = 'running'", False: "(answer IS NOT NULL OR status <> 'running')"}
_encode = msgspec.json.Encoder().encode
_choices = msgspec.json.Decoder(tuple[Answer, ...]).decode
_question = msgspec.json.Decoder(Question).decode
_content = msgspec.json.Decoder(AnswerContent).decode


def _decode_request(run: str, row: Sequence[Any]) -> PermissionRequest:
    n, event, action, choices, asked, expires, answer, answered, by, lapse, question, content = row
    return PermissionRequest(
        run=run,
        number=n,
        event_number=event,
        action=action,
        choices=_choices(choices),
        asked=asked,
        expires=expires,
        answer=Answer(answer) if answer else None,
        answered=answered,
        answered_by=by,
        denial_reason=DenialReason(lapse) if lapse else None,
        question=None if question is None else _question(question),
        content=None if content is None else _content(content),
    )


def ask_permission(
    tx: Transaction, run_id: str, epoch: int, question: PermissionQuestion, expires: int
) -> PermissionRequest:
    """Store a request of the running attempt.

    Raises:
        Fenced: that attempt is no longer the running one.
    """
    run = run_queries.current_attempt(tx, run_id, epoch)
    newest: Any = tx.execute("SELECT max(n) FROM permissions WHERE run = ?", (run.seq,)).get
    asked = PermissionRequest(
        run=run.id,
        number=(newest or 0) + 1,
        event_number=run.last_event + 1,
        action=question.action,
        choices=question.choices,
        asked=tx.now,
        expires=expires,
        question=question.question,
    )
    tx.execute(
        "INSERT INTO permissions (run, n, event, action, choices, asked, expires, question, seq)"
        " SELECT ?, ?, ?, ?, ?, ?, ?, ?, coalesce(max(seq), 0) + 1 FROM permissions",
        (
            run.seq,
            asked.number,
            asked.event_number,
            asked.action,
            _encode(asked.choices).decode(),
            asked.asked,
            expires,
            None if asked.question is None else _encode(asked.question).decode(),
        ),
    )
    told = Permission(
        id=asked.id,
        action=asked.action,
        choices=asked.choices,
        expires_at=times.format_rfc3339(asked.expires),
        question=asked.question,
    )
    _append_event(tx, run, told)
    event_log.note_permission(tx, run, asked.id, "asked")
    return asked


def answer_permission(
    tx: Transaction,
    run_id: str,
    n: int,
    answer: Answer,
    by: str,
    key: IdempotencyKey | None = None,
    content: AnswerContent | None = None,
) -> PermissionRequest:
    """Answer a request that nobody has answered.

    Raises:
        PermissionNotFound: there is none with that number.
        Conflict: it was answered, and not by this idempotency key.
    """
    run = run_queries.get_run(tx, run_id)
    found = _get_of_run(tx, run, n)
    if idempotency.find_used(tx, key) is not None:
        return found
    if found.denial_reason is DenialReason.DEADLINE:
        raise Conflict(f"nobody answered {found.id} in time: it was denied.")
    if found.denial_reason is DenialReason.WITHDRAWN:
        raise Conflict(f"the agent no longer waits for an answer to {found.id}.")
    if found.answer is not None:
        raise Conflict(f"{found.id} was answered already: {found.answer}, by {found.answered_by}.")
    idempotency.save_key(tx, key, run.id)
    return _record_answer(tx, run, found, answer, by=by, content=content)


def close_permission(tx: Transaction, run_id: str, n: int, why: DenialReason) -> PermissionRequest:
    """Deny a request unless somebody has answered it. Returns the request with its answer."""
    run = run_queries.get_run(tx, run_id)
    found = _get_of_run(tx, run, n)
    return found if found.answer is not None else _record_answer(tx, run, found, Answer.DENY, denial_reason=why)


def withdraw_open(tx: Transaction, run: Run) -> list[Permission]:
    """Deny the open requests of an ended attempt. Returns the events that report it."""
    rows = tx.execute(
        "UPDATE permissions SET answer = ?, answered = ?, lapse = ? WHERE run = ? AND answer IS NULL"
        f" RETURNING {_PERMISSION_COLUMNS}",
        (Answer.DENY, tx.now, DenialReason.WITHDRAWN, run.seq),
    )
    withdrawn = sorted(_decode_requests(tx, run, rows), key=lambda request: request.number)
    for request in withdrawn:
        event_log.note_permission(tx, run, request.id, Answer.DENY)
    return [_permission_event(request) for request in withdrawn]


def _get_of_run(reader: Reader, run: Run, n: int) -> PermissionRequest:
    rows = reader.execute(f"SELECT {_PERMISSION_COLUMNS} FROM permissions WHERE run = ? AND n = ?", (run.seq, n))
    found = fetch_row(reader, RowKind.PERMISSION, rows, lambda row: _decode_request(run.id, row), lambda: (run.seq, n))
    if found is None:
        raise PermissionNotFound(f"the task {run.id} has no permission request p{n}.")
    return found


def _decode_requests(reader: Reader, run: Run, rows: Iterable[Any]) -> list[PermissionRequest]:
    return decode_rows(
        reader, RowKind.PERMISSION, rows, lambda row: _decode_request(run.id, row), lambda row: (run.seq, row[0])
    )


def get_request(reader: Reader, run_id: str, n: int) -> PermissionRequest:
    return _get_of_run(reader, run_queries.get_run(reader, run_id), n)


def list_requests(reader: Reader, run_id: str, page: Page) -> list[PermissionRequest]:
    run = run_queries.get_run(reader, run_id)
    before = page.before if page.before is not None else 1 << 62
    rows = reader.execute(
        f"SELECT {_PERMISSION_COLUMNS} FROM permissions WHERE run = ? AND n < ? ORDER BY n DESC LIMIT ?",
        (run.seq, before, page.limit),
    )
    return _decode_requests(reader, run, rows)


def list_all_requests(
    reader: Reader, waiting: bool | None, page: Page, reach: Reach | None = None
) -> list[AskedPermission]:
    """Return the requests of all runs, newest first."""
    reached = make_condition(reach)
    before = page.before if page.before is not None else 1 << 62
    index = "permissions_open" if waiting else "permissions_seq"
    condition = "TRUE" if waiting is None else _WAITS[waiting]
    rows = reader.execute(
        f"SELECT permissions.seq, run, agent, session, id, {_PERMISSION_COLUMNS} FROM permissions INDEXED BY {index}"
        " CROSS JOIN runs ON runs.seq = permissions.run"
        f" WHERE permissions.seq < ? AND {condition} AND {reached.text} ORDER BY permissions.seq DESC LIMIT ?",
        (before, *reached.values, page.limit),
    )
    return decode_rows(reader, RowKind.PERMISSION, rows, _decode_asked, lambda row: (row[1], row[5]))


def _decode_asked(row: Sequence[Any]) -> AskedPermission:
    seq, _, agent, session, run, *columns = row
    return AskedPermission(seq=seq, request=_decode_request(run, columns), agent=agent, session=session)


def _record_answer(
    tx: Transaction,
    run: Run,
    found: PermissionRequest,
    given: Answer,
    *,
    by: str = "",
    denial_reason: DenialReason | None = None,
    content: AnswerContent | None = None,
) -> PermissionRequest:
    settled = msgspec.structs.replace(
        found, answer=given, answered=tx.now, answered_by=by, denial_reason=denial_reason, content=content
    )
    stored = None if content is None else _encode(content).decode()
    tx.execute(
        "UPDATE permissions SET answer = ?, answered = ?, by = ?, lapse = ?, content = ? WHERE run = ? AND n = ?",
        (given, tx.now, by, denial_reason, stored, run.seq, found.number),
    )
    _append_event(tx, run, _permission_event(settled))
    event_log.note_permission(tx, run, settled.id, given)
    return settled


def _permission_event(settled: PermissionRequest) -> Permission:
    """Return the event that reports an answer."""
    return Permission(
        id=settled.id,
        action=settled.action,
        answer=settled.answer or "",
        by=settled.answered_by,
        reason=settled.denial_reason or "",
        content=settled.content,
    )


def _append_event(tx: Transaction, run: Run, said: Permission) -> None:
    last = event_log.append_events(tx, run.seq, run.id, run.last_event, [said])
    tx.execute("UPDATE runs SET last_event = ? WHERE seq = ?", (last, run.seq))
