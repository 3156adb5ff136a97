"""Statements in SQLite's words become PostgreSQL's."""

from __future__ import annotations

import pytest

from gateway.store.postgres.statements import translate


@pytest.mark.parametrize(
    ("statement", "translated"),
    [
        ("SELECT ?, ?", "SELECT $1, $2"),
        ("SELECT ?1, ?2, ?1", "SELECT $1, $2, $1"),
        ("SELECT a FROM t INDEXED BY t_a WHERE a = ?", "SELECT a FROM t WHERE a = $1"),
        ("SELECT a FROM t NOT INDEXED WHERE a = 1", "SELECT a FROM t WHERE a = 1"),
        ("SELECT a FROM t CROSS JOIN u ON TRUE", "SELECT a FROM t JOIN u ON TRUE"),
        ("SELECT CAST(a AS BLOB)", "SELECT CAST(a AS bpchar)"),
        ("SELECT CAST(? AS INTEGER)", "SELECT CAST($1 AS bigint)"),
        ("SELECT CAST(a AS TEXT)", "SELECT CAST(a AS TEXT)"),
        ("a LIKE ? ESCAPE '\\'", "a ILIKE $1 ESCAPE '\\'"),
        (
            "SELECT value FROM json_each(?)",
            "SELECT value FROM json_array_elements_text(json_document($1)) AS listed(value)",
        ),
        ("FROM json_each(?3) AS aside", "FROM json_array_elements_text(json_document($3)) AS aside(value)"),
        ("SELECT ?::tsvector, a::text", "SELECT $1::tsvector, a::text"),
    ],
)
def test_each_word_is_translated(statement: str, translated: str) -> None:
    assert translate(statement)[:2] == (translated, ())


@pytest.mark.parametrize("text", ["'?'", "':name'", "'a LIKE b'", "'AS BLOB'", "'it''s ? :x'", "''", "'$.a:b'"])
def test_texts_stay_as_they_are(text: str) -> None:
    assert translate(f"SELECT {text}, ?")[:2] == (f"SELECT {text}, $1", ())


def test_words_that_only_resemble_others_stay_as_they_are() -> None:
    statement = "SELECT unlike, likes, blob, integer_ FROM dislike"

    assert translate(statement).text == statement


def test_named_parameters_are_numbered_in_their_order() -> None:
    assert translate("WHERE a = :one AND b = :two OR c = :one")[:2] == (
        "WHERE a = $1 AND b = $2 OR c = $1",
        ("one", "two"),
    )


def test_a_cast_is_no_parameter() -> None:
    assert translate("SELECT :rows::bigint, '{}'::json")[:2] == ("SELECT $1::bigint, '{}'::json", ("rows",))
