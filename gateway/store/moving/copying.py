"""Copies the rows of a store into an empty one, and compares the two.

The copy is made in many transactions, each of which remembers how far it has got: after an end at any moment, the same
copy goes on from there. The last transaction removes the mark, so that the store can be served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from gateway.errors import Conflict, InternalError
from gateway.store.moving import mark
from gateway.store.moving.checksum import TableSum
from gateway.store.moving.mark import Mark
from gateway.store.moving.side import Row, Side
from gateway.store.moving.tables import Table

#: rows in one transaction, and characters of their texts
MAX_COPIED_ROWS, MAX_COPIED_CHARACTERS = 5_000, 4_000_000

#: called with what is done now
Report = Callable[[str], None]
#: copies the contents of files; takes their SHA-256
CopyContents = Callable[[Iterable[str]], None]


class CopiedTable(NamedTuple):
    """A table that is the same on both sides."""

    name: str
    rows: int
    #: of the values of its rows
    checksum: str


def copy_store(
    source: Side, target: Side, tables: Sequence[Table], report: Report, copy_contents: CopyContents = lambda _: None
) -> list[CopiedTable]:
    """Copy all rows, or what is left of them.

    Args:
        copy_contents: copies the contents of files with these hashes; it is called before the copy may be served.

    Raises:
        Conflict: the target has rows that are not from this source.
        StorageFull, Unavailable: a database refuses; the copy can go on later.
    """
    found = target.read_mark()
    if found is None and not target.is_empty(tables):
        return _find_finished_copy(source, target, tables, report)
    _begin_copy(source, target, tables, found, report)
    for table in tables:
        _copy_table(source, target, table, report)
    copy_contents(_list_hashes(source, tables))
    copied, differing = _compare_tables(source, target, tables, report)
    if differing:
        with target.write_transaction():
            mark.require_new_copy(target.connection)
        raise InternalError(
            f"the copy differs from {source.shown} in {', '.join(differing)}: nothing uses it.",
            remedy="Run the command again: it copies everything again.",
        )
    target.refresh_statistics(tables)
    with target.write_transaction():
        target.end_inserting(tables)
        mark.remove_mark(target.connection)
    return copied


def _list_hashes(source: Side, tables: Sequence[Table]) -> Iterator[str]:
    """Yield the SHA-256 of all contents of files."""
    contents = next(table for table in tables if table.name == "contents")
    place = contents.column_names.index("sha256")
    return (str(row[place]) for row in source.read_rows(contents))


def _find_finished_copy(source: Side, target: Side, tables: Sequence[Table], report: Report) -> list[CopiedTable]:
    """Return the tables of a target that has the same rows already: the command was repeated.

    Raises:
        Conflict: it has other rows.
    """
    if all(source.count_rows(table) == target.count_rows(table) for table in tables):
        copied, differing = _compare_tables(source, target, tables, report)
        if not differing:
            return copied
    raise Conflict(f"{target.shown} has rows that are not a copy of {source.shown}.", remedy=target.remedy)


def _begin_copy(source: Side, target: Side, tables: Sequence[Table], found: Mark | None, report: Report) -> None:
    """Leave the mark in the target, unless a copy of this source is there that can go on."""
    wanted = Mark(source.identity, source.read_state())
    if found == wanted:
        report("going on with an earlier copy")
        return
    if found is not None and found.source != wanted.source:
        raise Conflict(
            f"{target.shown} holds a copy of another store that is not finished: {found.source}.", remedy=target.remedy
        )
    if found is not None:
        report("the store has changed since the earlier copy: beginning again")
    with target.write_transaction():
        mark.remove_mark(target.connection)
        target.clear_tables(tables)
        mark.create_mark(target.connection, wanted)


def _copy_table(source: Side, target: Side, table: Table, report: Report) -> None:
    position = mark.read_position(target.connection, table.name)
    if position.is_done:
        return
    progress = _Progress(
        "copying", table, source, report, done=0 if position.last is None else target.count_rows(table)
    )
    batches = split_into_batches(source.read_rows(table, position.last))
    if table.key:
        for rows in batches:
            with target.write_transaction():
                target.insert_rows(table, rows)
                mark.write_position(target.connection, table.name, [rows[-1][place] for place in table.key_places])
            progress.advance(len(rows))
        with target.write_transaction():
            mark.write_position(target.connection, table.name, None)
        return
    with target.write_transaction():  # nothing could tell how far it has got
        for rows in batches:
            target.insert_rows(table, rows)
            progress.advance(len(rows))
        mark.write_position(target.connection, table.name, None)


def split_into_batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    characters = 0
    for row in rows:
        batch.append(row)
        for value in row:
            if type(value) is str:
                characters += len(value)
        if len(batch) >= MAX_COPIED_ROWS or characters >= MAX_COPIED_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _compare_tables(
    source: Side, target: Side, tables: Sequence[Table], report: Report
) -> tuple[list[CopiedTable], list[str]]:
    """Return the tables that are the same, and the names of those that differ."""
    copied, differing = [], []
    for table in tables:
        one, other = (_sum_table(side, table, report) for side in (source, target))
        if (one.rows, one.checksum) == (other.rows, other.checksum):
            copied.append(CopiedTable(table.name, one.rows, one.checksum))
        else:
            differing.append(table.name)
    return copied, differing


def _sum_table(side: Side, table: Table, report: Report) -> TableSum:
    progress, total = _Progress("checking", table, side, report), TableSum()
    for rows in split_into_batches(side.read_rows(table)):
        total.add_rows(rows)
        progress.advance(len(rows))
    return total


class _Progress:
    """Says how much of a table is done."""

    def __init__(self, what: str, table: Table, side: Side, report: Report, *, done: int = 0) -> None:
        self._text = f"{what} {table.name}"
        self._report = report
        self._total = side.count_rows(table)
        self._done = done
        self.advance(0)

    def advance(self, rows: int) -> None:
        self._done += rows
        self._report(f"{self._text}: {self._done:,} of {self._total:,} rows")
