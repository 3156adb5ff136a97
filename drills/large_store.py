"""Makes a store with very many runs in little time: what the store has written is copied many times, by SQL.

The copies are rows as the store writes them, with other numbers, ids, sessions and times. Nothing here knows more of
the schema than the columns that have these: a column that is added later is copied as it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import apsw

from gateway.domain.ids import make_ulid
from gateway.store.sqlite import opening

#: kilobytes of the page cache while a store is made: its indexes are written in memory
CACHE_KILOBYTES = 1 << 20

#: the number of rows that are copied, as parameters of the statements, and the numbers that later rows have
_COUNTED = {"runs": "max(seq)", "sessions": "max(touched)", "transcript": "max(id)"}
_NUMBER = "{0} + :copy * :runs"
_KEY = "{0} || '.' || :copy"
_TIME = "{0} + :copy * :later"
#: the text of a run has its number: see `much.make_spec`
_INPUT = (
    "replace(json_extract(spec, '$.input'), ' ' || (seq - 1) || '?', ' ' || (seq - 1 + :copy * :runs) || '?')"
)  # fmt: skip
_COPIED_RUN = "FROM runs WHERE seq = :copy * :runs + (SELECT seq FROM runs WHERE id = run)"

#: the rows that are copied, and what a copy has in place of what is in a column
_COPIES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "sessions": (
        "touched <= :sessions",
        {
            "key": _KEY,
            "chat": _KEY,
            "touched": "{0} + :copy * :sessions",
            "after_run": _NUMBER,
            "created": _TIME,
            "updated": _TIME,
        },
    ),
    "runs": (
        "seq <= :runs",
        {
            "seq": _NUMBER,
            "id": "make_ulid(created + :copy * :later)",
            "session": _KEY,
            "spec": f"json_set({{0}}, '$.session', session || '.' || :copy, '$.input', {_INPUT})",
            "created": _TIME,
            "started": _TIME,
            "finished": _TIME,
        },
    ),
    "events": ("run <= :runs", {"run": _NUMBER, "at": _TIME}),
    "labels": ("run <= :runs", {"run": _NUMBER}),
    "transcript": (
        "id <= :transcript",
        {
            "id": "{0} + :copy * :transcript",
            "session": _KEY,
            "content": f"iif(role = 'user', (SELECT json_extract(spec, '$.input') {_COPIED_RUN}), {{0}})",
            "at": _TIME,
            "run": f"(SELECT id {_COPIED_RUN})",
        },
    ),
}


def multiply_store(database: Path, copies: int, later: int) -> None:
    """Copy all runs of a store that is not open, with their events, labels, sessions and transcripts.

    Args:
        copies: how many times there is everything at the end.
        later: milliseconds by which each copy is later than the one before.
    """
    with contextlib.closing(apsw.Connection(str(database))) as connection:
        opening.add_functions(connection)
        connection.create_scalar_function("make_ulid", make_ulid, 1)
        for setting in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{CACHE_KILOBYTES}"):
            connection.execute(f"PRAGMA {setting}")
        with connection:
            dropped = _drop_derived(connection)
            counts = {table: connection.execute(f"SELECT {top} FROM {table}").get for table, top in _COUNTED.items()}  # noqa: S608
            for table in _COPIES:
                for copy in range(1, copies):
                    _copy_rows(connection, table, counts | {"copy": copy, "later": later})
            for statement in dropped:
                connection.execute(statement)
            _count_again(connection, copies)
        connection.execute("PRAGMA journal_mode = WAL")


def _drop_derived(connection: apsw.Connection) -> list[str]:
    """Drop indexes and triggers, which are slow to keep for each row. Returns the statements that make them again."""
    found: Any = connection.execute(
        "SELECT type, name, sql FROM sqlite_schema WHERE type IN ('index', 'trigger') AND sql IS NOT NULL"
        " ORDER BY rowid"
    ).fetchall()
    for kind, name, _ in found:
        connection.execute(f'DROP {kind} "{name}"')
    return [sql for _, _, sql in found]


def _copy_rows(connection: apsw.Connection, table: str, values: Mapping[str, Any]) -> None:
    which, changed = _COPIES[table]
    columns = [str(name) for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))]
    copied = ", ".join(changed.get(name, "{0}").format(name) for name in columns)
    used = {name: value for name, value in values.items() if f":{name}" in f"{copied} {which}"}
    connection.execute(f"INSERT INTO {table} ({', '.join(columns)}) SELECT {copied} FROM {table} WHERE {which}", used)  # noqa: S608


def _count_again(connection: apsw.Connection, copies: int) -> None:
    """Bring up to date what is counted and indexed."""
    connection.execute("UPDATE tally SET n = n * ?", (copies,))
    connection.execute("INSERT INTO words (words) VALUES ('rebuild')")
    connection.execute("DELETE FROM end_counts")
    connection.execute(
        "INSERT INTO end_counts SELECT finished / 60000 * 60000, status, finished / 60000 * 60000 + 60000, count(*)"
        " FROM runs WHERE finished IS NOT NULL GROUP BY finished / 60000, status"
    )
