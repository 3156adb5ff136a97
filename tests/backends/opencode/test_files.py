"""Files for the real opencode: what its model gets, and what becomes of a message that is refused with them."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from gateway.backends.opencode import calls, wire
from gateway.backends.opencode.api import OpencodeApi
from gateway.backends.opencode.driven_server import Mark
from gateway.backends.opencode.options import Options
from gateway.domain.event import Log
from gateway.domain.file import FileLimits
from gateway.domain.ports.backend import NewFile, SessionRef
from gateway.domain.session import Role
from gateway.errors import AgentError
from harness.pictures import make_png
from harness.received_files import ReceivedFile, find_files
from harness.scripted_model import ScriptedModel
from harness.waiting import until
from tests.backends.opencode.rig import Answered, Rig, pid_of_server, present
from tests.support.attachments import attach_all, make_pdf, make_wav, make_zip
from tests.support.turns import message

pytestmark = [
    pytest.mark.agents("opencode"),
    pytest.mark.asyncio(loop_scope="module"),
]

PDF, PNG, TEXT = make_pdf(), make_png(), b"a line of a log, with marker-4711\n"
FILES = {
    "photo, ü#1.png": PNG,
    "paper.pdf": PDF,
    "report.log": TEXT,
    "sound.wav": make_wav(),
    "data.zip": make_zip(),
    "empty": b"",
}
IMAGE, DOCUMENT = ReceivedFile("image/png", PNG), ReceivedFile("application/pdf", PDF)


async def ask(
    rig: Rig, prompt: str, files: Mapping[str, bytes], workspace: Path | None = None, ref: str | None = None
) -> Answered:
    return await rig.ask(prompt, workspace, ref, files=files)


def read_last_prompt(rig: Rig, request: int = -1) -> str:
    """Return the newest user message in a request that the model has got, as JSON."""
    messages = rig.model.requests[request]["body"]["messages"]
    return json.dumps([message for message in messages if message["role"] == "user"][-1])


async def test_the_model_gets_pictures_pdfs_and_texts_and_is_told_where_each_file_is(rig: Rig) -> None:
    workspace = rig.workspace()

    answered = await ask(rig, "What is this? [[say seen]]", FILES, workspace)

    assert answered.reply == "seen"
    assert list(find_files(rig.model.last_prompt["body"])) == [IMAGE, DOCUMENT]
    told = json.dumps(rig.model.last_prompt["body"], ensure_ascii=False)
    assert "marker-4711" in told
    assert all(f"{workspace}/attachments/run-1/{name} (" in told for name in FILES)


async def test_files_come_with_a_conversation_that_begins_again(rig: Rig) -> None:
    lost = "ses_0000000000000000000000000"

    answered = await ask(rig, "[[say seen]]", {"a.png": PNG}, ref=lost)

    assert answered.error is None
    assert list(find_files(rig.model.last_prompt["body"])) == [IMAGE]


async def test_earlier_pictures_stay_in_the_conversation(rig: Rig) -> None:
    workspace = rig.workspace()
    first = await ask(rig, "[[say seen]]", {"a.png": PNG}, workspace)

    second = await rig.ask("[[say still there]]", workspace, first.ref)

    assert second.reply == "still there"
    assert list(find_files(rig.model.last_prompt["body"])) == [IMAGE]
    assert list(find_files(rig.model.last_prompt["body"]["messages"][-1])) == []


async def test_a_picture_that_opencode_cannot_read_is_named_instead(rig: Rig) -> None:
    workspace = rig.workspace()

    answered = await ask(rig, "[[say seen]]", {"broken.png": PNG[:30], "b.pdf": PDF}, workspace)
    later = await rig.ask("[[say later]]", workspace, answered.ref)

    assert (answered.reply, later.reply) == ("seen", "later")
    [remark] = answered.of(Log)
    assert "could not be decoded" in remark.message
    assert "broken.png, b.pdf" in remark.message
    assert f"{workspace}/attachments/run-1/broken.png (" in json.dumps(rig.model.last_prompt["body"])


async def test_a_picture_that_the_model_refuses_is_named_instead_and_forgotten(rig: Rig) -> None:
    workspace = rig.workspace()
    first = await rig.ask("[[say first]]", workspace)

    answered = await ask(rig, "[[error 400 1]] look", {"a.png": PNG}, workspace, first.ref)
    later = await rig.ask("[[history]]", workspace, answered.ref)

    assert answered.error is None
    assert "scripted error 400" in answered.of(Log)[0].message
    assert list(find_files(rig.model.last_prompt["body"])) == []
    assert later.reply.startswith("6 "), "the system prompt, and three prompts with two answers"


@pytest.mark.parametrize("files", [{}, {"b.png": make_png("b")}], ids=["text", "with another picture"])
async def test_a_message_is_answered_where_the_model_refuses_a_picture_of_an_earlier_one(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]
) -> None:
    workspace = rig.workspace()
    first = await ask(rig, "[[say first]]", {"a.png": PNG}, workspace)
    seen = msgspec.structs.replace(
        message(Role.USER, "the word is heliotrope", "r"), files=(attach_all(FILES)[0].file,)
    )
    monkeypatch.setattr(rig, "history", [seen, message(Role.ASSISTANT, "first", "r")])

    failed = await rig.ask("[[error 400]]", workspace, first.ref)
    refuse_pictures(monkeypatch)
    answered = await ask(rig, "[[say answered]]", files, workspace, first.ref)
    later = await rig.ask("[[say later]]", workspace, answered.of(SessionRef)[-1].ref)

    assert failed.error is not None
    assert failed.of(SessionRef)[-1].ref == first.ref, "the files were not why"
    assert (answered.error, answered.reply, later.reply) == (None, "answered", "later")
    assert "heliotrope" in read_last_prompt(rig, -2)


def refuse_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the model refuse each request with a picture."""
    note = ScriptedModel.note

    async def refuse(self: ScriptedModel, request: web.Request) -> dict[str, Any]:
        body = await note(self, request)
        if list(find_files(body)):
            refusal = json.dumps(self.error_body(400, "Could not process image"))
            raise web.HTTPBadRequest(text=refusal, content_type="application/json")
        return body

    monkeypatch.setattr(ScriptedModel, "note", refuse)


