"""Rows of a page end when they have so many bytes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.store.sql.bounded import LimitedRows


@pytest.mark.parametrize(
    ("most", "expected"),
    [(None, 5), (0, 2), (10, 2), (19, 2), (20, 3), (29, 3), (30, 4), (1_000, 5)],
)
def test_rows_end_with_the_one_that_goes_beyond_the_limit_but_there_are_two(most: int | None, expected: int) -> None:
    rows = ["x" * 10] * 5

    assert list(LimitedRows(rows, most, len)) == rows[:expected]


def test_rows_go_on_after_one_that_cannot_be_read() -> None:
    class Cursor(Iterator[str]):
        given = iter(["a", None, "b"])

        def __next__(self) -> str:
            if (row := next(self.given)) is None:
                raise UnicodeDecodeError("utf-8", b"", 0, 1, "bad")
            return row

    rows = LimitedRows(Cursor(), 100, len)

    assert next(rows) == "a"
    with pytest.raises(UnicodeDecodeError):
        next(rows)
    assert list(rows) == ["b"]
