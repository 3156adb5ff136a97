"""The whole gateway with the real opencode and a scripted model: files that it gets and makes."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from harness.pictures import make_png
from harness.received_files import ReceivedFile
from harness.scripted_model import ScriptedModel, serve_model
from tests.api.client import ask
from tests.support import opencode
from tests.support.attachments import make_pdf, make_zip
from tests.support.inprocess import Serving, serving

pytestmark = pytest.mark.agents("opencode")

PDF, PNG, TEXT = make_pdf(), make_png(), b"a line of a log, with marker-4711\n"
GIVEN = {"photo.png": PNG, "paper, 2.pdf": PDF, "report.log": TEXT, "data.zip": make_zip()}
RECEIVED = [ReceivedFile("image/png", PNG), ReceivedFile("application/pdf", PDF)]


def attach(name: str, content: bytes) -> dict[str, str]:
    return {"name": name, "data": base64.b64encode(content).decode()}


class Stage(NamedTuple):
    served: Serving
    model: ScriptedModel
    home: Path

    async def send(self, message: str, **more: Any) -> Any:
        answer = await ask(self.served, "POST", "/api/agent", {"message": message, **more})
        assert answer.status == 200, answer.body
        return answer.body


@asynccontextmanager
async def staged(home: Path) -> AsyncIterator[Stage]:
    async with serve_model() as model:
        entry = opencode.agent(model.base_url, home / "agent")
        environ = {"PATH": os.environ["PATH"], "HOME": str(home)}
        async with serving(home / "state", {"agents": {"list": [entry]}}, environ=environ) as served:
            yield Stage(served, model, home / "state")


async def test_opencode_gets_files_of_a_message_and_files_that_are_stored(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        inline = await stage.send("[[say seen]]", attachments=[attach(*each) for each in GIVEN.items()])
        got, told = stage.model.files, json.dumps(stage.model.last_prompt["body"])
        placed = {file.name: file for file in stage.home.glob("workspaces/*/attachments/*/*")}
        run = await ask(stage.served, "GET", f"/api/tasks/{inline['run_id']}")
        ids = [{"file": one["id"]} for one in run.body["task"]["attachments"]]
        stage.model.requests.clear()
        stored = await stage.send("[[say again]]", attachments=ids[:2], session="another")

    assert (inline["reply"], stored["reply"]) == ("seen", "again")
    assert got == stage.model.files == RECEIVED
    assert "marker-4711" in told
    assert {name: file.read_bytes() for name, file in placed.items()} == GIVEN
    assert all(str(file) in told for file in placed.values())


async def test_what_opencode_writes_into_its_outbox_comes_with_the_answer(tmp_path: Path) -> None:
    encoded = base64.b64encode(PNG).decode()
    call = {"command": f"echo {encoded} | base64 -d > outbox/chart.png", "description": "x"}
    async with staged(tmp_path) as stage:
        answer = await stage.send(f"[[tool bash {json.dumps(call)}]]")
        [made] = answer["files"]
        async with stage.served.client.get(f"/api/files/{made['id']}") as download:
            content, kind = await download.read(), download.content_type

    assert (made["name"], made["media_type"], made["size"]) == ("chart.png", "image/png", len(PNG))
    assert (content, kind) == (PNG, "image/png")


async def test_a_picture_that_opencode_reads_with_its_tool_is_not_its_answer(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.send("[[say seen]]", attachments=[attach("photo.png", PNG)], session="one")
        [placed] = stage.home.glob("workspaces/*/attachments/*/*.png")
        call = json.dumps({"filePath": str(placed)})
        answer = await stage.send(f"[[tool read {call}]]", session="one")

    assert answer["files"] == []
    assert len(stage.model.files) == 1, "the model has read the picture that it had got before"
