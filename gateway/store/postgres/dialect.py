"""What PostgreSQL says in its own words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.domain.delivery import WEBHOOK_KIND
from gateway.store.postgres import words
from gateway.store.postgres.connection import PostgresConnection, PostgresRows
from gateway.store.sql.dialect import Dialect
from gateway.store.sql.transaction import Connection, Rows

#: is the time of the server in milliseconds
SERVER_TIME = "floor(extract(epoch FROM clock_timestamp()) * 1000)"

_TARGETS = "json_document(spec) -> 'deliver'"
#: is true of a run that no worker was told to begin, and that one may: if its session is bound to a host, that runs its
#: agent and has a free place. Else it would take a place of its agent from runs that could begin elsewhere
_MAY_BE_DISPATCHED = """ AND dispatched = 0
AND CASE WHEN (SELECT host FROM sessions WHERE key = runs.session) IS NULL THEN true
ELSE (SELECT host FROM sessions WHERE key = runs.session) IN (
    SELECT host FROM (
        SELECT host, slots FROM nodes
        UNION ALL SELECT sessions.host, -1 FROM runs AS taking JOIN sessions ON key = taking.session
        WHERE (taking.status = 'running' OR taking.dispatched = 1) AND sessions.host IS NOT NULL
    ) AS places GROUP BY host HAVING sum(slots) > 0
) AND EXISTS (
    SELECT 1 FROM nodes, json_array_elements_text(agents::json) AS agent
    WHERE slots > 0 AND host = (SELECT host FROM sessions WHERE key = runs.session)
    AND agent = coalesce((SELECT base FROM agents WHERE id = runs.agent), runs.agent)
) END"""


def _insert(connection: Connection, statement: str, bindings: Any) -> int:
    number: int = connection.execute(f"{statement} RETURNING seq", bindings).get
    return number


def _update(connection: Connection, statement: str, bindings: Any) -> Callable[[], bool]:
    rows: PostgresRows = connection.execute(statement, bindings)  # type: ignore[assignment]
    return lambda: rows.count_changes() > 0


def _count_writes(connection: Connection) -> int:
    count: int = connection.count_writes()  # type: ignore[attr-defined]
    return count


def _stream(connection: Connection, statement: str, bindings: Any) -> Rows:
    assert isinstance(connection, PostgresConnection)
    return connection.stream(statement, bindings)


POSTGRES = Dialect(
    last_change="SELECT max(seq) FROM changes",
    database_size="SELECT pg_database_size(current_database())",
    scheduled_webhooks=f"""
SELECT schedules.id, coalesce(json_extract(spec, '$.name'), ''), target ->> 'address'
FROM schedules, json_array_elements(
    CASE json_typeof({_TARGETS}) WHEN 'array' THEN {_TARGETS} ELSE '[]'::json END) AS target
WHERE enabled = 1 AND json_typeof(target) = 'object' AND target ->> 'kind' = '{WEBHOOK_KIND}'
    AND (target ->> 'trusted') IS DISTINCT FROM 'true'
ORDER BY schedules.seq LIMIT ?
""",
    has_label="(json_document(spec) -> 'labels' ->> ?) IS NOT NULL",
    takes_place="(status = 'running' OR dispatched = 1)",
    not_dispatched=_MAY_BE_DISPATCHED,
    dispatches=True,
    is_abandoned=f" AND (owner IS NULL OR owner NOT IN (SELECT name FROM nodes WHERE lease > {SERVER_TIME}))",
    on_this_host=" AND host = current_setting('moongate.host')",
    stream=_stream,
    insert=_insert,
    update=_update,
    count_writes=_count_writes,
    answers_late=True,
    may_hide_rows=False,
    search_messages=words.search_messages,
    find_runs_of_messages=words.find_runs_of_messages,
    index_messages=words.index_messages,
    reindex_message_batch=words.reindex_message_batch,
)
