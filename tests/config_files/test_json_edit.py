"""Changes in the text of a config file."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config_files.comments import blank_comments, find_comments
from gateway.config_files.json_edit import remove_value, set_value
from gateway.config_files.json_file import decode_config

FILE = """\
// The gateway at home.
{
  // everything listens here
  "gateway": {"port": 8080, "host": "127.0.0.1"}, // not 80
  "agents": {
    "list": [
      {"id": "main", /* the only one */ "backend": "echo"}
    ]
  } // agents
  /* the end */
}
"""


@pytest.mark.parametrize(
    ("path", "value", "old", "new"),
    [
        (("gateway", "port"), 9000, "8080", "9000"),
        (("gateway", "auth"), {"mode": "token"}, '"127.0.0.1"}', '"127.0.0.1", "auth": {"mode": "token"}}'),
        (("agents", "list", 0, "backend"), "openai", '"echo"', '"openai"'),
        (("agents", "list", 0, "model"), "é", '"echo"}', '"echo", "model": "é"}'),
        (("agents", "default"), "main", "    ]\n  }", '    ],\n    "default": "main"\n  }'),
        (("agents", "list", 1), {"id": "b"}, '"echo"}\n', '"echo"},\n      {\n        "id": "b"\n      }\n'),
        (
            ("log", "level"),
            "debug",
            "  } // agents\n",
            '  }, // agents\n  "log": {\n    "level": "debug"\n  }\n',
        ),
    ],
)
def test_a_value_is_set_in_its_place(path: tuple[str | int, ...], value: Any, old: str, new: str) -> None:
    assert FILE.count(old) == 1
    assert set_value(FILE, path, value) == FILE.replace(old, new)


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        (("gateway",), '"gateway": {"port": 8080, "host": "127.0.0.1"}, // not 80', "// not 80"),
        (("gateway", "port"), '"port": 8080, ', ""),
        (("gateway", "host"), ', "host": "127.0.0.1"', ""),
        (("agents", "list", 0, "backend"), ', /* the only one */ "backend": "echo"}', " /* the only one */}"),
    ],
)
def test_a_value_is_removed_and_comments_stay(path: tuple[str | int, ...], old: str, new: str) -> None:
    assert FILE.count(old) == 1
    assert remove_value(FILE, path) == FILE.replace(old, new)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", '{\n  "a": 1\n}'),
        ("{ }", '{\n  "a": 1\n}'),
        ("{\n}\n", '{\n  "a": 1\n}\n'),
        ("{ // none yet\n}\n", '{ // none yet\n  "a": 1\n}\n'),
        ('{\r\n\t"b": 2\r\n}\r\n', '{\r\n\t"b": 2,\r\n\t"a": 1\r\n}\r\n'),
        ('{"b": 2}', '{"b": 2, "a": 1}'),
        ('{\n    "b": 2 /* x */ // y\n}', '{\n    "b": 2, /* x */ // y\n    "a": 1\n}'),
        ('{\n  "b": 2 /* over\n  lines */\n}', '{\n  "b": 2,\n  "a": 1 /* over\n  lines */\n}'),
    ],
)
def test_a_new_value_has_the_form_of_its_neighbours(text: str, expected: str) -> None:
    changed = set_value(text, ("a",), 1)

    if "over" in text:  # the comment that goes on stands somewhere after the comma
        assert decode_config(changed.encode(), "c.json") == {"b": 2, "a": 1}
        return
    assert changed == expected


def test_the_indentation_of_the_file_is_used() -> None:
    changed = set_value('{\n\t"b": 2\n}', ("c", "d"), {"e": [1]})

    assert changed == '{\n\t"b": 2,\n\t"c": {\n\t\t"d": {\n\t\t\t"e": [\n\t\t\t\t1\n\t\t\t]\n\t\t}\n\t}\n}'


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["//", "/*", '"', "a,}"])
NAMES = st.text(alphabet='ab"/*\\é', max_size=3)
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)
BLANKS = st.text(alphabet=" \n\t", max_size=3) | st.sampled_from(
    ["\r\n", "// c }\n", "/* { */", "/*\n*/", "//\n// x\n"]
)


@st.composite
def written(draw: st.DrawFn, value: Any) -> str:
    """Return a value as JSON, with blanks and comments anywhere."""
    gap = draw(BLANKS)
    if isinstance(value, dict):
        parts = [f"{draw(BLANKS)}{json.dumps(k)}{draw(BLANKS)}:{draw(written(v))}" for k, v in value.items()]
        return f"{gap}{{{','.join(parts)}{draw(BLANKS)}}}{draw(BLANKS)}"
    if isinstance(value, list):
        return f"{gap}[{','.join(draw(written(one)) for one in value)}{draw(BLANKS)}]{draw(BLANKS)}"
    return f"{gap}{json.dumps(value, ensure_ascii=draw(st.booleans()))}{draw(BLANKS)}"


def list_paths(value: Any) -> list[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for step, one in inner for path in [(step,), *((step, *rest) for rest in list_paths(one))]]


def list_containers(value: Any) -> list[tuple[str | int, ...]]:
    return [path for path in [(), *list_paths(value)] if isinstance(go(value, path), (dict, list))]


def go(value: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def comments(text: str) -> list[str]:
    return [text[begin:end] for begin, end in find_comments(text)]


@settings(max_examples=60)
@given(st.data())
def test_a_set_value_is_read_back_and_nothing_else_changes(data: st.DataObject) -> None:
    tree = data.draw(st.dictionaries(NAMES, TREES, max_size=4))
    text = data.draw(written(tree))
    place = data.draw(st.sampled_from(list_containers(tree)))
    parent = go(tree, place)
    step = data.draw(NAMES | st.sampled_from([*parent] or ["a"])) if isinstance(parent, dict) else len(parent)
    value = data.draw(TREES)

    changed = set_value(text, (*place, step), value)

    expected = copy.deepcopy(tree)
    if isinstance(parent, dict):
        go(expected, place)[step] = value
    else:
        go(expected, place).append(value)
    assert json.loads(blank_comments(changed)) == expected
    if not (isinstance(parent, dict) and step in parent):  # a new value: all that was there is still there
        assert comments(changed) == comments(text)
        assert is_subsequence(text, changed)


@settings(max_examples=60)
@given(st.data())
def test_a_removed_value_is_gone_and_nothing_else_changes(data: st.DataObject) -> None:
    tree = data.draw(st.dictionaries(NAMES, TREES, min_size=1, max_size=4))
    text = data.draw(written(tree))
    path = data.draw(st.sampled_from(list_paths(tree)))

    changed = remove_value(text, path)

    expected = copy.deepcopy(tree)
    del go(expected, path[:-1])[path[-1]]
    assert json.loads(blank_comments(changed)) == expected
    assert is_subsequence(changed, text)


def is_subsequence(short: str, text: str) -> bool:
    """Return whether a text can be made of another one by taking characters away (blanks aside)."""
    rest = iter("".join(text.split()))
    return all(character in rest for character in "".join(short.split()))
