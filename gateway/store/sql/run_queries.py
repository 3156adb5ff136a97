"""Queries for runs: one by its id, pages, and totals."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from gateway.domain.event import Notice, Usage
from gateway.domain.file import File
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.ports.run_store import Fenced
from gateway.domain.queue import BackgroundCounts, GatewayCounts
from gateway.domain.run import (
    MAX_LISTED_TEXT_CHARACTERS,
    FinishReason,
    Outcome,
    Run,
    RunFilter,
    RunSpec,
    Source,
    Status,
    shorten_texts,
)
from gateway.domain.unreadable import RowKind
from gateway.errors import RunNotFound, Unreadable
from gateway.store.sql import end_counts, id_lookup, idempotency, run_filter
from gateway.store.sql.transaction import Reader, Transaction
from gateway.store.sql.unreadable import decode_rows, fetch_row

RUN_COLUMNS = (
    "seq, id, CAST(spec AS BLOB), status, outcome, attempt, epoch, owner, cancel_requested, last_event, result,"
    " finish, usage, error, rounds, done, notices, files, created, started, finished"
)
#: the same with no more of long texts than a list shows, and one character more, which shows that they are cut.
#: `octet_length` does not read the text: https://www.sqlite.org/lang_corefunc.html#octet_length
_LISTED_TEXT = MAX_LISTED_TEXT_CHARACTERS + 1
_LISTED_COLUMNS = (
    RUN_COLUMNS.replace(
        "CAST(spec AS BLOB)",
        f"CAST(iif(octet_length(spec) <= {_LISTED_TEXT}, spec, iif(json_valid(spec), json_set(spec, '$.input',"
        f" substr(json_extract(spec, '$.input'), 1, {_LISTED_TEXT})), 'damaged')) AS BLOB)",
    )
    .replace(" result,", f" substr(result, 1, {_LISTED_TEXT}),")
    .replace(" error,", f" substr(error, 1, {_LISTED_TEXT}),")
)
#: ended runs with a label that a history shows
ENDED_WITH_LABEL = "seq IN (SELECT run FROM labels WHERE name = ?) AND finished IS NOT NULL AND hidden = 0"
_decode_spec = msgspec.json.Decoder(RunSpec).decode
_decode_notices = msgspec.json.Decoder(tuple[Notice, ...]).decode
_decode_files = msgspec.json.Decoder(tuple[File, ...]).decode
_decode_usage = msgspec.json.Decoder(Usage).decode


def decode_runs(reader: Reader, rows: Iterable[Any]) -> list[Run]:
    """Decode rows with `RUN_COLUMNS`; set aside those that cannot be decoded."""
    return decode_rows(reader, RowKind.TASK, rows, _decode_run, lambda row: (row[1],))


class FoundRuns(NamedTuple):
    """The runs that a statement selects."""

    #: the numbers of all
    seqs: list[int]
    #: those that can be decoded
    readable: list[Run]


def fetch_runs(reader: Reader, selection: str, values: Sequence[Any]) -> FoundRuns:
    """Return all selected runs; those that cannot be decoded are set aside.

    Args:
        selection: what follows FROM in a statement.
    """
    return select_runs(reader, selection, values)()


def select_runs(reader: Reader, selection: str, values: Sequence[Any]) -> Callable[[], FoundRuns]:
    """Select runs as `fetch_runs` does; return a function that returns them."""
    if reader.dialect.may_hide_rows:
        found = _fetch_one_by_one(reader, selection, values)
        return lambda: found
    rows = reader.execute(f"SELECT {RUN_COLUMNS} FROM {selection}", values)

    def read() -> FoundRuns:
        all_ = rows.fetchall()
        return FoundRuns([row[0] for row in all_], decode_runs(reader, all_))

    return read


def _fetch_one_by_one(reader: Reader, selection: str, values: Sequence[Any]) -> FoundRuns:
    seqs: list[Any] = [seq for (seq,) in reader.execute(f"SELECT seq FROM {selection}", values)]
    found: list[Run] = []
    for seq in seqs:  # after a text that is not UTF-8, its row cannot be told from the others
        found += decode_runs(reader, reader.execute(f"SELECT {RUN_COLUMNS} FROM runs WHERE seq = ?", (seq,)))
    return FoundRuns(seqs, found)


def _fetch_run(reader: Reader, condition: str, values: tuple[Any, ...], columns: str = RUN_COLUMNS) -> Run | None:
    """Return the run that a condition selects, or None.

    Args:
        columns: `RUN_COLUMNS`, or those with long texts cut.

    Raises:
        Unreadable: it cannot be decoded.
    """
    return fetch_row(
        reader,
        RowKind.TASK,
        reader.execute(f"SELECT {columns} FROM runs WHERE {condition}", values),
        _decode_run,
        lambda: (reader.execute(f"SELECT id FROM runs WHERE {condition}", values).get,),
    )


def _decode_run(row: Sequence[Any]) -> Run:
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
        finish,
        used,
        error,
        rounds,
        done,
        notices,
        files,
        *times,
    ) = row
    created, started, finished = times
    return Run(
        seq=seq,
        id=id_,
        spec=_decode_spec(spec),
        status=Status(status),
        outcome=Outcome(outcome) if outcome else None,
        attempt=attempt,
        epoch=epoch,
        owner=owner,
        cancel_requested=bool(cancel),
        last_event=last,
        result=result,
        finish=FinishReason(finish) if finish else None,
        usage=_decode_usage(used),
        error=error,
        rounds=rounds,
        done=None if done is None else bool(done),
        notices=_decode_notices(notices),
        files=() if files is None else _decode_files(files),
        created=created,
        started=started,
        finished=finished,
    )


def get_by_seq(tx: Transaction, seq: int) -> Run:
    run = _fetch_run(tx, "seq = ?", (seq,))
    assert run is not None
    return run


def get_run(reader: Reader, run_id: str) -> Run:
    """Return a run by its id, or by a part of it that fits exactly one run; people know runs as tasks.

    Raises:
        RunNotFound: no run fits, or more than one.
        Unreadable: it cannot be decoded.
    """
    run = _fetch_run(reader, "id = ?", (run_id,))
    if run is None:
        found = id_lookup.find_ids(reader, "runs", run_id)
        if len(found) != 1:
            raise RunNotFound(id_lookup.describe_misses("task", "tasks", run_id, found))
        run = _fetch_run(reader, "id = ?", (found[0],))
        assert run is not None
    return run


def find_accepted(reader: Reader, key: IdempotencyKey) -> Run | None:
    """Return the run that was accepted under a key; None if the key is new, or the run was deleted.

    Raises:
        Conflict: the key was used with another body.
    """
    used = idempotency.find_used(reader, key)
    return None if used is None else _fetch_run(reader, "id = ?", (used,))


def current_attempt(tx: Transaction, run_id: str, epoch: int) -> Run:
    """Return a run whose running attempt has this epoch, and is this process's if it has a name.

    Raises:
        Fenced: another claim, or the run's end, came first.
        Unreadable: it cannot be decoded.
    """
    run = _fetch_run(tx, "id = ? AND epoch = ? AND status = 'running'", (run_id, epoch))
    if run is None or is_of_another(tx, run.owner):
        raise Fenced(run_id)
    return run


def is_of_another(tx: Transaction, owner: str | None) -> bool:
    """Return whether another process has claimed a run under the same epoch, by the owner of that run.

    The server was replaced by a replica that had not heard of the claim of this process.
    """
    return tx.owner != "" and owner != tx.owner


class EndingRun(NamedTuple):
    """What the end of an attempt begins with."""

    run: Run
    #: whether the agent waits for an answer to a permission request
    has_requests: bool
    #: number of the last message of its session; None if the session was deleted
    last_message: int | None


def read_ending(tx: Transaction, run_id: str, epoch: int) -> EndingRun:
    """Return a run as `current_attempt` does, with all that its end needs: each look at the database may wait.

    Raises:
        Fenced, Unreadable: as there.
    """
    ending = fetch_row(
        tx,
        RowKind.TASK,
        tx.execute(
            f"SELECT {RUN_COLUMNS},"
            " EXISTS (SELECT 1 FROM permissions WHERE run = runs.seq AND answer IS NULL),"
            " (SELECT last_n FROM sessions WHERE key = runs.session AND after_run < runs.seq)"
            " FROM runs WHERE id = ? AND epoch = ? AND status = 'running'",
            (run_id, epoch),
        ),
        lambda row: EndingRun(_decode_run(row[:-2]), bool(row[-2]), row[-1]),
        lambda: (run_id,),
    )
    if ending is None or is_of_another(tx, ending.run.owner):
        raise Fenced(run_id)
    return ending


def list_runs(reader: Reader, which: RunFilter, page: Page) -> list[Run]:
    """Return a page of runs, with long texts shortened."""
    chosen = run_filter.select_runs(reader, which, page.before)
    rows = reader.execute(
        f"SELECT {_LISTED_COLUMNS} FROM runs WHERE seq IN ({chosen.statement} LIMIT ?) ORDER BY seq DESC",
        (*chosen.values, page.limit),
    )
    return [shorten_texts(run) for run in decode_runs(reader, rows)]


def list_run_ids(reader: Reader, which: RunFilter, limit: int) -> list[str]:
    """Return the ids of the newest runs, oldest first."""
    chosen = run_filter.select_runs(reader, which)
    rows = reader.execute(
        f"SELECT id FROM runs WHERE seq IN ({chosen.statement} LIMIT ?) ORDER BY seq", (*chosen.values, limit)
    )
    return [str(identifier) for (identifier,) in rows]


def read_runs(reader: Reader, ids: Sequence[str], size: int, *, shortened: bool) -> tuple[int, list[Run]]:
    """Return how many of some runs were looked up, and those that are still there; at least one is looked up.

    Args:
        size: characters of text after which no more are looked up.
        shortened: whether long texts are cut, as in `list_runs`.
    """
    found: list[Run] = []
    columns = _LISTED_COLUMNS if shortened else RUN_COLUMNS
    for count, run_id in enumerate(ids, 1):
        with contextlib.suppress(Unreadable):
            if (run := _fetch_run(reader, "id = ?", (run_id,), columns)) is not None:
                found.append(shorten_texts(run) if shortened else run)
                size -= sum(len(text or "") for text in (run.spec.input, run.result, run.error))
        if size <= 0:
            return count, found
    return len(ids), found


def list_finished_ids(reader: Reader, label: str, limit: int) -> list[str]:
    """Return the ids of ended runs with a label that are not hidden, the latest end first."""
    rows = reader.execute(
        f"SELECT id FROM runs WHERE {ENDED_WITH_LABEL} ORDER BY finished DESC, seq DESC LIMIT ?", (label, limit)
    )
    return [str(identifier) for (identifier,) in rows]


def count_backlog(reader: Reader) -> BackgroundCounts:
    tallied = dict(reader.execute("SELECT status, n FROM tally WHERE status LIKE 'background %'"))
    active, queued = (tallied.get(f"{Source.BACKGROUND} {status}", 0) for status in (Status.RUNNING, Status.QUEUED))
    return BackgroundCounts(active=active, queued=queued, total=sum(tallied.values()))


def next_due_at(reader: Reader) -> int | None:
    found: Any = reader.execute(
        "SELECT min(run_at) FROM runs INDEXED BY runs_due WHERE status = 'queued' AND run_at IS NOT NULL"
    ).get
    return found  # type: ignore[no-any-return]


def count_totals(reader: Reader, since: int) -> GatewayCounts:
    now = dict(reader.execute("SELECT status, n FROM tally"))
    number: Any = reader.execute("SELECT count(*) FROM sessions").get
    return GatewayCounts(
        queued=now.get(Status.QUEUED, 0),
        running=now.get(Status.RUNNING, 0),
        ended=end_counts.count_ended(reader, since),
        sessions=number,
    )


def list_owners(reader: Reader) -> list[str]:
    rows = reader.execute(
        "SELECT owner FROM runs INDEXED BY runs_running WHERE status = 'running' AND owner IS NOT NULL"
        " UNION SELECT owner FROM processes"
    )
    return [owner for (owner,) in rows]


def find_cancel_requested(reader: Reader, ids: Sequence[str]) -> list[str]:
    if not ids:
        return []
    rows = reader.execute(
        "SELECT id FROM runs WHERE id IN (SELECT value FROM json_each(?)) AND status = 'running'"
        " AND cancel_requested = 1",
        (json.dumps(list(ids)),),
    )
    return [str(identifier) for (identifier,) in rows]
