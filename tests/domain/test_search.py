"""How queries are parsed; `tests/contracts/test_store_search.py` tests what they find."""

from __future__ import annotations

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain import search
from gateway.domain.search import MAX_QUERY_TERMS, SearchTerm
from gateway.errors import InvalidRequest
from gateway.store.sqlite.search import match_expression


def test_words_phrases_prefixes_and_exclusions_are_distinguished() -> None:
    assert search.parse_terms('one "two three" -four fi* -"six seven"') == (
        SearchTerm("one", prefix=True),
        SearchTerm("two three"),
        SearchTerm("four", excluded=True),
        SearchTerm("fi*", prefix=True),
        SearchTerm("six seven", excluded=True),
    )


@pytest.mark.parametrize("query", ["", " ", "-", "-word", '""', "***", "\x00", "- ! ?"])
def test_a_query_without_a_word_to_find_is_refused(query: str) -> None:
    with pytest.raises(InvalidRequest):
        search.parse_terms(query)


def test_words_beyond_the_limit_are_ignored() -> None:
    words = " ".join(f"word{number}" for number in range(40))

    assert len(search.parse_terms(words)) == MAX_QUERY_TERMS


def test_a_word_that_is_said_twice_is_searched_once() -> None:
    found = search.parse_terms('word Word word* "a phrase" "A Phrase" -not -not word other')

    assert [term.text for term in found] == ["word", "a phrase", "not", "other"]


@pytest.fixture(scope="module")
def index() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE VIRTUAL TABLE words USING fts5 (content)")
    return connection


PARTS = st.sampled_from(
    ['"', "'", "*", "-", "(", ")", ":", "^", "+", "AND", "OR", "NOT", "NEAR(", " ", "\x00", "a", "é"]
)


@given(query=st.one_of(st.text(max_size=60), st.lists(PARTS, max_size=20).map("".join)))
def test_no_query_causes_an_error_in_the_index(index: apsw.Connection, query: str) -> None:
    try:
        terms = search.parse_terms(query)
    except InvalidRequest:
        return
    index.execute("SELECT rowid FROM words WHERE words MATCH ?", (match_expression(terms),)).fetchall()


@pytest.mark.parametrize(
    ("query", "text", "found"),
    [
        ("lem", "Count the Lemons", True),
        ("le", "Count the Lemons", False),
        ('"the lemons"', "Count the Lemons", True),
        ('"lemons the"', "Count the Lemons", False),
        ("lemons -count", "Count the Lemons", False),
        ("cafe", "Ein Café.", True),
        ("你好", "他说你好吗", True),
        ("你吗", "他说你好吗", False),
    ],
)
def test_a_text_is_matched_as_the_index_matches_it(query: str, text: str, found: bool) -> None:
    terms = search.parse_terms(query)
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE VIRTUAL TABLE words USING fts5 (content, tokenize = 'unicode61 remove_diacritics 2')")
    connection.execute("INSERT INTO words (content) VALUES (?)", (search.separate_characters(text),))

    assert search.match_terms(text, terms) is found
    rows = connection.execute("SELECT rowid FROM words WHERE words MATCH ?", (match_expression(terms),)).fetchall()
    assert bool(rows) is found
