"""Characters that take over a terminal, or hide what a text says."""

from __future__ import annotations

import json
import re

import pytest

from gateway.security.unsafe_text import UNSAFE_CHARACTERS, escape_unsafe, replace_unsafe

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


def test_tabs_and_the_ends_of_lines_stay_in_a_text() -> None:
    assert replace_unsafe("a\tb\nc\r\nd") == "a\tb\nc\nd"
