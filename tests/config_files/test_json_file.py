"""A config file is strict JSON, in which a name stands once."""

from __future__ import annotations

import pytest

from gateway.config_files import json_file
from gateway.errors import ConfigError


def test_a_byte_order_mark_is_passed_over() -> None:
    assert json_file.decode_config(b'\xef\xbb\xbf{"a": 1}', "c") == {"a": 1}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"a": 1, "a": 2}', "c: a: is given twice"),
        (b'{"a": {"b": [1, {"x": 1, "y": 2, "x": 1}]}}', "c: a.b[1].x: is given twice"),
        (b'{"\\u0061": 1, "a": 2}', "c: a: is given twice"),
        (b'{"a": NaN}', "c: not valid JSON: NaN is not a number"),
        (b'{"a": "\\ud800"}', "c: not valid JSON: an escape stands for half a character"),
        (b'{\n"a": "\xe9"}', "c: line 2: not valid JSON: it is not UTF-8"),
        (b'{\n"a": 1,\n"b" 2}', "c: line 3: not valid JSON"),
        (b'{\n"a": 1,  // one\n}', "c: line 2: not valid JSON: there is a comma before the closing }."),
        (b'{"a": [1,\n]}', "c: line 1: not valid JSON: there is a comma before the closing ]."),
        (b'{"a": ' + b"9" * 10_000 + b"}", "c: not valid JSON: a number has too many digits."),
        (b"[" * 100_000, "c: not valid JSON: objects and lists are nested too deeply."),
        (b'{"a":' + b"[" * 400 + b"]" * 400 + b"}", "c: not valid JSON: objects and lists are nested too deeply."),
        (b"[1]", "c: not a JSON object"),
        (b"", "c: line 1: not valid JSON"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(content: bytes, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        json_file.decode_config(content, "c")

    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
