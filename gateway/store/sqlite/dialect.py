"""What SQLite says in its own words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gateway.domain.delivery import WEBHOOK_KIND
from gateway.store.sql.dialect import Dialect
from gateway.store.sqlite import search

if TYPE_CHECKING:
    from gateway.domain.session import Message
    from gateway.store.sql.transaction import Connection, Rows, Transaction

SCHEDULED_WEBHOOKS = f"""
SELECT schedules.id, coalesce(json_extract(spec, '$.name'), ''), json_extract(target.value, '$.address')
FROM schedules, json_each(iif(json_valid(spec), spec, '{{}}'), '$.deliver') AS target
WHERE enabled = 1 AND spec GLOB '*"{WEBHOOK_KIND}"*'
    AND iif(target.type = 'object', json_extract(target.value, '$.kind'), NULL) = '{WEBHOOK_KIND}'
    AND iif(target.type = 'object', json_extract(target.value, '$.trusted'), 1) IS NOT 1
ORDER BY schedules.seq LIMIT ?
"""


def _insert(connection: Connection, statement: str, bindings: Any) -> int:
    """Insert one row. To ask for its number is cheaper than RETURNING, which takes two steps."""
    connection.execute(statement, bindings)
    number: int = connection.last_insert_rowid()  # type: ignore[attr-defined]
    return number


def _update(connection: Connection, statement: str, bindings: Any) -> Callable[[], bool]:
    connection.execute(statement, bindings)
    is_found = connection.changes() > 0
    return lambda: is_found


def _stream(connection: Connection, statement: str, bindings: Any) -> Rows:
    """Do what is done with each statement: SQLite makes a row when it is asked for."""
    return connection.execute(statement, bindings)


def _index_messages(tx: Transaction, session: str, first: int, said: Sequence[Message]) -> None:
    """Do nothing: triggers index each message."""


SQLITE = Dialect(
    last_change="SELECT seq FROM sqlite_sequence WHERE name = 'changes'",
    database_size="SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
    scheduled_webhooks=SCHEDULED_WEBHOOKS,
    has_label="iif(json_valid(spec), json_type(spec, '$.labels.' || json_quote(?)), NULL) IS NOT NULL",
    takes_place="status = 'running'",
    not_dispatched="",
    dispatches=False,
    is_abandoned="",
    on_this_host="",
    stream=_stream,
    insert=_insert,
    update=_update,
    count_writes=lambda connection: connection.total_changes(),
    answers_late=False,
    may_hide_rows=True,
    search_messages=search.search_messages,
    find_runs_of_messages=search.find_runs_of_messages,
    index_messages=_index_messages,
    reindex_message_batch=search.reindex_message_batch,
)
