"""Excerpts of messages that match a search."""

from __future__ import annotations

import re

import pytest

from gateway.store.sql.excerpts import MAX_EXCERPT_CHARACTERS, MAX_EXCERPT_WORDS, cut_excerpt


def mark(text: str) -> str:
    """Mark the words in square brackets as matches."""
    return text.replace("[", "\x02").replace("]", "\x03")


@pytest.mark.parametrize(
    ("marked", "text", "matches"),
    [
        ("the [fox] runs", "the fox runs", ("fox",)),
        ("[fox] and [Fox] and [fox]", "fox and Fox and fox", ("fox", "Fox")),
        ("no match", "no match", ()),
        ("", "", ()),
        ("[fox]", "fox", ("fox",)),
    ],
)
def test_a_short_message_is_shown_whole(marked: str, text: str, matches: tuple[str, ...]) -> None:
    assert cut_excerpt(mark(marked)) == (text, matches)


def test_the_part_with_the_most_different_matches_is_shown() -> None:
    found = cut_excerpt(mark("[fox] " + "word " * 100 + "[fox] near a [hen] " + "word " * 100))

    assert set(found.matches) == {"fox", "hen"}
    assert "fox near a hen" in found.text
    assert found.text.startswith("…")
    assert found.text.endswith("…")


def test_the_first_of_equal_parts_is_shown() -> None:
    found = cut_excerpt(mark("[fox] one " + "word " * 100 + "[fox] two " + "word " * 100))

    assert "fox one" in found.text
    assert "fox two" not in found.text


@pytest.mark.parametrize("before", [0, 1, 15, 16, 17, 200])
@pytest.mark.parametrize("after", [0, 1, 15, 16, 17, 200])
def test_a_part_has_so_many_words_and_is_joined_to_its_ends(before: int, after: int) -> None:
    found = cut_excerpt(mark("b " * before + "[fox]" + " a" * after))

    assert len(re.findall(r"\w+", found.text)) <= MAX_EXCERPT_WORDS
    assert found.text.startswith("…") == (len(re.findall("b", found.text)) < before)
    assert found.text.endswith("…") == (len(re.findall("a", found.text)) < after)
    assert found.matches == ("fox",)


@pytest.mark.parametrize("text", ["x" * 70_000, "[x]" * 20_000, "[" + "x" * 70_000 + "]", "[x] " * 20_000])
def test_a_part_is_never_long(text: str) -> None:
    assert len(cut_excerpt(mark(text)).text) <= MAX_EXCERPT_CHARACTERS + 2


def test_characters_that_are_searched_one_by_one_are_joined_again() -> None:
    assert cut_excerpt(mark("\u200b[東]\u200b\u200b[京]\u200b")).text == "東京"
