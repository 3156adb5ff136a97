"""Answers cut and formatted as Telegram takes them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.channels.telegram.text import MAX_MESSAGE_UNITS, count_units, format_draft, format_html, split_text


@given(st.text(alphabet="ab \n.😀`", max_size=3000))
def test_nothing_is_lost_and_no_part_is_too_long(text: str) -> None:
    parts = split_text(text, 200)

    assert all(0 < count_units(part) <= 200 for part in parts)
    bare = re.sub(r"```|\s", "", "".join(parts))
    assert bare == re.sub(r"```|\s", "", text)


def test_a_short_text_is_one_part() -> None:
    assert split_text("  hello\n") == ["hello"]
    assert split_text(" \n ") == []


def test_parts_end_where_people_would_end_them() -> None:
    paragraph = "Some words of it. " * 100

    first, second, *_ = split_text(f"{paragraph}\n\n{paragraph}\n\n{paragraph}")

    assert (first.endswith("of it."), second.startswith("Some words")) == (True, True)


def test_length_is_counted_as_telegram_does() -> None:
    assert [count_units("a"), count_units("é"), count_units("😀")] == [1, 1, 2]
    assert [count_units(part) <= MAX_MESSAGE_UNITS for part in split_text("😀" * 5000)] == [True] * 3


def test_a_block_of_code_goes_on_in_the_next_part() -> None:
    code = "\n".join(f"line {number}" for number in range(1000))

    parts = split_text(f"Look:\n```python\n{code}\n```\nThat is all.")

    assert len(parts) > 1
    assert all(part.count("```") == 2 for part in parts)
    assert parts[1].startswith("```python\nline")


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("plain <b> & text", None),
        ("a `x < y` b", "a <code>x &lt; y</code> b"),
        ("**bold** & `code`", "<b>bold</b> &amp; <code>code</code>"),
        ("```py\nif a < b:\n```\nafter", "<pre>if a &lt; b:\n</pre>\nafter"),
        ("```\nnever ended", None),
        ("`<script>`", "<code>&lt;script&gt;</code>"),
    ],
)
def test_only_code_and_bold_words_are_formatted_and_all_else_is_escaped(text: str, html: str | None) -> None:
    assert format_html(text) == html


def test_a_draft_is_one_message() -> None:
    assert format_draft(" short ") == "short"
    assert count_units(format_draft("word " * 5000)) <= MAX_MESSAGE_UNITS
