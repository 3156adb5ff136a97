"""The files of a turn as blocks of a prompt: by what a scripted agent says that it takes."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest

from gateway.backends.acp import prompts
from gateway.domain.agent import PermissionPolicy
from gateway.domain.event import Log
from gateway.domain.ports.backend import FileKind, SessionRef
from gateway.domain.session import Role
from gateway.errors import AgentError
from harness.pictures import make_png
from tests.support.acp import Rig, of, ref, text
from tests.support.attachments import attach, make_pdf, make_wav, make_zip
from tests.support.turns import message

BINARY = make_zip()
PDF = make_pdf()
PNG = make_png()
TEXT = b"a line of a log, with marker-4711\n"
WAV = make_wav()

ALLOW = PermissionPolicy.ALLOW
FILES = {"a.png": PNG, "b.pdf": PDF, "c.wav": WAV, "d.log": TEXT, "e.bin": BINARY}


async def ask(rig: Rig, files: dict[str, bytes] | None = None, words: str = "[[blocks]]") -> list[dict[str, Any]]:
    """Return the blocks that the agent got."""
    found: list[dict[str, Any]] = json.loads(text(await rig.ask(words, files=FILES if files is None else files)))
    return found


def inside(blocks: list[dict[str, Any]]) -> list[tuple[str, bytes]]:
    """Return the type and the content of each block after the text."""
    return [(block["type"], _content_of(block)) for block in blocks[1:]]


def _content_of(block: dict[str, Any]) -> bytes:
    given = block.get("resource") or block
    encoded = given.get("data") or given.get("blob")
    return base64.b64decode(encoded) if encoded else str(given["text"]).encode()


async def test_an_agent_that_takes_no_files_is_told_where_they_are(rig: Rig) -> None:
    [prompt] = await ask(rig)

    listed = [line.split(" ")[1] for line in prompt["text"].splitlines() if line.startswith("- ")]
    assert listed == [f"{rig.workspace}/attachments/run-1/{name}" for name in FILES]


async def test_an_agent_gets_what_it_takes_and_is_told_where_each_file_is(rig: Rig) -> None:
    rig.but("--takes", "image,audio,embeddedContext")

    blocks = await ask(rig)

    assert inside(blocks) == [("image", PNG), ("audio", WAV), ("resource", TEXT)]
    assert all(f"/attachments/run-1/{name} (" in blocks[0]["text"] for name in FILES)
    assert blocks[3]["resource"]["uri"] == (rig.workspace / "attachments/run-1/d.log").as_uri()


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("OpenCode", [("image", PNG), ("resource", PDF), ("audio", WAV), ("resource", TEXT)]),
        ("gemini-cli", [("resource", PNG), ("resource", PDF), ("resource", WAV), ("resource", TEXT)]),
        ("qwen-code", [("image", PNG), ("audio", WAV), ("resource", TEXT)]),
    ],
)
async def test_a_known_agent_gets_files_in_the_form_that_reaches_its_model(
    rig: Rig, name: str, wanted: list[tuple[str, bytes]]
) -> None:
    rig.but("--takes", "image,audio,embeddedContext", "--name", name, "--modes", "default", permissions=ALLOW)

    assert inside(await ask(rig)) == wanted


async def test_what_an_agent_takes_is_known_after_its_first_turn(rig: Rig) -> None:
    rig.but("--takes", "image,embeddedContext", "--name", "OpenCode", permissions=ALLOW)
    before = rig.backend.accepts(rig.agent)

    await rig.ask("Hello")

    assert before is None
    assert rig.backend.accepts(rig.agent) == {FileKind.IMAGE, FileKind.PDF}


async def test_files_that_are_too_large_for_a_prompt_are_only_named(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "MAX_EMBEDDED_BYTES", len(PNG) + 10)
    rig.but("--takes", "image,embeddedContext")

    blocks = await ask(rig, {"first.png": PNG, "second.png": PNG, "last.txt": b"short"})

    assert inside(blocks) == [("image", PNG), ("resource", b"short")]
    assert "/second.png (image/png" in blocks[0]["text"]


async def test_a_long_text_is_only_named(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "MAX_EMBEDDED_TEXT_BYTES", 100)
    rig.but("--takes", "embeddedContext")

    blocks = await ask(rig, {"short.txt": b"x" * 100, "long.txt": b"x" * 101, "empty.txt": b"", "nul.txt": b"\0"})

    assert inside(blocks) == [("resource", b"x" * 100)]
    assert all(f"/{name}.txt (" in blocks[0]["text"] for name in ("long", "empty", "nul"))


async def test_an_agent_that_begins_a_new_conversation_gets_the_files_too(rig: Rig) -> None:
    rig.but("--takes", "image")

    said = await rig.ask("[[blocks]]", "s-unknown", files={"a.png": PNG})

    blocks = json.loads(text(said))
    assert inside(blocks) == [("image", PNG)]
    assert "/a.png (image/png" in blocks[0]["text"]


async def test_a_picture_of_10_megabytes_reaches_an_agent(rig: Rig) -> None:
    rig.but("--takes", "image")
    picture = make_png("x" * 10_000_000)

    said = await rig.ask("[[say seen]]", files={"large.png": picture})

    assert text(said) == "seen"


@pytest.mark.parametrize("keeps", [False, True], ids=["forgotten by the agent", "kept in its conversation"])
async def test_a_message_is_answered_where_the_model_refuses_its_picture(rig: Rig, *, keeps: bool) -> None:
    rig.but("--takes", "image", *(["--keeps"] if keeps else []))
    (rig.workspace / "blind").touch()

    said = await rig.ask("[[blocks]]", files={"a.png": PNG})

    [prompt] = json.loads(text(said))
    assert f"{rig.workspace}/attachments/run-1/a.png (" in prompt["text"]
    tried = [one.message for one in of(said, Log)]
    assert "Could not process image" in tried[0]
    assert "with the names of the attached files in their place" in tried[0]
    assert any("in a new conversation" in one for one in tried) == keeps


async def test_a_message_is_answered_where_the_model_refuses_a_picture_of_an_earlier_one(rig: Rig) -> None:
    rig.but("--takes", "image")
    first = await rig.ask("[[blocks]]", files={"a.png": PNG})
    picture = attach("a.png", "image/png", PNG).file
    seen = msgspec.structs.replace(message(Role.USER, "the word is heliotrope", "r"), files=(picture,))
    rig.history = [seen, message(Role.ASSISTANT, "first", "r")]
    (rig.workspace / "blind").touch()

    said = await rig.ask("[[blocks]]", ref(first))
    later = await rig.ask("[[blocks]]", of(said, SessionRef)[-1].ref)

    assert "heliotrope" in json.loads(text(said))[0]["text"]
    assert json.loads(text(later)) == [{"type": "text", "text": "[[blocks]]"}]


async def test_a_failure_without_files_is_not_tried_again(rig: Rig) -> None:
    said: list[Any] = []

    with pytest.raises(AgentError, match="the agent refused"):
        await rig.ask("[[fail]]", said=said)

    assert of(said, Log) == []
