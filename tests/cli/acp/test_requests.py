"""What is read of an editor's requests."""

from __future__ import annotations

from typing import Any

import pytest

from cli.acp import requests
from cli.acp.requests import PromptContent, parse_params, read_prompt
from gateway.errors import InvalidRequest


def read_all(*blocks: dict[str, Any]) -> PromptContent:
    return read_prompt(parse_params({"sessionId": "s", "prompt": [*blocks]}, requests.Prompt).prompt)


def read(*blocks: dict[str, Any]) -> str:
    """Return the text of a prompt that has no files."""
    text, attachments = read_all(*blocks)
    assert attachments == []
    return text


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
        {"type": "image", "mimeType": "image/png"},
        {"type": "audio", "uri": "file:///a.wav"},
        {"type": "resource", "resource": {"uri": "file:///a.bin", "blob": 7}},
        {"type": "video", "data": "AA"},
        {"type": "text"},
        {"type": "resource_link"},
    ],
)
def test_what_agents_are_not_sent_is_refused(block: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=block["type"]):
        read(block)


@pytest.mark.parametrize(
    ("block", "name", "media_type"),
    [
        ({"type": "image", "data": "AA", "mimeType": "image/png"}, "image-1.png", "image/png"),
        (
            {"type": "image", "data": "AA", "mimeType": "image/png", "uri": "file:///a%20b.png?x"},
            "a b.png",
            "image/png",
        ),
        ({"type": "image", "data": "AA", "uri": "zed:///agent/pasted-image"}, "pasted-image", ""),
        ({"type": "audio", "data": "AA", "mimeType": "audio/mpeg"}, "audio-1.mp3", "audio/mpeg"),
        ({"type": "resource", "resource": {"uri": "file:///a.bin", "blob": "AA"}}, "a.bin", ""),
        ({"type": "resource", "resource": {"uri": "file:///..%2Fa", "blob": "AA", "mimeType": "x/y"}}, "a", "x/y"),
        ({"type": "resource", "resource": {"uri": "http://[/", "blob": "AA"}}, "file-1", ""),
    ],
)
def test_a_file_is_attached_and_its_name_is_in_the_text(block: dict[str, Any], name: str, media_type: str) -> None:
    before, after = {"type": "text", "text": "What is"}, {"type": "text", "text": "about?"}

    assert read_all(before, block, after) == (
        f"What is [{name}] about?",
        [{"name": name, "media_type": media_type, "data": "AA"}],
    )
    assert read_all(block).text == f"[{name}]"


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
