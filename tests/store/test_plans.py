"""No frequent query scans a whole table."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from gateway.domain.budget import Budget
from gateway.domain.delivery import DeliveryFilter, DeliveryStatus, Target
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.reach import Reach
from gateway.domain.run import RunFilter, Source, Status
from gateway.domain.schedule import FirePlan, PlannedRun, Schedule, ScheduleSpec
from gateway.domain.search import SearchQuery, SearchTerm
from gateway.domain.session import SessionFilter
from gateway.errors import DeliveryNotFound
from gateway.store.sql import lanes, run_filter, sessions
from gateway.store.sql.readers import TimeLimit
from gateway.store.sqlite import opening
from gateway.store.sqlite.database import SqliteDatabase
from gateway.store.sqlite.store import SqliteStore
from tests.contracts.stores import LIMITS, TRIED, SteppedClock, claim_one, finish, spec

#: tables that grow; the others stay small
LARGE = re.compile(
    r"SCAN (runs|events|permissions|sessions|deliveries|delivery_attempts|transcript|labels|changes|idempotency)\b"
    r"(?! USING (COVERING )?INDEX)"
)

TARGET = Target(kind="webhook", address="http://127.0.0.1/")

#: indexes with every run that is stored: a list may walk them, a move may not
HISTORY = re.compile(r"USING INDEX runs_(status|agent|session)\b")


class Plans:
    """The query plans that SQLite used."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, connection: apsw.Connection, statement: str, bindings: object) -> bool:
        verb = statement.split(maxsplit=1)[0]
        if verb in ("SELECT", "UPDATE", "DELETE", "INSERT"):
            plan = opening.open_reader(Path(connection.filename))  # it plans as all connections of the store do
            rows = plan.execute(f"EXPLAIN QUERY PLAN {statement}", bindings)  # type: ignore[arg-type]
            self.lines += [f"{row[3]}   -- {statement}" for row in rows]
            plan.close()
        return True

    @contextmanager
    def noted(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        self.lines.clear()
        with monkeypatch.context() as patch:
            patch.setattr(SqliteDatabase, "_run_query", self._read(SqliteDatabase._run_query))
            yield

    def _read(self, inner: Any) -> Any:
        def read(database: SqliteDatabase, query: Any, connection: apsw.Connection, limit: TimeLimit) -> Any:
            connection.exec_trace = lambda cursor, sql, bindings: self.note(connection, sql, bindings)
            try:
                return inner(database, query, connection, limit)
            finally:
                connection.exec_trace = None

        return read


@pytest.fixture
def plans() -> Plans:
    return Plans()


async def test_no_write_scans_a_whole_table(store: SqliteStore, plans: Plans) -> None:
    writer = store._database._connection
    writer.exec_trace = lambda cursor, sql, bindings: plans.note(writer, sql, bindings)
    key = IdempotencyKey(scope="s", key="k", digest="d")

    accepted = await store.runs.accept(spec(labels={"a": "b"}, deliver=(TARGET,)), key)
    await store.runs.accept(spec(run_at=1 << 50))
    run = await claim_one(store)
    await store.events.append(run.id, run.epoch, [])
    await store.runs.requeue(run.id, run.epoch, "why")
    await finish(store, await claim_one(store))
    await store.owners.rescue_runs("owner")
    for delivery in await store.deliveries.take_due(10, 1):
        dead = msgspec.structs.replace(delivery, status=DeliveryStatus.DEAD, finished=1)
        await store.deliveries.record_attempt(dead, TRIED)
        await store.deliveries.retry(delivery.id)
    await store.deliveries.release_in_flight()
    await store.sessions.open_empty("main", "test", "fresh")
    await store.sessions.delete(accepted.run.spec.session, force=True)
    await store.retention.prune_expired()
    await store.retention.prune_events(1 << 50, None)
    await store.retention.prune_dead_letters(1 << 50)
    await store.retention.prune_runs(1 << 50)
    await store.retention.prune_sessions(1 << 50)
    writer.exec_trace = None

    assert len(plans.lines) > 20
    assert [line for line in plans.lines if LARGE.search(line) or HISTORY.search(line)] == []


async def test_a_fire_finds_the_earlier_runs_of_its_schedule_by_an_index(store: SqliteStore, plans: Plans) -> None:
    schedule = Schedule(
        id="s",
        spec=ScheduleSpec(expression="every 1m", input="wake"),
        anchor=0,
        next_at=60_000,
        created=0,
        updated=0,
    )
    due = await store.schedules.create(schedule)
    writer = store._database._connection
    writer.exec_trace = lambda cursor, sql, bindings: plans.note(writer, sql, bindings)
    work = msgspec.structs.replace(spec(labels={"schedule": "s"}), source=Source.CRON)
    runs = tuple(PlannedRun(time=time, spec=work) for time in (60_000, 120_000))
    await store.schedules.fire(FirePlan(schedule=due, runs=runs, next_at=180_000))
    writer.exec_trace = None

    assert [line for line in plans.lines if LARGE.search(line) or HISTORY.search(line)] == []
    assert [line for line in plans.lines if "runs_of_schedule (<expr>=?)" in line]


async def test_a_claim_reads_only_indexes(store: SqliteStore, plans: Plans) -> None:
    await store.runs.accept(spec())
    writer = store._database._connection
    writer.exec_trace = lambda cursor, sql, bindings: plans.note(writer, sql, bindings)
    await store.runs.claim("owner", LIMITS)
    writer.exec_trace = None

    used = " ".join(plans.lines)
    assert {"runs_ready", "runs_running", "runs_due"} <= set(re.findall(r"INDEX (runs_\w+)", used))
    assert "TEMP B-TREE" not in used
    assert "FROM usage" not in used


async def test_a_claim_with_budgets_reads_only_indexes(store: SqliteStore, plans: Plans) -> None:
    budget = Budget(runs=9, tokens=9, cost=9.0)
    for name in "ab":
        wanted = spec(f"main:test:{name}", labels={"schedule": "s"}, budget=budget)
        await store.runs.accept(msgspec.structs.replace(wanted, source=Source.CRON))
    writer = store._database._connection
    writer.exec_trace = lambda cursor, sql, bindings: plans.note(writer, sql, bindings)
    first, *_ = await store.runs.claim("owner", msgspec.structs.replace(LIMITS, budgets={"main": budget}))
    await finish(store, first)
    writer.exec_trace = None

    used = " ".join(plans.lines)
    assert "USING INDEX usage_schedule" in used
    assert [line for line in plans.lines if LARGE.search(line) or line.startswith("SCAN usage")] == []


async def test_no_list_scans_or_sorts_a_whole_table(
    store: SqliteStore, plans: Plans, monkeypatch: pytest.MonkeyPatch
) -> None:
    filters = [
        RunFilter(),
        RunFilter(statuses=(Status.FAILED,)),
        RunFilter(agent="main"),
        RunFilter(session="main:test:a"),
        RunFilter(label="a=b"),
        RunFilter(since=1),
        RunFilter(until=1),
        RunFilter(source=Source.CRON),
        RunFilter(parent="x"),
        RunFilter(statuses=(Status.FAILED, Status.CANCELLED), agent="main", since=1, until=9),
        RunFilter(text=(SearchTerm("a"),)),
    ]
    with plans.noted(monkeypatch):
        for which in filters:
            for page in (Page(), Page(before=10)):
                await store.runs.list(which, page)
        await store.sessions.list(Page())
        await store.sessions.list(Page(before=10))
        await store.sessions.list(Page(), SessionFilter(agent="main", channel="test", words="a"))
        await store.sessions.list(Page(), SessionFilter(channel="test", words="a"))
        await store.sessions.read_history("main:test:a", 50)
        await store.sessions.search(SearchQuery(terms=(SearchTerm("a"),), session="main:test:a", agent="main"), Page())
        await store.events.read_after("x", 0, 100)
        await store.events.read_changes_after(0, 100)
        for wanted in (DeliveryFilter(), DeliveryFilter(status=DeliveryStatus.DEAD), DeliveryFilter(run="x")):
            await store.deliveries.list(wanted, Page(before=10))
        await store.deliveries.list_attempts("x")
        await store.deliveries.read_channel_sends(["telegram"], 30)
        await store.runs.list_ended(["main"], 30)
        await store.schedules.list_last_fires(Page(before=10), 30)
        for waiting in (None, True, False):
            await store.permissions.list_all(waiting, Page(before=10))

    assert len(plans.lines) > 20
    # A list of all runs walks the table from its end, and stops at its limit.
    whole = [line for line in plans.lines if LARGE.search(line) and "WHERE TRUE" not in line]
    assert whole == []
    assert [line for line in plans.lines if "TEMP B-TREE" in line] == []


@pytest.mark.parametrize(
    ("which", "index"),
    [
        (RunFilter(session="main:test:a", statuses=(Status.FAILED,)), "runs_session"),
        (RunFilter(session="main:test:a", source=Source.TASK), "runs_session"),
        (RunFilter(parent="x", statuses=(Status.FAILED, Status.CANCELLED)), "runs_parent"),
        (RunFilter(session="main:test:a", label="a=b"), "runs_session"),
        (RunFilter(agent="main", statuses=(Status.CANCELLED,)), "runs_status"),
        (RunFilter(agent="main", source=Source.CRON), "runs_source"),
        (RunFilter(agent="other", statuses=(Status.SUCCEEDED,)), "runs_agent"),
        (RunFilter(agent="main", statuses=(Status.CANCELLED, Status.FAILED)), "runs_status"),
    ],
    ids=str,
)
async def test_a_list_with_two_filters_walks_the_shorter_index(
    store: SqliteStore, plans: Plans, monkeypatch: pytest.MonkeyPatch, which: RunFilter, index: str
) -> None:
    for _ in range(3):
        await store.runs.accept(spec())
        await finish(store, await claim_one(store))
    with plans.noted(monkeypatch):
        await store.runs.list(which, Page())

    listing = [line for line in plans.lines if "json_set" in line]
    assert set(re.findall(r"INDEX (runs_\w+)", " ".join(line.partition("--")[0] for line in listing))) == {index}
    assert [line for line in listing if "TEMP B-TREE" in line.partition("--")[0]] == []


@pytest.mark.parametrize(
    ("label", "counted", "walked"),
    [
        ("a=b", 1000, "SEARCH labels USING PRIMARY KEY (name=? AND value=?)"),
        ("a=b", 1, "SEARCH labels USING PRIMARY KEY (name=? AND value=?)"),
        ("a", 1000, "SEARCH labels USING PRIMARY KEY (name=?)"),
        ("a", 1, "SCAN labels USING COVERING INDEX labels_run"),
    ],
)
async def test_labelled_runs_are_walked_newest_first(
    store: SqliteStore, plans: Plans, monkeypatch: pytest.MonkeyPatch, label: str, counted: int, walked: str
) -> None:
    monkeypatch.setattr(run_filter, "_BEYOND", counted + 1)
    monkeypatch.setattr(run_filter, "MAX_COUNTED_RUNS", counted)
    made = [await store.runs.accept(spec(labels={"a": "b", "c": "d"})) for _ in range(3)]
    await store.runs.accept(spec(labels={"c": "b"}))
    with plans.noted(monkeypatch):
        listed = await store.runs.list(RunFilter(label=label), Page())
        both = await store.runs.list(RunFilter(label=label, session="main:test:a"), Page(before=3))

    assert [run.seq for run in listed] == [one.run.seq for one in reversed(made)]
    assert [run.seq for run in both] == [2, 1]
    listing = [line.partition("   --")[0] for line in plans.lines if "json_set" in line]
    assert walked in listing
    assert ("USE TEMP B-TREE FOR ORDER BY" in listing) == ("(name=?)" in walked)


@pytest.mark.parametrize(
    ("reach", "index"),
    [
        (Reach(sessions=("main:test:a*",)), "runs_session (session>? AND session<?)"),
        (Reach(sessions=("main:test:a*", "main:test:ab*", "main:test:a")), "runs_session (session=?)"),
        (Reach(agents=("main",), sessions=("main:test:a*",)), "runs_session (session>? AND session<?)"),
        (Reach(agents=("main",)), "runs_agent (agent=?)"),
    ],
    ids=str,
)
async def test_a_limited_caller_finds_its_few_runs_by_an_index(
    store: SqliteStore, plans: Plans, monkeypatch: pytest.MonkeyPatch, reach: Reach, index: str
) -> None:
    for session in ("main:test:a", "other:test:a", "main:test:ab", "main:test:a"):
        await store.runs.accept(spec(session))
    which = RunFilter(reach=reach)
    with plans.noted(monkeypatch):
        few = await store.runs.list(which, Page())
    listing = [line.partition("   --")[0] for line in plans.lines if "json_set" in line]
    monkeypatch.setattr(run_filter, "_BEYOND", 2)
    with plans.noted(monkeypatch):
        many = await store.runs.list(which, Page())
    walking = [line.partition("   --")[0] for line in plans.lines if "json_set" in line]

    assert [run.seq for run in few] == [run.seq for run in many] == [4, 3, 1]
    assert f"SEARCH runs USING COVERING INDEX {index}" in listing
    assert [line for line in listing if "SCAN runs" in line] == []
    assert "SCAN runs" in walking
    assert [line for line in walking if "TEMP B-TREE" in line] == []


async def test_the_use_of_a_session_does_not_write_the_index_that_finds_it_by_its_chat(
    store: SqliteStore, plans: Plans, monkeypatch: pytest.MonkeyPatch
) -> None:
    for agent in ("main", "other", "main"):
        await store.runs.accept(spec(f"{agent}:test:a"))
    with plans.noted(monkeypatch):
        found = await store.sessions.find_newest("a")
    names = "SELECT name FROM pragma_index_info('sessions_of_chat')"
    columns: Any = await store._database.read(lambda reader: reader.execute(names).fetchall())

    assert found is not None
    assert found.key == "main:test:a"
    assert "SEARCH sessions USING INDEX sessions_of_chat (chat=?)" in " ".join(plans.lines)
    assert columns == [("chat",)]


async def test_a_filter_of_sessions_reads_the_table_in_its_own_order_after_the_newest(
    store: SqliteStore, plans: Plans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS_IN_ORDER", 2)
    for chat in "abcdef":
        await store.runs.accept(spec(f"{'main' if chat in 'bdf' else 'other'}:test:{chat}"))
    filters = [SessionFilter(agent="main"), SessionFilter(channel="test"), SessionFilter(words=":test:")]
    with plans.noted(monkeypatch):
        pages = [[one.key[-1] for one in await store.sessions.list(Page(limit=3), which)] for which in filters]
        none = await store.sessions.list(Page(), SessionFilter(agent="nobody"))
        used = plans.lines.copy()
        plans.lines.clear()
        everything = [one.key[-1] for one in await store.sessions.list(Page())]

    assert pages == [["f", "d", "b"], ["f", "e", "d"], ["f", "e", "d"]]
    assert (none, everything) == ([], list("fedcba"))
    assert [line for line in used if line.startswith("SEARCH sessions USING PRIMARY KEY (key>? AND key<?)")]
    assert [line for line in plans.lines if "TEMP B-TREE" in line or "PRIMARY KEY (key>" in line] == []


async def test_counting_and_finding_use_indexes(
    store: SqliteStore, plans: Plans, monkeypatch: pytest.MonkeyPatch, clock: SteppedClock
) -> None:
    await store.runs.accept(spec())
    await finish(store, await claim_one(store))
    with plans.noted(monkeypatch):
        await store.runs.count_totals(clock.now)
        await store.owners.list()
        await store.sessions.find("main:test:a")
        await store.runs.next_due_at()
        await store.deliveries.next_due_at(0)
        await store.deliveries.count_undelivered()
        await store.runs.count_backlog()
        with pytest.raises(DeliveryNotFound):
            await store.deliveries.get("x")

    assert [line for line in plans.lines if HISTORY.search(line)] == []
    assert "runs_finished" in " ".join(plans.lines)
    assert [line for line in plans.lines if LARGE.search(line)] == []


async def test_whole_minutes_of_ended_runs_are_counted_without_a_look_at_the_runs(
    store: SqliteStore, plans: Plans, monkeypatch: pytest.MonkeyPatch, clock: SteppedClock
) -> None:
    await store.runs.accept(spec())
    await finish(store, await claim_one(store))
    with plans.noted(monkeypatch):
        counted = await store.runs.count_totals(clock.now // 60_000 * 60_000)

    assert counted.ended["succeeded"] == 1
    assert [line for line in plans.lines if "FROM runs" in line] == []


def test_a_row_that_is_deleted_finds_the_rows_that_refer_to_it_by_an_index(tmp_path: Path) -> None:
    path = tmp_path / "moongate.db"
    opening.open_writer(path, lambda: 0).close()
    scans: list[str] = []
    with contextlib.closing(opening.open_reader(path)) as connection:
        keys: Any = connection.execute(
            "SELECT name, key.\"from\" FROM sqlite_schema, pragma_foreign_key_list(name) AS key WHERE type = 'table'"
        ).fetchall()
        for table, column in keys:
            plan = connection.execute(f"EXPLAIN QUERY PLAN SELECT 1 FROM {table} WHERE {column} = ?", ("x",))
            scans += [f"{table}.{column}" for *_, step in plan if "SCAN" in str(step)]

    assert ("labels", "run") in keys
    assert scans == []


@pytest.mark.parametrize("reads_only", [False, True])
def test_a_statement_is_planned_once_and_not_for_each_value(tmp_path: Path, reads_only: bool) -> None:
    path = tmp_path / "moongate.db"
    asked: list[object] = []  # SQLite asks whether a statement is allowed when it plans it

    def allow(*what: object) -> int:
        asked.append(what)
        return apsw.SQLITE_OK

    with contextlib.closing(opening.open_writer(path, lambda: 0)) as connection, contextlib.ExitStack() as opened:
        if reads_only:
            connection = opened.enter_context(contextlib.closing(opening.open_reader(path)))
        connection.authorizer = allow
        counts = []
        for session in ("main:test:1", "main:test:2", "main:test:3"):
            connection.execute(
                f"SELECT seq FROM {lanes.OPEN_RUNS_OF_SESSION} ORDER BY seq LIMIT 1", (session,)
            ).fetchall()
            counts.append(len(asked))
        connection.authorizer = None

    assert counts[0] > 0
    assert counts == [counts[0]] * 3
