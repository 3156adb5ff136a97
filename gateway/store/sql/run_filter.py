"""Finds the runs that a filter matches, by the index that leads to the fewest of them, and counts them in bounded work.

SQLite does not know how many runs have a status, an agent and so on; here the tally and short counts tell it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec.structs import replace

from gateway.domain.ids import make_first_ulid
from gateway.domain.reach import Reach
from gateway.domain.run import BatchAction, RunCounts, RunFilter, Status
from gateway.store.sql import run_text
from gateway.store.sql.conditions import Condition
from gateway.store.sql.reach import list_session_conditions, make_agent_condition, make_condition
from gateway.store.sql.transaction import Reader

#: runs of one index that are looked at to count; what lies beyond them is not counted
MAX_COUNTED_RUNS = 10_000
_BEYOND = MAX_COUNTED_RUNS + 1
_ALL_STATUSES = tuple(Status)
#: a stop is asked for once, and a run is repeated once
_OPEN_TO = {BatchAction.CANCEL: "cancel_requested = 0", BatchAction.RETRY: "retried = 0"}
_LABELS_OF_RUN = "labels INDEXED BY labels_run WHERE run = runs.seq"
#: the labels of one name and value are in the order of their runs; those of one name are not, and are sorted if they
#: are few, or else found among all labels in that order
_LABELS_BY_NAME, _LABELS_BY_RUN = "labels NOT INDEXED", "labels INDEXED BY labels_run"
_WAITS_FOR_PERSON = "EXISTS (SELECT 1 FROM permissions WHERE run = runs.seq AND answer IS NULL)"


class _Walk(NamedTuple):
    """How the runs that fulfil a condition are found, newest first."""

    #: what follows FROM
    source: str
    condition: str
    #: the column with the number of the run
    number: str


class _Clause(NamedTuple):
    """One condition of a filter."""

    text: str
    values: tuple[Any, ...]
    #: the index that finds the runs that fulfil it, newest first: what follows the table's name
    access: str
    #: runs that fulfil it, at most `MAX_COUNTED_RUNS` + 1
    size: int = 0
    #: another way to find them
    other_walk: _Walk | None = None

    @property
    def walk(self) -> _Walk:
        return self.other_walk or _Walk(f"runs {self.access}", self.text, "seq")


#: finds all runs
_ALL_RUNS = _Clause("TRUE", (), "")


class Selection(NamedTuple):
    """The numbers of the runs that a filter matches, newest first, as a statement without its limit."""

    statement: str
    values: tuple[Any, ...]


def select_runs(reader: Reader, which: RunFilter, before: int | None = None) -> Selection:
    """Return the selection of a filter.

    Args:
        before: only runs with lower numbers.
    """
    return _select(which, _list_clauses(reader, which, _find_text(reader, which)), before)


def _select(which: RunFilter, clauses: list[_Clause], before: int | None = None, extra: str = "TRUE") -> Selection:
    """Return the selection of the clauses of a filter, and of one more condition."""
    leader = _choose_leader(clauses)
    rest = [clause for clause in clauses if clause is not leader] + _list_bounds(which, before)
    conditions, values = _join(rest, extra)
    if leader is None or leader.access != "INDEXED BY runs_status":
        walk, given = (leader or _ALL_RUNS).walk, (leader or _ALL_RUNS).values
        return Selection(
            f"SELECT seq FROM {walk.source} WHERE {walk.condition} AND {conditions} ORDER BY {walk.number} DESC",
            (*given, *values),
        )
    # One walk a status, which are merged: the index orders the runs of each status, and not those of several.
    arms = [f"SELECT seq FROM runs {leader.access} WHERE status = ? AND {conditions}" for _ in which.statuses]
    everything = [value for status in which.statuses for value in (status, *values)]
    return Selection(f"{' UNION ALL '.join(arms)} ORDER BY seq DESC", tuple(everything))


def count_runs(reader: Reader, which: RunFilter) -> RunCounts:
    """Count the runs that a filter matches by status; its own statuses do not matter.

    At most `MAX_COUNTED_RUNS` rows are looked at for the filter, and as many for each status that has no more runs.
    """
    tallied: dict[Any, Any] = dict(reader.execute("SELECT status, n FROM tally"))
    sizes = {status: int(tallied.get(status, 0)) for status in _ALL_STATUSES}
    which = replace(which, statuses=())
    found = _find_text(reader, which)
    waiting = _count_waiting(reader, which, found)
    if which == RunFilter():
        return RunCounts(by_status=sizes, waiting_for_person=waiting, is_exact=True)
    clauses = _list_clauses(reader, which, found)
    leader = _choose_leader(clauses)
    seen, counts = _count_by(reader, leader, [clause for clause in clauses if clause is not leader], which)
    exact = seen <= MAX_COUNTED_RUNS
    if not exact:
        small = [status for status in _ALL_STATUSES if sizes[status] <= MAX_COUNTED_RUNS]
        for status in small:
            by_status = _Clause("status = ?", (status,), "INDEXED BY runs_status")
            counts[status] = _count_by(reader, by_status, clauses, which)[1][status]
        exact = len(small) == len(_ALL_STATUSES)
    return RunCounts(
        by_status=counts, waiting_for_person=waiting, is_exact=exact and (found is None or found.is_complete)
    )


def _count_by(
    reader: Reader, leader: _Clause | None, others: list[_Clause], which: RunFilter
) -> tuple[int, dict[Status, int]]:
    """Count by status among the newest runs that one clause finds. Returns also how many runs were looked at."""
    bounds, bound_values = _join(_list_bounds(which, None), "TRUE")
    conditions, values = _join(others, "TRUE")
    walk, given = (leader or _ALL_RUNS).walk, (leader or _ALL_RUNS).values
    walked = (
        f"SELECT seq FROM {walk.source} WHERE {walk.condition} AND {bounds} ORDER BY {walk.number} DESC LIMIT {_BEYOND}"
    )
    rows: Any = reader.execute(
        f"SELECT status, count(*), count(*) FILTER (WHERE {conditions}) FROM runs WHERE seq IN ({walked})"
        " GROUP BY status",
        (*values, *given, *bound_values),
    )
    counts, seen = dict.fromkeys(_ALL_STATUSES, 0), 0
    for status, looked_at, matching in rows:
        seen += looked_at
        counts[Status(status)] = int(matching)
    return seen, counts


def _count_waiting(reader: Reader, which: RunFilter, found: run_text.FoundText | None) -> int:
    """Return how many running runs of a filter wait for a person."""
    running = replace(which, statuses=(Status.RUNNING,))
    chosen = _select(running, _list_clauses(reader, running, found), extra=_WAITS_FOR_PERSON)
    counted: Any = reader.execute(
        f"SELECT count(*) FROM ({chosen.statement} LIMIT {_BEYOND}) AS counted", chosen.values
    ).get
    return int(counted)


def _find_text(reader: Reader, which: RunFilter) -> run_text.FoundText | None:
    return run_text.find_runs(reader, which.text) if which.text else None


def _list_clauses(reader: Reader, which: RunFilter, found: run_text.FoundText | None) -> list[_Clause]:
    """Return the conditions of a filter that an index finds; the time is none of them.

    Args:
        found: the runs that have the words of the filter, if it has any.
    """
    clauses = []
    if which.session is not None:
        clauses.append(_Clause("session = ?", (which.session,), "INDEXED BY runs_session"))
    if which.parent is not None:
        clauses.append(_Clause("parent = ?", (which.parent,), "INDEXED BY runs_parent"))
    if found is not None:
        listed = "[" + ",".join(map(str, found.seqs)) + "]"
        clauses.append(_Clause("seq IN (SELECT CAST(value AS INTEGER) FROM json_each(?))", (listed,), "NOT INDEXED"))
    return clauses + _list_counted_clauses(reader, which)


def _list_counted_clauses(reader: Reader, which: RunFilter) -> list[_Clause]:
    """Return the conditions that may find very many runs, with their sizes."""
    clauses = []
    if which.reach is not None:
        clauses.append(_make_reach_clause(reader, which.reach))
    if which.statuses:
        marks = ", ".join("?" * len(which.statuses))
        size: Any = reader.execute(f"SELECT sum(n) FROM tally WHERE status IN ({marks})", which.statuses).get
        clauses.append(
            _Clause(f"status IN ({marks})", which.statuses, "INDEXED BY runs_status", min(size or 0, _BEYOND))
        )
    for column in ("agent", "source"):
        if (value := getattr(which, column)) is not None:
            index = f"INDEXED BY runs_{column}"
            size = _count_at_most(reader, f"runs {index} WHERE {column} = ?", (value,))
            clauses.append(_Clause(f"{column} = ?", (value,), index, size))
    if which.label is not None:
        name, equals, value = which.label.partition("=")
        wanted, values = ("name = ? AND value = ?", (name, value)) if equals else ("name = ?", (name,))
        size = _count_at_most(reader, f"labels WHERE {wanted}", values)
        source = _LABELS_BY_NAME if equals or size < _BEYOND else _LABELS_BY_RUN
        walk = _Walk(f"{source} CROSS JOIN runs ON runs.seq = labels.run", wanted, "run")
        clauses.append(_Clause(f"EXISTS (SELECT 1 FROM {_LABELS_OF_RUN} AND {wanted})", values, "", size, walk))
    if which.open_to is not None:
        clauses.append(_Clause(_OPEN_TO[which.open_to], (), "", _BEYOND + 1))
    return clauses


def _make_reach_clause(reader: Reader, reach: Reach) -> _Clause:
    """Return the condition of the runs that a limited caller reaches.

    If they are few, the index of their sessions or agents finds them, and they are sorted; else all runs are walked.
    """
    agents, sessions = reach.agents, reach.sessions
    text, values = make_condition(reach)
    if sessions is not None:
        source, choices = "runs INDEXED BY runs_session", list_session_conditions(sessions)
    else:
        source, choices = "runs INDEXED BY runs_agent", [make_agent_condition(agents or ())]
    ways = [f"FROM {source} WHERE {one.text}" for one in choices or [Condition("FALSE")]]
    given = tuple(value for one in choices for value in one.values)
    size = _count_at_most(reader, f"({' UNION ALL '.join(f'SELECT 1 {way}' for way in ways)}) AS reached", given)
    if size == _BEYOND:
        return _Clause(text, values, "NOT INDEXED", _BEYOND + 1)
    seqs = f"seq IN ({' UNION '.join(f'SELECT seq {way}' for way in ways)})"
    is_both = agents is not None and sessions is not None
    found = f"{make_agent_condition(agents or ()).text} AND {seqs}" if is_both else seqs
    return _Clause(text, values, "", size, _Walk("runs NOT INDEXED", found, "seq"))


def _count_at_most(reader: Reader, selection: str, values: tuple[Any, ...]) -> int:
    found: Any = reader.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM {selection} LIMIT {_BEYOND}) AS counted", values
    ).get
    return int(found)


def _choose_leader(clauses: list[_Clause]) -> _Clause | None:
    """Return the clause that finds the fewest runs; of several that find very many, the one that comes first."""
    if not clauses:
        return None
    leader = min(clauses, key=lambda clause: clause.size)
    # All that have succeeded are nearly all that there are: another clause is better.
    if leader.values == (Status.SUCCEEDED,) and (others := [one for one in clauses if one.size == leader.size][1:]):
        return others[0]
    return leader


def _list_bounds(which: RunFilter, before: int | None) -> list[_Clause]:
    """Return the conditions that end a walk through the runs: numbers and ids of runs grow with time."""
    bounds = []
    if before is not None:
        bounds.append(_Clause("seq < ?", (before,), ""))
    first = "(SELECT seq FROM runs WHERE id >= ? ORDER BY id LIMIT 1)"
    if which.since is not None:
        bounds.append(_Clause(f"seq >= {first}", (make_first_ulid(which.since),), ""))
        bounds.append(_Clause("created >= ?", (which.since,), ""))
    if which.until is not None:
        bounds.append(_Clause(f"seq < coalesce({first}, {1 << 62})", (make_first_ulid(which.until),), ""))
        bounds.append(_Clause("created < ?", (which.until,), ""))
    return bounds


def _join(clauses: list[_Clause], extra: str) -> tuple[str, tuple[Any, ...]]:
    conditions = " AND ".join(clause.text for clause in clauses) or "TRUE"
    values = tuple(value for clause in clauses for value in clause.values)
    return (conditions if extra == "TRUE" else f"{conditions} AND {extra}"), values
