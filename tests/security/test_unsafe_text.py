"""Characters that take over a terminal, or hide what a text says."""

from __future__ import annotations

import json
import re

import pytest

from gateway.security.unsafe_text import UNSAFE_CHARACTERS, escape_unsafe, name_pattern, replace_unsafe

#: one of each kind, and the ends of each range
UNSAFE = [*"\0\x07\x08\x0b\r\x1b\x1f\x7f\x80\x9b\x9d\x9f", *"\u061c\u200e\u200f\u202a\u202e\u2066\u2069"]
#: their neighbours, and what people write
SAFE = [*" ~\xa0ä漢", *"\u061b\u200d\u2010\u2029\u202f\u2065\u206a", "👩\u200d💻"]


@pytest.mark.parametrize("character", UNSAFE)
def test_an_unsafe_character_is_replaced_in_text_and_escaped_in_json(character: str) -> None:
    document = json.dumps({"a": f"x{character}y"}, ensure_ascii=False)

    assert replace_unsafe(f"x{character}y") == "x\ufffdy"
    assert character not in escape_unsafe(document)
    assert json.loads(escape_unsafe(document)) == {"a": f"x{character}y"}
    assert re.search(f"[{UNSAFE_CHARACTERS}]", character)


@pytest.mark.parametrize("text", SAFE)
def test_other_characters_stay(text: str) -> None:
    assert replace_unsafe(text) == text
    assert escape_unsafe(text) == text
    assert not re.search(f"[{UNSAFE_CHARACTERS}]", text)


@pytest.mark.parametrize(
    "character",
    [
        *UNSAFE,
        *"\n\t\x85\xad\u034f\u115f\u1160\u17b4\u180e\u200b\u2028\u2029\u2060\u2063\u206f\u3164\ufeff\uffa0\ufff9\ufffb",
    ],
)
def test_a_name_has_no_character_that_nobody_sees_and_no_end_of_a_line(character: str) -> None:
    for name in (character, f"a{character}b", f"{character}a", f"a{character}"):
        assert not re.match(name_pattern(), name)
        assert not re.match(name_pattern(100), name)


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "ab",
        "Zoë",
        "漢字",
        "a b",
        "نمی\u200cدانم",  # noqa: RUF001 Persian
        "क्\u200dष",
        "👩\u200d💻",
        "❤️",
        "🏴\U000e0067\U000e0062\U000e007f",
        "x" * 100,
    ],
)
def test_names_of_all_scripts_and_emoji_stay_possible(name: str) -> None:
    assert re.match(name_pattern(), name)
    assert re.match(name_pattern(100), name)


@pytest.mark.parametrize("name", ["\u200d", "\u200c", "\u200da", "a\u200d", "a\u200c", "\u200c\u200d"])
def test_a_joiner_stands_between_two_characters_of_a_name(name: str) -> None:
    assert not re.match(name_pattern(), name)
    assert not re.match(name_pattern(100), name)


def test_the_length_and_further_characters_of_a_name_are_limited() -> None:
    assert re.match(name_pattern(), "")
    assert not re.match(name_pattern(100), "")
    assert not re.match(name_pattern(100), "x" * 101)
    assert not re.match(name_pattern(100, refused="="), "a=b")
    assert re.match(name_pattern(100, refused="="), "ab")


def test_tabs_and_the_ends_of_lines_stay_in_a_text() -> None:
    assert replace_unsafe("a\tb\nc\r\nd") == "a\tb\nc\nd"
