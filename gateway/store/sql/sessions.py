"""Sessions and their transcripts."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from gateway.domain.file import File
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.reach import Reach
from gateway.domain.run import Run, SessionStart, Status
from gateway.domain.session import ALL_SESSIONS, Message, Role, Session, SessionFilter, SessionKey
from gateway.domain.unreadable import RowKind
from gateway.store.sql import event_log, files, idempotency, workspaces
from gateway.store.sql.bounded import LimitedRows
from gateway.store.sql.reach import make_condition
from gateway.store.sql.transaction import Reader, Rows, Transaction
from gateway.store.sql.unreadable import decode_rows, fetch_row

_SELECT_SESSION = (
    "SELECT key, agent, channel, chat, title, backend_ref, last_n,"
    " (SELECT count(*) FROM runs INDEXED BY runs_lane"
    " WHERE session = sessions.key AND status IN ('queued', 'running')),"
    " created, updated, touched FROM sessions"
)
#: the number of the next use of a session
_NEXT_USE = "(SELECT coalesce(max(touched), 0) + 1 FROM sessions)"
#: characters that mean something in a pattern of LIKE
_LIKE_MARKS, _ESCAPED = re.compile(r"([\\%_])"), r"\\\1"
_encode_json = msgspec.json.Encoder().encode
_decode_files = msgspec.json.Decoder(tuple[File, ...]).decode
#: characters of the first message that become a session's title
MAX_TITLE_CHARACTERS = 80
#: characters of it that are looked at: what begins with many spaces is rare
MAX_READ_FOR_TITLE = 1000
#: sessions that a list with a filter looks at in the order of their last use, before it reads all the others
MAX_SESSIONS_IN_ORDER = 1000
#: messages that one statement writes: SQLite limits the values of a statement
MAX_MESSAGES_PER_INSERT = 500
#: characters after which a history ends, counted from its newest message
MAX_HISTORY_BYTES = 8 << 20


def _decode_session(row: Sequence[Any]) -> Session:
    key, agent, channel, chat, title, backend_ref, last_n, active, created, updated, touched = row
    return Session(
        key=key,
        agent=agent,
        channel=channel,
        chat=chat,
        title=title,
        backend_ref=backend_ref,
        message_count=last_n,
        active_runs=active,
        created=created,
        updated=updated,
        last_use_order=touched,
    )


def touch_session(tx: Transaction, key: str, first_words: str = "") -> None:
    """Create a session, or mark it as used now.

    Args:
        first_words: the text that becomes its title if it has none.
    """
    touch = begin_touch(tx, key, first_words)
    if not touch.is_found():
        last_run: Any = tx.execute("SELECT coalesce(max(seq), 0) FROM runs").get
        create_touched(tx, touch, after_run=last_run)


class Touch(NamedTuple):
    """A session that is marked as used now."""

    key: str
    title: str
    #: tells whether it was there
    is_found: Callable[[], bool]


def begin_touch(tx: Transaction, key: str, first_words: str) -> Touch:
    """Mark a session as used now, if it is there."""
    title = _shorten_title(first_words)
    is_found = tx.update(
        f"UPDATE sessions SET updated = ?, touched = {_NEXT_USE}, title = iif(title = '', ?, title) WHERE key = ?",
        (tx.now, title, key),
    )
    return Touch(key, title, is_found)


def create_touched(tx: Transaction, touch: Touch, *, after_run: int) -> None:
    """Create the session that was not there.

    Args:
        after_run: number of the last run that does not belong to it.
    """
    parts = SessionKey.parse_key(touch.key)
    assert parts is not None, "the API makes session keys"
    tx.execute(
        "INSERT INTO sessions (key, agent, channel, chat, title, touched, after_run, created, updated)"
        f" VALUES (?, ?, ?, ?, ?, {_NEXT_USE}, ?, ?, ?)",
        (touch.key, *parts, touch.title, after_run, tx.now, tx.now),
    )
    event_log.note_session(tx, touch.key, parts.agent, "created")


def take_in_run(tx: Transaction, run: Run) -> None:
    """Let a run that begins belong to the session of its key that is there now, even if its own one was deleted.

    It may be older if it was held or set aside, or has the number of a removed run. As no other run of the session
    is running, only those that a deletion has asked to stop belong to none.
    """
    tx.update("UPDATE sessions SET after_run = ?1 - 1 WHERE key = ?2 AND after_run >= ?1", (run.seq, run.spec.session))


def open_session(tx: Transaction, session: SessionKey, key: IdempotencyKey | None = None) -> Session:
    earlier = idempotency.find_used(tx, key)
    if earlier is None:
        touch_session(tx, str(session))
        idempotency.save_key(tx, key, str(session))
    found = find_session(tx, earlier or str(session))
    if found is None:  # deleted since: the same request creates it again
        touch_session(tx, str(session))
        found = find_session(tx, str(session))
    assert found is not None
    return found


def open_empty_session(
    tx: Transaction, agent: str, channel: str, chat: str, key: IdempotencyKey | None = None
) -> Session:
    """Return the newest unused session of the agent's channel; else create one with that chat name."""
    row = tx.execute(
        "SELECT chat FROM sessions WHERE agent = ? AND channel = ? AND last_n = 0 AND title = '' AND NOT EXISTS"
        " (SELECT 1 FROM runs WHERE runs.session = sessions.key) ORDER BY touched DESC LIMIT 1",
        (agent, channel),
    ).fetchone()
    return open_session(tx, SessionKey(agent, channel, str(row[0]) if row else chat), key)


