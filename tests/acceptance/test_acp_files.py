"""The whole gateway with each real agent that speaks ACP and a scripted model: files that it gets and makes."""

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
from harness.scripted_server import ScriptedServer
from harness.waiting import until
from tests.api.client import ask
from tests.support.attachments import make_pdf, make_wav, make_zip
from tests.support.inprocess import Serving, serving
from tests.support.real_acp import EACH, REAL, Real
from tests.support.thorough import choose_cases

BINARY = make_zip()
PDF = make_pdf()
PNG = make_png()
TEXT = b"a line of a log, with marker-4711\n"
WAV = make_wav()

SENT = {
    "photo.png": ReceivedFile("image/png", PNG),
    "paper, 2.pdf": ReceivedFile("application/pdf", PDF),
    "sound.wav": ReceivedFile("audio/wav", WAV),
}
#: what the models of the agents get with the prompt; the rest they find in the workspace
GIVEN = {
    "claude": ("photo.png", "paper, 2.pdf"),
    "codex": ("photo.png",),
    "codex-zed": ("photo.png",),
    "gemini": ("photo.png", "paper, 2.pdf", "sound.wav"),
    "qwen": ("photo.png", "sound.wav"),
    "opencode": ("photo.png", "paper, 2.pdf"),
}


def encode_file(name: str, content: bytes) -> dict[str, str]:
    return {"name": name, "data": base64.b64encode(content).decode()}


TITLES = {
    "claude": "Claude Code",
    "codex": "Codex",
    "codex-zed": "Codex, older program",
    "gemini": "Gemini CLI",
    "qwen": "Qwen Code",
    "opencode": "opencode",
}


class Stage(NamedTuple):
    """A gateway with a real agent, and the server of its model."""

    served: Serving
    model: ScriptedServer
    home: Path

    async def send(self, message: str, attachments: list[dict[str, str]]) -> Any:
        answer = await ask(self.served, "POST", "/api/agent", {"message": message, "attachments": attachments})
        assert answer.status == 200, answer.body
        return answer.body


@asynccontextmanager
async def staged(real: Real, home: Path, **changes: Any) -> AsyncIterator[Stage]:
    async with real.serve() as model:
        entry = real.entry(model.base_url, home / "agent") | changes
        environ = {"PATH": os.environ["PATH"], "HOME": str(home)}
        async with serving(home / "state", {"agents": {"list": [entry]}}, environ=environ) as served:
            yield Stage(served, model, home / "state")


@pytest.mark.parametrize("real", EACH)
async def test_a_real_agent_gets_the_files_of_a_message(real: Real, tmp_path: Path) -> None:
    name = next(name for name, one in REAL.items() if one is real)
    others = {"report.log": TEXT, "data.bin": BINARY}
    contents = {**{each: file.content for each, file in SENT.items()}, **others}

    async with staged(real, tmp_path) as stage:
        answer = await stage.send("What is this? [[say seen]]", [encode_file(*each) for each in contents.items()])
        told = json.dumps([one["body"] for one in stage.model.requests])
        placed = {file.name: file for file in stage.home.glob("workspaces/*/attachments/*/*")}

    assert answer["reply"] == "seen"
    assert set(stage.model.files) == {SENT[each] for each in GIVEN[name]}
    assert "marker-4711" in told
    assert {each: placed[each].read_bytes() for each in contents} == contents
    assert all(f"{file}" in told for file in placed.values())


def prompt_for(tool: tuple[str, dict[str, Any]]) -> str:
    return f"[[tool {tool[0]} {json.dumps(tool[1])}]]"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    choose_cases(
        [
            pytest.param("codex-zed", marks=pytest.mark.agents("codex-acp-zed")),
            pytest.param("gemini", marks=pytest.mark.agents("gemini")),
        ],
        on_each_push=(0,),
    ),
)
async def test_a_picture_of_10_megabytes_reaches_the_model_as_it_is(name: str, tmp_path: Path) -> None:
    """Claude Code and opencode make such a picture smaller."""
    picture = make_png("x" * 10_000_000)

    async with staged(REAL[name], tmp_path) as stage:
        answer = await stage.send("What is this? [[say seen]]", [encode_file("large.png", picture)])

    assert answer["reply"] == "seen"
    assert stage.model.files == [ReceivedFile("image/png", picture)]


async def download(stage: Stage, file: dict[str, Any]) -> bytes:
    async with stage.served.client.get(f"/api/files/{file['id']}") as response:
        assert response.status == 200
        return await response.read()


@pytest.mark.parametrize("real", choose_cases(EACH, on_each_push=(0, 1, 3)))
async def test_what_a_real_agent_writes_into_its_outbox_is_a_file_of_the_answer(real: Real, tmp_path: Path) -> None:
    make = real.run if "codex" in real.program else real.write
    async with staged(real, tmp_path, permissions="allow") as stage:
        await stage.send("Hello [[say hello]]", [])
        [workspace] = (stage.home / "workspaces").iterdir()

        answer = await stage.send(prompt_for(make(workspace / "outbox" / "chart.csv")), [])

        [file] = answer["files"]
        content = await download(stage, file)
        assert (file["name"], file["size"], content.strip()) == ("chart.csv", len(content), b"x")
        await until(lambda: not list((workspace / "outbox").iterdir()), "the outbox is empty")


@pytest.mark.agents("codex-acp-zed")
async def test_a_picture_that_codex_generates_is_a_file_of_the_answer(tmp_path: Path) -> None:
    made = {"result": base64.b64encode(PNG).decode()}
    async with staged(REAL["codex-zed"], tmp_path) as stage:
        answer = await stage.send(f"Draw a square. [[tool image_generation {json.dumps(made)}]]", [])

        [file] = answer["files"]
        assert (file["name"], file["media_type"], await download(stage, file)) == ("ig_scripted.png", "image/png", PNG)


def test_the_page_of_agents_says_which_files_their_models_get() -> None:
    page = (Path(__file__).parents[2] / "docs" / "agents.md").read_text()

    for name, given in GIVEN.items():
        row = [TITLES[name], *("yes" if each in given else "no" for each in SENT), "yes"]
        assert f"| {' | '.join(row)} |\n" in page
