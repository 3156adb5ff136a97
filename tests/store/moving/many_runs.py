"""A SQLite store with many runs: with events, labels, messages and changes, as they are after a long time."""

from __future__ import annotations

import contextlib
from pathlib import Path

from gateway.domain.times import wall_clock
from gateway.store.sqlite import opening
from tests.contracts.stores import START

_NUMBERS = "WITH RECURSIVE numbers (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < :count)"
_STATEMENTS = (
    f"""{_NUMBERS} INSERT INTO runs (seq, id, agent, session, source, spec, status, outcome, priority, attempt, epoch,
        last_event, result, usage, created, started, finished)
        SELECT i, printf('01HF7YAT00%016d', i), 'main', 'main:test:' || (i / 100), 'task',
        json_object('source', 'task', 'agent', 'main', 'session', 'main:test:' || (i / 100), 'input',
            'Look at the garden, and say what grows there: bed ' || i),
        'succeeded', 'completed', 0, 1, 1, 4, 'In bed ' || i || ' there are beans and one tomato.', '{{"input":100}}',
        :start + i, :start + i, :start + i FROM numbers""",
    f"{_NUMBERS} INSERT INTO labels SELECT 'n', i % 1000, i FROM numbers",
    f"""{_NUMBERS} INSERT INTO events SELECT i, n.value, :start + i, '{{"kind":"text","delta":"There are beans"}}'
        FROM numbers, json_each('[1,2,3,4]') AS n""",
    f"""{_NUMBERS} INSERT INTO changes (topic, ref, state, agent, session, at)
        SELECT 'run', printf('01HF7YAT00%016d', i), 'succeeded', 'main', 'main:test:' || (i / 100), :start + i
        FROM numbers, json_each('[1,2]') AS n""",
    f"""{_NUMBERS} INSERT INTO sessions (key, agent, channel, chat, touched, after_run, created, updated, last_n)
        SELECT 'main:test:' || (i - 1), 'main', 'test', i, i, 0, :start, :start, 200 FROM numbers
        WHERE i <= :count / 100 + 1""",
    f"""{_NUMBERS} INSERT INTO transcript (session, n, role, content, at, run)
        SELECT 'main:test:' || (i / 100), (i % 100) * 2 + n.value, iif(n.value, 'assistant', 'user'),
        'Look at the garden, and say what grows there: bed ' || i, :start + i, printf('01HF7YAT00%016d', i)
        FROM numbers, json_each('[0,1]') AS n""",
    "INSERT INTO tally VALUES ('succeeded', :count)",
    f"""{_NUMBERS} INSERT INTO end_counts SELECT (:start + i) / 60000 * 60000, 'succeeded',
        (:start + i) / 60000 * 60000 + 60000, count(*) FROM numbers GROUP BY 1""",
)


def make_store(path: Path, runs: int) -> None:
    """Make a store with so many runs that have ended."""
    with contextlib.closing(opening.open_writer(path, wall_clock)) as connection, opening.write_transaction(connection):
        for statement in _STATEMENTS:
            used = {"count": runs, "start": START}
            connection.execute(statement, {name: value for name, value in used.items() if f":{name}" in statement})
