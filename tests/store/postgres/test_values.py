"""Values come back from PostgreSQL as they came, and as they would from SQLite."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import apsw
import msgspec
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.store.postgres import opening
from gateway.store.postgres.connection import PostgresConnection
from tests.support import postgres

#: texts with what PostgreSQL's text cannot have, and with what stands for it
texts = st.text(st.sampled_from("a0\0\ufdd0\ufdd1'\\\u00e9\U0001f600") | st.characters(exclude_categories=["Cs"]))


@pytest.fixture(scope="module")
def connection() -> Iterator[PostgresConnection]:
    name = postgres.create_database()
    with contextlib.closing(opening.connect(postgres.shared_server().url(name), timeout_seconds=10)) as made:
        made.execute('CREATE TABLE kept (n bigint, said text COLLATE "C", size double precision)')
        yield PostgresConnection(made)


@pytest.fixture(autouse=True)
def empty_table(connection: PostgresConnection) -> None:
    connection.execute("DELETE FROM kept")


@given(text=texts)
def test_each_text_comes_back(connection: PostgresConnection, text: str) -> None:
    assert connection.execute("SELECT CAST(? AS TEXT)", (text,)).get == text


@given(texts=st.lists(texts, unique=True, max_size=20))
def test_different_texts_stay_different(connection: PostgresConnection, texts: list[str]) -> None:
    connection.execute("DELETE FROM kept")
    connection.executemany("INSERT INTO kept (n, said) VALUES (?, ?)", enumerate(texts))

    assert [said for (said,) in connection.execute("SELECT said FROM kept ORDER BY n")] == texts
    for n, text in enumerate(texts):
        assert connection.execute("SELECT n FROM kept WHERE said = ?", (text,)).fetchall() == [(n,)]


@given(text=texts)
def test_a_text_is_read_as_bytes(connection: PostgresConnection, text: str) -> None:
    assert connection.execute("SELECT CAST(CAST(? AS TEXT) AS BLOB)", (text,)).get == text.encode()


@given(text=texts)
def test_a_text_within_json_comes_back(connection: PostgresConnection, text: str) -> None:
    document = msgspec.json.encode({"input": text, "labels": {"a": text}}).decode()

    assert connection.execute("SELECT json_extract(?, '$.input')", (document,)).get == text
    assert connection.execute("SELECT json_extract(?, '$.labels.a')", (document,)).get == text


@given(text=texts)
def test_a_text_in_a_list_is_found(connection: PostgresConnection, text: str) -> None:
    listed = msgspec.json.encode([text, "other"]).decode()

    rows = connection.execute("SELECT 1 WHERE CAST(?2 AS TEXT) IN (SELECT value FROM json_each(?1))", (listed, text))

    assert rows.get == 1


def test_half_a_character_is_refused_as_by_sqlite(connection: PostgresConnection) -> None:
    with pytest.raises(UnicodeEncodeError):
        apsw.Connection(":memory:").execute("SELECT ?", ("\ud800",)).fetchall()

    with pytest.raises(UnicodeEncodeError):
        connection.execute("SELECT CAST(? AS TEXT)", ("\ud800",))


@pytest.mark.parametrize("number", [0, -1, 2**31, -(2**31) - 1, 2**63 - 1, -(2**63)])
def test_numbers_come_back(connection: PostgresConnection, number: int) -> None:
    connection.execute("INSERT INTO kept (n) VALUES (?)", (number,))

    assert connection.execute("SELECT n FROM kept").get == number


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**200])
def test_a_number_that_is_too_large_is_refused_as_by_sqlite(connection: PostgresConnection, number: int) -> None:
    with pytest.raises(OverflowError):
        apsw.Connection(":memory:").execute("SELECT ?", (number,))

    with pytest.raises(OverflowError):
        connection.execute("SELECT CAST(? AS INTEGER)", (number,))


@pytest.mark.parametrize("number", [0.0, -1.5, 1e-300, 1.7976931348623157e308, 0.1, math.pi])
def test_fractions_come_back(connection: PostgresConnection, number: float) -> None:
    connection.execute("INSERT INTO kept (size) VALUES (?)", (number,))

    assert connection.execute("SELECT size FROM kept").get == number


def test_sums_and_averages_are_numbers(connection: PostgresConnection) -> None:
    connection.executemany("INSERT INTO kept (n) VALUES (?)", [(2**62,), (2**62,), (1,)])

    (total, mean, many) = connection.execute("SELECT sum(n), avg(n), sum(n) * 1e30 FROM kept").get

    assert total == 2**63 + 1
    assert mean == pytest.approx((2**63 + 1) / 3)
    assert many == pytest.approx((2**63 + 1) * 1e30)


@pytest.mark.parametrize(("said", "number"), [("NaN", math.nan), ("Infinity", math.inf), ("-Infinity", -math.inf)])
def test_what_is_no_finite_number_is_read(connection: PostgresConnection, said: str, number: float) -> None:
    assert connection.execute(f"SELECT '{said}'::numeric").get == pytest.approx(number, nan_ok=True)


def test_booleans_are_numbers(connection: PostgresConnection) -> None:
    connection.executemany("INSERT INTO kept (n) VALUES (?)", [(True,), (False,)])

    assert connection.execute("SELECT n FROM kept ORDER BY n").fetchall() == [(0,), (1,)]


def test_nothing_comes_back_as_nothing(connection: PostgresConnection) -> None:
    connection.execute("INSERT INTO kept (n, said, size) VALUES (?, ?, ?)", (None, None, None))

    assert connection.execute("SELECT n, said, size FROM kept").get == (None, None, None)


def test_no_bindings_write_nothing(connection: PostgresConnection) -> None:
    before = connection.total_changes()

    connection.executemany("INSERT INTO kept (n) VALUES (?)", [])

    assert connection.total_changes() == before


def test_written_rows_are_counted(connection: PostgresConnection) -> None:
    before = connection.total_changes()

    connection.executemany("INSERT INTO kept (n) VALUES (?)", [(1,), (2,), (3,)])
    connection.execute("UPDATE kept SET size = 1 WHERE n > ?", (1,))

    assert connection.changes() == 2
    assert connection.total_changes() - before == 5
    assert connection.execute("SELECT n FROM kept").get == 1
    assert connection.total_changes() - before == 5


def test_rows_are_read_after_the_next_statement_has_failed(connection: PostgresConnection) -> None:
    connection.executemany("INSERT INTO kept (n) VALUES (?)", [(1,), (2,)])
    rows = connection.execute("SELECT n FROM kept ORDER BY n")

    connection.settle()
    with pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("SELECT * FROM nowhere").fetchall()

    assert rows.fetchall() == [(1,), (2,)]


def test_a_statement_without_rows_has_none(connection: PostgresConnection) -> None:
    rows = connection.execute("INSERT INTO kept (n) VALUES (1)")

    assert rows.get is None
    assert rows.fetchall() == []
    assert list(rows) == []


@pytest.mark.parametrize("text", ["A", "a", "%", "_", "\\", "\u00c4", "\0", "\ufdd0"])
def test_like_finds_what_it_finds_in_sqlite(connection: PostgresConnection, text: str) -> None:
    said = ["a", "A", "%", "_", "\\", "\u00e4", "\u00c4", "x\0y", "x\ufdd0y"]
    pattern = "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    connection.executemany("INSERT INTO kept (said) VALUES (?)", [(each,) for each in said])

    query = "SELECT said FROM kept WHERE said LIKE ? ESCAPE '\\' ORDER BY said"

    found = set(connection.execute(query, (pattern,)).fetchall())
    assert found == {(each,) for each in said if text.lower() in each.lower() and (text.isascii() or text in each)}
