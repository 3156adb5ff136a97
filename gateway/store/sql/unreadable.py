"""Sets aside rows that cannot be decoded: a newer version wrote them, or something damaged them.

The list of such rows is kept in memory: each start tries to read them again. A row leaves the list when it is
removed, or when it is gone.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from gateway import log
from gateway.domain.times import Clock
from gateway.domain.unreadable import RowKind, UnreadableRow
from gateway.errors import Unreadable

if TYPE_CHECKING:
    from gateway.store.sql.transaction import Reader

T = TypeVar("T")

#: what decoding a row raises when the row is not as this version writes it
DECODING_ERRORS = (msgspec.MsgspecError, ValueError, TypeError, KeyError)
#: unreadable rows that are listed; the others are set aside all the same
MAX_LISTED_ROWS = 1000
#: how many times as long as a search of a table the pause after it is
SEARCH_PAUSE_FACTOR = 50
#: characters of a reason
MAX_REASON_CHARACTERS = 300


class _Place(NamedTuple):
    table: str
    #: columns of the primary key
    key: tuple[str, ...]


PLACES = {
    RowKind.TASK: _Place("runs", ("id",)),
    RowKind.EVENT: _Place("events", ("run", "n")),
    RowKind.PERMISSION: _Place("permissions", ("run", "n")),
    RowKind.DELIVERY: _Place("deliveries", ("id",)),
    RowKind.SCHEDULE: _Place("schedules", ("id",)),
    RowKind.FIRE: _Place("fires", ("schedule", "scheduled_for")),
    RowKind.SESSION: _Place("sessions", ("key",)),
    RowKind.MESSAGE: _Place("transcript", ("id",)),
    RowKind.AGENT: _Place("agents", ("id",)),
    RowKind.TOKEN: _Place("tokens", ("name",)),
    RowKind.NOTE: _Place("notes", ("scope", "name")),
    RowKind.PROCESS: _Place("processes", ("who",)),
    RowKind.FILE: _Place("files", ("id",)),
    RowKind.PROJECT: _Place("projects", ("slug",)),
}
_log = log.get()


class UnreadableRows:
    """The unreadable rows of one process. All threads of the store use it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows: dict[tuple[RowKind, tuple[Any, ...]], UnreadableRow] = {}
        #: when tables may be searched again, in seconds of the monotonic clock
        self._next_search: dict[RowKind, float] = {}

    def note_row(self, kind: RowKind, key: Sequence[Any], error: Exception) -> UnreadableRow:
        """Add a row that cannot be decoded. The first time, log it; of very many rows, only the first ones."""
        place = (kind, tuple(key))
        known = self._rows.get(place)
        if known is not None:
            return known
        row = UnreadableRow(kind=kind, id="/".join(map(str, key)), reason=_describe_error(error), found=self._clock())
        if len(self._rows) < MAX_LISTED_ROWS:
            self._rows[place] = row
            _log.error("store.unreadable", kind=str(kind), id=row.id, reason=row.reason)
        return row

    def list_rows(self) -> list[UnreadableRow]:
        """Return all rows, in the order in which they were found."""
        return list(self._rows.values())

    def list_keys(self, kind: RowKind) -> list[Any]:
        """Return the first parts of the keys of one kind."""
        return [key[0] for found, key in list(self._rows) if found is kind]

    def find_key(self, kind: RowKind, id_: str) -> tuple[Any, ...] | None:
        """Return the key of a row, or None if no such row is known to be unreadable."""
        return next((key for (found, key), row in list(self._rows.items()) if (found, row.id) == (kind, id_)), None)

    @contextlib.contextmanager
    def limit_search(self, kind: RowKind) -> Iterator[bool]:
        """Tell whether a table may be searched now: that takes no more than a small share of the time."""
        begun = time.monotonic()
        is_allowed = begun >= self._next_search.get(kind, begun)
        try:
            yield is_allowed
        finally:
            if is_allowed:
                ended = time.monotonic()
                self._next_search[kind] = ended + (ended - begun) * SEARCH_PAUSE_FACTOR

    def forget_row(self, kind: RowKind, key: tuple[Any, ...]) -> None:
        self._rows.pop((kind, key), None)

    def forget_missing(self, reader: Reader) -> None:
        """Forget the rows that are no longer in the database."""
        for kind, key in list(self._rows):
            if not reader.execute(f"SELECT 1 FROM {where_key(kind)}", key).get:
                self.forget_row(kind, key)


def where_key(kind: RowKind) -> str:
    """Return the table of a kind, and the condition that selects a row by its key."""
    place = PLACES[kind]
    return f"{place.table} WHERE {' AND '.join(f'{column} = ?' for column in place.key)}"


def decode_rows(
    reader: Reader,
    kind: RowKind,
    rows: Iterable[Any],
    decode: Callable[[Any], T],
    key_of: Callable[[Any], Sequence[Any]],
) -> list[T]:
    """Decode rows; set aside those that cannot be decoded.

    Args:
        key_of: returns the primary key of a row.
    """
    found: list[T] = []
    iterator = iter(rows)
    while True:
        try:
            row = next(iterator)
        except StopIteration:
            return found
        except UnicodeDecodeError:  # apsw goes on with the next row
            _find_damaged_text(reader, kind)
            continue
        try:
            found.append(decode(row))
        except DECODING_ERRORS as error:
            reader.unreadable.note_row(kind, key_of(row), error)


def fetch_row(
    reader: Reader,
    kind: RowKind,
    rows: Iterator[Any],
    decode: Callable[[Any], T],
    find_key: Callable[[], Sequence[Any]],
) -> T | None:
    """Decode the first row of a statement; None if there is none.

    Args:
        find_key: returns the primary key of that row. It is called if the row cannot be decoded.

    Raises:
        Unreadable: it cannot be decoded.
    """
    try:
        row = next(rows, None)
        return None if row is None else decode(row)
    except DECODING_ERRORS as error:
        noted = reader.unreadable.note_row(kind, find_key(), error)
        raise Unreadable(
            f"the {kind} {noted.id} cannot be read: {noted.reason}.",
            remedy=f"Upgrade Moongate if a newer version wrote it, or: gateway unreadable remove {kind} {noted.id}",
        ) from error


def _find_damaged_text(reader: Reader, kind: RowKind) -> None:
    """Find the rows of a kind whose text is not UTF-8: their keys are not in the rows that failed.

    This reads the whole table, so it does not happen at each such row.
    """
    with reader.unreadable.limit_search(kind) as is_allowed:
        if is_allowed:
            _search_damaged_text(reader, kind)


def _search_damaged_text(reader: Reader, kind: RowKind) -> None:
    place = PLACES[kind]
    keys = reader.execute(f"SELECT {', '.join(place.key)} FROM {place.table}")
    while True:
        try:
            key = next(keys, None)
        except UnicodeDecodeError as error:  # such a row cannot be named: it is passed over
            _log.error("store.unreadable_key", kind=str(kind), reason=_describe_error(error))
            continue
        if key is None:
            return
        try:
            reader.execute(f"SELECT * FROM {where_key(kind)}", key).fetchall()
        except UnicodeDecodeError as error:
            reader.unreadable.note_row(kind, key, error)


def _describe_error(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return text[:MAX_REASON_CHARACTERS]
