"""Files that an ACP agent shows to people: in its messages, and pictures that it generates."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from gateway.domain.event import Log, ToolEnd
from gateway.domain.ports.backend import NewFile, TurnOutput
from gateway.errors import AgentError
from harness.pictures import make_png
from tests.support.acp import Rig, of, text
from tests.support.attachments import make_pdf, make_wav

PDF = make_pdf()
PNG = make_png()
WAV = make_wav()


def encode(content: bytes) -> str:
    return base64.b64encode(content).decode()


def picture(data: str, **more: Any) -> dict[str, Any]:
    return {"type": "image", "mimeType": "image/png", "data": data, **more}


def embedded(**resource: Any) -> dict[str, Any]:
    return {"type": "resource", "resource": resource}


async def show(rig: Rig, block: dict[str, Any]) -> list[TurnOutput]:
    return await rig.ask(f"[[show {json.dumps(block)}]]")


async def replay(rig: Rig, *updates: dict[str, Any]) -> list[TurnOutput]:
    (rig.workspace / "told").write_text("\n".join(json.dumps({"update": update}) for update in updates))
    return await rig.ask("[[replay told]]")


def chunk(block: dict[str, Any]) -> dict[str, Any]:
    return {"sessionUpdate": "agent_message_chunk", "content": block}


@pytest.mark.parametrize(
    ("block", "wanted"),
    [
        (picture(encode(PNG)), ("image-1.png", "image/png", PNG)),
        (picture(encode(PNG), uri="file:///home/me/my%20chart.png"), ("my chart.png", "image/png", PNG)),
        (picture("\n".join([encode(PNG)[:60], encode(PNG)[60:]])), ("image-1.png", "image/png", PNG)),
        ({"type": "audio", "mimeType": "audio/x-wav", "data": encode(WAV)}, ("audio-1.wav", "audio/x-wav", WAV)),
        (
            embedded(uri="report:/a/b.pdf", mimeType="application/pdf", blob=encode(PDF)),
            ("b.pdf", "application/pdf", PDF),
        ),
        (embedded(uri="notes.txt", text="Grüße"), ("notes.txt", "", "Grüße".encode())),
        (embedded(uri="", mimeType="text/csv", text="a,b"), ("file-1.csv", "text/csv", b"a,b")),
    ],
)
async def test_what_an_agent_shows_is_a_file(rig: Rig, block: dict[str, Any], wanted: tuple[str, str, bytes]) -> None:
    said = await show(rig, block)

    assert of(said, NewFile) == [NewFile(name=wanted[0], media_type=wanted[1], content=wanted[2])]
    assert not text(said)


async def test_files_without_names_get_numbers_and_stand_next_to_the_text(rig: Rig) -> None:
    said = await replay(
        rig,
        chunk({"type": "text", "text": "Here: "}),
        chunk(picture(encode(PNG))),
        chunk(picture(encode(PNG + b"x"))),
        chunk({"type": "text", "text": "done"}),
    )

    assert text(said) == "Here: done"
    assert [file.name for file in of(said, NewFile)] == ["image-1.png", "image-2.png"]


@pytest.mark.parametrize("data", ["not base64!", "iVBORw0KG", "", "data:image/png;base64,aGk="])
async def test_a_file_that_cannot_be_read_is_told_in_the_log(rig: Rig, data: str) -> None:
    said = await replay(rig, chunk({"type": "text", "text": "Here."}), chunk(picture(data, uri="/x/chart.png")))

    assert not of(said, NewFile)
    assert "the file 'chart.png' of the agent is left out" in of(said, Log)[0].message


async def test_a_link_to_a_file_is_no_file(rig: Rig) -> None:
    link = {"type": "resource_link", "uri": "file:///etc/passwd", "name": "passwd"}

    said = await replay(rig, chunk({"type": "text", "text": "See there."}), chunk(link))

    assert not of(said, NewFile)


async def test_a_picture_of_10_megabytes_comes_back_as_it_was_sent(rig: Rig) -> None:
    large = make_png("".join(map(str, range(1_600_000))))

    [file] = of(await show(rig, picture(encode(large))), NewFile)

    assert file.content == large


async def test_a_turn_fails_with_the_reason_when_a_file_is_too_large_for_a_message(rig: Rig) -> None:
    with pytest.raises(AgentError, match="the agent wrote a line of more than 16384 KiB"):
        await rig.ask("[[line 17]]")


def call(name: str, status: str, **more: Any) -> dict[str, Any]:
    content = [{"type": "content", "content": picture(encode(PNG), uri="/home/me/ig_1.png")}]
    return {"sessionUpdate": name, "toolCallId": "t1", "status": status, "content": content, **more}


async def test_a_picture_that_codex_generates_is_a_file(rig: Rig) -> None:
    result = {"rawOutput": {"status": "completed", "result": encode(PNG)}}

    said = await replay(
        rig,
        call("tool_call", "in_progress", title="Image generation"),
        call("tool_call_update", "completed", **result),
        call("tool_call_update", "completed", title="Image generation", **result),
    )

    assert of(said, NewFile) == [NewFile(name="ig_1.png", media_type="image/png", content=PNG)]
    assert [end.output for end in of(said, ToolEnd)] == ["(image/png)"]


async def test_a_picture_that_a_tool_reads_is_not_sent_to_people(rig: Rig) -> None:
    said = await replay(
        rig,
        call("tool_call", "in_progress", title="Read chart.png", kind="read"),
        call("tool_call_update", "completed"),
        chunk({"type": "text", "text": "It is red."}),
    )

    assert not of(said, NewFile)
    assert [end.output for end in of(said, ToolEnd)] == ["(image/png)"]