async def test_a_model_that_fails_with_and_without_its_files_fails_the_turn(rig: Rig) -> None:
    answered = await ask(rig, "[[error 400]] look", {"a.png": PNG})

    assert answered.error is not None
    assert "scripted error 400" in answered.error.message


async def test_a_model_without_pictures_is_told_of_them_by_opencode(rig: Rig) -> None:
    given: Options = rig.agent.options
    provider = {**given.config["provider"]["scripted"], "models": {"scripted": {}}}
    blind = rig.but(options={"config": {**given.config, "provider": {"scripted": provider}}})

    answered = await ask(blind, "[[say seen]]", {"a.png": PNG})

    assert answered.reply == "seen"
    assert "does not support image input" in read_last_prompt(rig)
    assert "/attachments/run-1/a.png (image/png" in read_last_prompt(rig)


async def test_large_files_of_a_conversation_do_not_stop_it(rig: Rig) -> None:
    largest = FileLimits().size
    workspace = rig.workspace()
    large = {f"{number}.pdf": PDF + bytes([number]) * (largest - len(PDF)) for number in range(2)}

    first = await ask(rig, "[[say seen]]", large, workspace)
    second = await rig.ask("[[say later]]", workspace, first.ref)

    assert (first.reply, second.reply) == ("seen", "later")
    assert [len(file.content) for file in find_files(rig.model.last_prompt["body"])] == [largest, largest]


async def test_a_large_picture_reaches_the_model_as_small_as_opencode_makes_it(rig: Rig) -> None:
    answered = await ask(rig, "[[say seen]]", {"large.png": make_png("x" * 20_000_000, 4000, 4000)})

    assert answered.reply == "seen"
    [given] = find_files(rig.model.last_prompt["body"])
    assert given.media_type.startswith("image/")
    assert len(given.content) < 5_000_000


async def test_an_attempt_after_a_crash_sends_the_files_once_more(rig: Rig) -> None:
    workspace = rig.workspace()
    hanging = rig.turn("[[hang]]", workspace, files={"a.png": PNG})
    ref = await anext(hanging)
    assert isinstance(ref, SessionRef)
    going_on = asyncio.ensure_future(anext(hanging))
    await until(lambda: rig.model.counters.active, "the model works")
    os.kill(pid_of_server(rig), signal.SIGKILL)
    await asyncio.wait([going_on])
    assert isinstance(going_on.exception(), AgentError)

    again = await ask(rig, "[[say seen]]", {"a.png": PNG}, workspace, ref.ref)

    assert again.reply == "seen"
    assert list(find_files(rig.model.last_prompt["body"]["messages"][-1])) == [IMAGE]
    assert [file.name for file in workspace.glob("attachments/*/*")] == ["a.png"]


async def answer_with_file(rig: Rig) -> Answered:
    """Put a file into an answer that grows: 1.18 makes none itself, whatever its model sends."""
    workspace = rig.workspace()
    asking = asyncio.create_task(rig.ask("[[slow 20 100]]", workspace))
    await until(lambda: rig.model.counters.active, "the answer comes in")
    api = present(rig).api
    assert isinstance(api, OpencodeApi)
    [session] = await api.send_request(list[wire.Session], "GET", "/session", query={"directory": str(workspace)})
    found = await api.read_messages_after(session, Mark(None))
    name = f"prt_zzz{session.id}"
    place = {"id": name, "sessionID": session.id, "messageID": found[-1].info.id}
    url = "data:image/png;base64," + base64.b64encode(PNG).decode()
    part = {**place, "type": "file", "mime": "image/png", "filename": "chart.png", "url": url}
    path = f"/session/{session.id}/message/{found[-1].info.id}/part/{name}"
    await api.send_request(None, "PATCH", path, query={"directory": str(workspace)}, body=part)

    return await asking


async def test_a_file_in_an_answer_of_opencode_is_a_file_that_the_agent_made(rig: Rig) -> None:
    answered = await answer_with_file(rig)

    assert answered.error is None
    assert answered.reply.startswith("w0 w1 ")
    assert answered.of(NewFile) == [NewFile(name="chart.png", media_type="image/png", content=PNG)]


async def test_an_answer_counts_without_files_that_are_too_large(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "MAX_ANSWER_WITH_FILES_BYTES", 500)

    answered = await answer_with_file(rig)

    assert answered.error is None
    assert answered.reply.startswith("w0 w1 ")
    assert answered.of(NewFile) == []
    assert "files of the answer are not kept: opencode's answer is larger" in answered.of(Log)[0].message
