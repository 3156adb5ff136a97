"""Answers cut and formatted as Telegram takes them."""

from __future__ import annotations

import re
from html import unescape

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
        ("*it*, _it_ and ~~no~~", "<i>it</i>, <i>it</i> and <s>no</s>"),
        ("***both***", "<i><b>both</b></i>"),
        ("«**слово**»", "«<b>слово</b>»"),
        ("`` a ` b ``", "<code>a ` b</code>"),
        # a mark is no emphasis where CommonMark says so
        ("2 ** 10 … 2 ** 20", None),
        ("f(**kwargs) … g(**kwargs)", None),
        ("5 * 3 * 2 and 5*3*2=30, 4 ~ 5 ~ 6", "5 * 3 * 2 and 5<i>3</i>2=30, 4 ~ 5 ~ 6"),
        ("snake_case_name __init__.py", None),
        ("**a\n\nb**", None),
        ("\\*not\\* C:\\dir \\.", "*not* C:\\dir \\."),
        # what Telegram cannot show stays as it is written
        ("# Title\n- [a](http://x_y_z)\n> said  \n   more &amp;", None),
        # blocks of code: in lists, with other marks, in one another, empty
        ("1. Do:\n   ```sh\n   ls\n     x\n   ```\n2. Done", "1. Do:\n<pre>ls\n  x\n</pre>\n2. Done"),
        ("- ```\n  ls\n  ```", "-\n<pre>ls\n</pre>"),
        ("~~~ py\na ``` b\n~~~", "<pre>a ``` b\n</pre>"),
        ("````\n```\nls\n```\n````", "<pre>```\nls\n```\n</pre>"),
        ("```\n**not bold**\n```", "<pre>**not bold**\n</pre>"),
        ("```\n```", None),
        ("```\n\n   \n```", None),
    ],
)
def test_marks_are_formatted_as_commonmark_reads_them_and_all_else_is_escaped(text: str, html: str | None) -> None:
    assert format_html(text) == html


@given(st.text(alphabet="a *_~`\\\n<&-1.", max_size=60))
def test_formatting_loses_nothing_but_marks_and_is_balanced(text: str) -> None:
    made = format_html(text)
    if made is None:
        return
    open_tags: list[str] = []
    for closing, name in re.findall(r"<(/?)(\w+)>", made):
        assert not closing or open_tags.pop() == name
        if not closing:
            open_tags.append(name)
    assert open_tags == []
    shown = unescape(re.sub(r"</?\w+>", "", made))
    assert re.sub(r"[*_~`\\\s]", "", shown) == re.sub(r"[*_~`\\\s]", "", text)


@pytest.mark.parametrize("mark", ["~~~", "````", "   ```"])
def test_a_block_with_other_marks_goes_on_in_the_next_part(mark: str) -> None:
    code = "\n".join(f"line ``` {number}" for number in range(1000))

    first, second, *_ = split_text(f"{mark}python\n{code}\n{mark}", 2000)

    assert first.endswith(f"\n{mark.strip()}")
    assert second.startswith(f"{mark.strip()}python\nline")


def test_a_draft_is_one_message() -> None:
    assert format_draft(" short ") == "short"
    assert count_units(format_draft("word " * 5000)) <= MAX_MESSAGE_UNITS


def test_the_effort_to_split_a_text_grows_with_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = 0

    def count(given: str) -> int:
        nonlocal counted
        counted += len(given)
        return len(given)

    monkeypatch.setattr("gateway.channels.telegram.text.count_units", count)
    split_text("word " * 100_000)

    assert counted <= 500_000
