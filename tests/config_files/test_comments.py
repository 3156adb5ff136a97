"""Comments in the config file."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config_files.comments import blank_comments, find_comments
from gateway.config_files.json_file import decode_config
from gateway.errors import ConfigError


@pytest.mark.parametrize(
    "text",
    [
        '// mine\n{"a": 1}',
        '{"a": 1} // end',
        '{/* one */"a"/* two */:/* three */1/* four */}/* five */',
        '{\r\n  // windows\r\n  "a": 1\r\n}',
        '{"a": /* over\nseveral\nlines */ 1}',
        '{"a": 1 /**/}',
        '{"a": 1 /* ** / * */}',
    ],
)
def test_a_comment_is_passed_over(text: str) -> None:
    assert decode_config(text.encode(), "c.json") == {"a": 1}


@pytest.mark.parametrize("value", ["http://a//b", "/* no comment */", '\\"// x', "\\\\", "a//", "*/"])
def test_what_a_text_contains_is_no_comment(value: str) -> None:
    text = json.dumps({"a": value, "b": "//"}) + " // one"

    assert decode_config(text.encode(), "c.json") == {"a": value, "b": "//"}


@pytest.mark.parametrize("text", ['{"a": 1} /* no end', '{"a": 1} /*/', '{"a": 1} /', '{"a": 1,} // x', '{"a": "// x}'])
def test_a_comment_without_an_end_and_other_mistakes_stay_mistakes(text: str) -> None:
    with pytest.raises(ConfigError, match="not valid JSON"):
        decode_config(text.encode(), "c.json")


def test_an_error_after_a_comment_names_its_line() -> None:
    with pytest.raises(ConfigError, match="line 5"):
        decode_config(b'{\n/* one\ntwo */\n// three\n"a": oops}', "c.json")


@given(st.text(alphabet='/*"\\\n\r ab'))
def test_positions_stay(text: str) -> None:
    blanked = blank_comments(text)

    assert len(blanked) == len(text)
    for at, (old, new) in enumerate(zip(text, blanked, strict=True)):
        assert new in (old, " ")
        if old in "\r\n":
            assert new == old, at
    inside = {at for begin, end in find_comments(text) for at in range(begin, end)}
    assert all(at in inside for at, (old, new) in enumerate(zip(text, blanked, strict=True)) if old != new)


def test_a_large_text_of_comment_marks_takes_no_long_time() -> None:
    assert blank_comments("/* " * 300_000) == "/* " * 300_000
    assert blank_comments('"' * 300_000 + "//").endswith("  ")
