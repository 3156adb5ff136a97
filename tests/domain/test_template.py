"""Templates: placeholders are paths into a payload, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.template import MAX_FILLED_CHARACTERS, Template, TemplateError

PAYLOAD: dict[str, Any] = {
    "a": {"b": "text", "n": 7, "yes": True, "none": None, "list": [{"id": "first"}, "second"], "{x}": "odd"},
    "text": "{a.b}",
}


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("", ""),
        ("plain", "plain"),
        ("{a.b}", "text"),
        ("<{a.b}>{a.n}", "<text>7"),
        ("{a.yes}", "true"),
        ("{a.list.0.id} {a.list.1}", "first second"),
        ("{a.list}", '[{"id":"first"},"second"]'),
        ("{a.none|nothing}", "nothing"),
        ("{a.gone|}", ""),
        ("{a.b|default}", "text"),
        ("{{a.b}} {{", "{a.b} {"),
        ("{text}", "{a.b}"),
    ],
)
def test_placeholders_are_filled_from_the_payload_once(template: str, filled: str) -> None:
    assert Template.parse_text(template).fill_placeholders(PAYLOAD) == filled


@pytest.mark.parametrize(
    "path", ["gone", "a.gone", "a.none", "a.b.c", "a.list.9", "a.list.-1", "a.list.x", "a.__class__", "a.n.real"]
)
def test_the_error_names_the_path_that_the_payload_lacks(path: str) -> None:
    with pytest.raises(TemplateError, match=f"the payload has no value at '{path}'"):
        Template.parse_text(f"{{{path}}}").fill_placeholders(PAYLOAD)


@pytest.mark.parametrize("template", ["{", "}", "{a", "a}", "{}", "{a.}", "{.a}", "{a b}", "{a()}", "{a[0]}", "{a!r}"])
def test_an_invalid_template_is_refused(template: str) -> None:
    with pytest.raises(TemplateError):
        Template.parse_text(template)


def test_a_filled_text_is_bounded() -> None:
    with pytest.raises(TemplateError, match="longer"):
        Template.parse_text("{a}" * 11).fill_placeholders({"a": "x" * (MAX_FILLED_CHARACTERS // 10)})