def rename_session(tx: Transaction, key: str, title: str) -> Session | None:
    """Give a session a title, which no message replaces. Returns None if there is no such session."""
    found = find_session(tx, key)
    if found is None or found.title == title:
        return found
    tx.execute("UPDATE sessions SET title = ? WHERE key = ?", (title, key))
    event_log.note_session(tx, key, found.agent, "renamed")
    return msgspec.structs.replace(found, title=title)


def delete_session(tx: Transaction, key: str) -> bool:
    found = find_session(tx, key)
    if found is None:
        return False
    tx.execute("DELETE FROM sessions WHERE key = ?", (key,))
    workspaces.release_workspace(tx, key)
    event_log.note_session(tx, key, found.agent, "deleted")
    return True


def set_backend_ref(tx: Transaction, run: Run, backend_ref: str) -> None:
    tx.execute(
        "UPDATE sessions SET backend_ref = ? WHERE key = ? AND after_run < ?", (backend_ref, run.spec.session, run.seq)
    )


def find_last_message(reader: Reader, run: Run) -> int | None:
    """Return the number of the last message of a run's session; None if the session was deleted."""
    last: int | None = reader.execute(
        "SELECT last_n FROM sessions WHERE key = ? AND after_run < ?", (run.spec.session, run.seq)
    ).get
    return last


def write_transcript(tx: Transaction, run: Run, last: int | None, *, refused: bool = False) -> None:
    """Add an ended run's messages to its session's transcript; nothing for a cancelled run or a deleted session.

    Args:
        last: what `find_last_message` returns.
        refused: whether the model refused the last prompt.
    """
    if run.status is not Status.CANCELLED:
        write_round(tx, run, last, run.rounds or 1, run.result, run.files, refused=refused)


def write_round(
    tx: Transaction,
    run: Run,
    last: int | None,
    number: int,
    reply: str | None,
    made: Sequence[File] = (),
    *,
    refused: bool = False,
) -> None:
    """Add the prompt and the reply of one round to the transcript, unless the session was deleted.

    Args:
        last: what `find_last_message` returns.
        made: the files that go with the reply: all of a run go with its last one.
    """
    if last is None:
        return
    prompt = Message(
        role=Role.USER,
        content=run.spec.build_prompt(number),
        at=run.created if number == 1 else tx.now,
        run=run.id,
        files=run.spec.attachments if number == 1 else (),
        is_refused=refused,
    )
    said = [prompt]
    if reply is not None:
        said.append(Message(role=Role.ASSISTANT, content=reply, at=tx.now, run=run.id, files=tuple(made)))
    write_messages(tx, run.spec.session, said, last)


def write_messages(tx: Transaction, session: str, said: Sequence[Message], last: int = 0) -> None:
    """Add messages to the transcript of a session that is there.

    The first one becomes the title of a session without one, such as one that is imported.

    Args:
        last: number of the last message that it has.
    """
    for begin in range(0, len(said), MAX_MESSAGES_PER_INSERT):
        some = said[begin : begin + MAX_MESSAGES_PER_INSERT]
        rows = [
            (session, n, one.run, one.role, one.content, one.at, one.is_refused, _encode_files(one))
            for n, one in enumerate(some, last + 1)
        ]
        tx.execute(  # one statement: each statement that writes also writes the search index
            "INSERT INTO transcript (session, n, run, role, content, at, refused, files) VALUES "
            + ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?)"] * len(rows)),
            tuple(itertools.chain.from_iterable(rows)),
        )
        for n, one in enumerate(some, last + 1):
            if one.files:
                row: Any = tx.execute("SELECT id FROM transcript WHERE session = ? AND n = ?", (session, n)).get
                files.use_files(tx, one.files, message=row)
        tx.dialect.index_messages(tx, session, last + 1, some)
        last += len(rows)
    first = said[0].content if said else ""
    tx.execute(
        "UPDATE sessions SET last_n = ?, title = iif(title = '', ?, title), updated = ? WHERE key = ?",
        (last, _shorten_title(first), tx.now, session),
    )


def _encode_files(message: Message) -> str | None:
    return _encode_json(message.files).decode() if message.files else None


def _shorten_title(text: str) -> str:
    line = " ".join(text[:MAX_READ_FOR_TITLE].split())
    is_whole = len(line) <= MAX_TITLE_CHARACTERS and len(text) <= MAX_READ_FOR_TITLE
    return line if is_whole else line[: MAX_TITLE_CHARACTERS - 1] + "…"


def find_session(reader: Reader, key: str) -> Session | None:
    """Return a session by its key, or None.

    Raises:
        Unreadable: it cannot be decoded.
    """
    rows = reader.execute(f"{_SELECT_SESSION} WHERE key = ?", (key,))
    return fetch_row(reader, RowKind.SESSION, rows, _decode_session, lambda: (key,))


