"""What is read of an editor's requests."""

from __future__ import annotations

from typing import Any

import pytest

from cli.acp import requests
from cli.acp.requests import parse_params, read_prompt
from gateway.errors import InvalidRequest


def read(*blocks: dict[str, Any]) -> str:
    return read_prompt(parse_params({"sessionId": "s", "prompt": [*blocks]}, requests.Prompt).prompt)


def test_a_prompt_is_the_text_of_its_blocks() -> None:
    assert read({"type": "text", "text": "Compare"}, {"type": "text", "text": " these"}) == "Compare these"


def test_a_link_is_its_address() -> None:
    linked = {"type": "resource_link", "uri": "file:///a.py", "name": "a.py", "size": 3}

    assert read({"type": "text", "text": "Look at"}, linked, {"type": "text", "text": "now"}) == (
        "Look at file:///a.py now"
    )


def test_an_embedded_file_is_its_text_below_its_address() -> None:
    embedded = {"type": "resource", "resource": {"uri": "file:///a.py", "text": "x = 1"}}

    assert read(embedded) == "file:///a.py\n```\nx = 1\n```"


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "data": "AA", "mimeType": "image/png"},
        {"type": "audio", "data": "AA", "mimeType": "audio/wav"},
        {"type": "resource", "resource": {"uri": "file:///a.bin", "blob": "AA"}},
        {"type": "text"},
        {"type": "resource_link"},
    ],
)
def test_what_is_no_text_is_refused(block: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=block["type"]):
        read(block)


@pytest.mark.parametrize("blocks", [[], [{"type": "text", "text": " \n"}]])
def test_an_empty_prompt_is_refused(blocks: list[dict[str, Any]]) -> None:
    with pytest.raises(InvalidRequest, match="empty"):
        read(*blocks)


@pytest.mark.parametrize("params", [None, [], "x", {}, {"sessionId": 7}, {"\ud800": 1}])
def test_parameters_in_a_wrong_form_are_refused(params: object) -> None:
    with pytest.raises(InvalidRequest, match="not those of the protocol"):
        parse_params(params, requests.OpenSession)


@pytest.mark.parametrize(
    ("capabilities", "shows"),
    [
        (None, False),
        ({}, False),
        ({"elicitation": None}, False),
        ({"elicitation": {"url": {}}}, False),
        ({"elicitation": {"form": {}}}, True),
    ],
)
def test_an_editor_tells_whether_it_shows_forms(capabilities: dict[str, Any] | None, shows: bool) -> None:
    hello = parse_params({"protocolVersion": 1, "clientCapabilities": capabilities}, requests.Initialize)

    assert hello.shows_forms == shows