def select_start(reader: Reader, run: Run) -> Rows:
    """Select what a run of a session begins with."""
    return reader.execute(
        f"SELECT (SELECT backend_ref FROM sessions WHERE key = ?1), ({workspaces.SELECT_RECENT_WORKSPACE})",
        (run.spec.session, workspaces.recent_since(reader), run.seq),
    )


def decode_start(rows: Rows) -> SessionStart | None:
    """Return what `select_start` has selected; None if that is not readable."""
    try:
        ref, workspace = next(rows)
    except UnicodeDecodeError:
        return None
    return SessionStart(backend_ref=ref, workspace=workspace)


def find_newest(reader: Reader, chat: str, reach: Reach | None = None) -> Session | None:
    reached = make_condition(reach, session="key")
    newest, values = f"WHERE chat = ? AND {reached.text} ORDER BY touched DESC LIMIT 1", (chat, *reached.values)
    return fetch_row(
        reader,
        RowKind.SESSION,
        reader.execute(f"{_SELECT_SESSION} {newest}", values),
        _decode_session,
        lambda: (reader.execute(f"SELECT key FROM sessions {newest}", values).get,),
    )


def list_sessions(reader: Reader, page: Page, which: SessionFilter = ALL_SESSIONS) -> list[Session]:
    before = page.before if page.before is not None else 1 << 62
    after: Any = reader.execute(
        "SELECT touched FROM sessions WHERE touched < ? ORDER BY touched DESC LIMIT 1 OFFSET ?",
        (before, MAX_SESSIONS_IN_ORDER),
    ).get
    if which == ALL_SESSIONS or after is None:
        after = -1
    conditions, values = _list_conditions(which)
    newest = f"touched < ? AND touched > ? AND {conditions} ORDER BY touched DESC LIMIT ?"
    bindings = (before, after, *values, page.limit)
    found = _decode_sessions(reader, reader.execute(f"{_SELECT_SESSION} WHERE {newest}", bindings))
    if after < 0:
        return found
    # Those that cannot be decoded count, too.
    count: Any = reader.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM sessions WHERE {newest}) AS counted", bindings
    ).get
    return found + _find_unordered(reader, which, after, page.limit - count) if count < page.limit else found


def _find_unordered(reader: Reader, which: SessionFilter, upto: int, limit: int) -> list[Session]:
    """Return the newest sessions of a filter among those last used at `upto` or before.

    They are read as they lie in the table, and sorted. To look each one up in the order of use takes ten times as
    long; an index for each filter would be written at each use of a session.
    """
    conditions, values = _list_conditions(which)
    # Keys begin with the agent and a colon: see `SessionKey`.
    first, end = ("", "\U0010ffff") if which.agent is None else (f"{which.agent}:", f"{which.agent};")
    rows = reader.execute(
        f"{_SELECT_SESSION} WHERE key IN (SELECT key FROM sessions WHERE key >= ? AND key < ? AND +touched <= ?"
        f" AND {conditions} ORDER BY +touched DESC LIMIT ?) ORDER BY +touched DESC",
        (first, end, upto, *values, limit),
    )
    return _decode_sessions(reader, rows)


def _decode_sessions(reader: Reader, rows: Iterable[Any]) -> list[Session]:
    return decode_rows(reader, RowKind.SESSION, rows, _decode_session, lambda row: (row[0],))


def _list_conditions(which: SessionFilter) -> tuple[str, list[str]]:
    """Return the conditions of a filter, and their values."""
    conditions, values = ["TRUE"], []
    if which.agent is not None:
        conditions.append("agent = ?")
        values.append(which.agent)
    if which.channel is not None:
        conditions.append("channel = ?")
        values.append(which.channel)
    if which.words is not None:
        conditions.append("(title LIKE ? ESCAPE '\\' OR key LIKE ? ESCAPE '\\')")
        values += [f"%{_LIKE_MARKS.sub(_ESCAPED, which.words)}%"] * 2
    reached = make_condition(which.reach, session="key")
    conditions.append(reached.text)
    values += reached.values
    return " AND ".join(conditions), values


def read_history(
    reader: Reader, key: str, limit: int, before: int | None = None, max_bytes: int = MAX_HISTORY_BYTES
) -> list[Message]:
    rows = reader.stream(
        "SELECT id, role, content, at, run, n, refused, files FROM transcript"
        " WHERE session = ? AND n < ? ORDER BY n DESC LIMIT ?",
        (key, before if before is not None else 1 << 62, limit),
    )
    fitting = LimitedRows(rows, max_bytes, lambda row: len(row[2]))
    newest_first = decode_rows(reader, RowKind.MESSAGE, fitting, _decode_message, lambda row: (row[0],))
    return newest_first[::-1]


def _decode_message(row: Sequence[Any]) -> Message:
    _, role, content, at, run, n, refused, files_ = row
    return Message(
        role=Role(role),
        content=content,
        at=at,
        run=run,
        number=n,
        files=() if files_ is None else _decode_files(files_),
        is_refused=bool(refused),
    )
