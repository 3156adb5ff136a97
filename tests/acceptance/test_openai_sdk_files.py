"""OpenAI's client sends a picture and a document through the whole gateway to real agents with scripted models."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from openai import AsyncOpenAI

from harness.pictures import make_png
from harness.received_files import ReceivedFile
from harness.scripted_model import serve_model
from harness.scripted_server import ScriptedServer
from tests.acceptance.test_acp_files import staged
from tests.support import opencode
from tests.support.attachments import make_pdf
from tests.support.inprocess import TOKEN
from tests.support.real_acp import REAL, Real

PNG, PDF = make_png(), make_pdf()
RECEIVED = {ReceivedFile("image/png", PNG), ReceivedFile("application/pdf", PDF)}
#: opencode over its own server, and agents that speak ACP
AGENTS = {
    "opencode": REAL["opencode"]._replace(serve=serve_model, entry=opencode.agent),
    "claude": REAL["claude"],
    "gemini": REAL["gemini"],
}
EACH = [pytest.param(real, id=name, marks=pytest.mark.agents(real.program)) for name, real in AGENTS.items()]


def make_data_url(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


class Desk(NamedTuple):
    """OpenAI's client, with a gateway that has a real agent."""

    sdk: AsyncOpenAI
    model: ScriptedServer
    home: Path

    def read_placed(self) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in self.home.glob("workspaces/*/attachments/*/*")}


@asynccontextmanager
async def opened(real: Real, home: Path) -> AsyncIterator[Desk]:
    async with (
        staged(real, home) as stage,
        AsyncOpenAI(
            base_url=f"http://127.0.0.1:{stage.served.port}/v1",
            api_key=TOKEN,
            http_client=httpx.AsyncClient(transport=httpx.AsyncHTTPTransport()),
            max_retries=0,
        ) as sdk,
    ):
        yield Desk(sdk, stage.model, stage.home)


@pytest.mark.parametrize("real", EACH)
async def test_a_picture_and_a_document_of_openais_client_reach_a_real_agent(real: Real, tmp_path: Path) -> None:
    url, document = make_data_url(PNG, "image/png"), make_data_url(PDF, "application/pdf")
    chat: Any = [
        {"type": "text", "text": "What is this? [[say seen]]"},
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "file", "file": {"filename": "paper, 2.pdf", "file_data": document}},
    ]
    response: Any = [
        {"type": "input_text", "text": "And this? [[say again]]"},
        {"type": "input_image", "image_url": url, "detail": "auto"},
        {"type": "input_file", "filename": "paper, 2.pdf", "file_data": document},
    ]

    async with opened(real, tmp_path) as desk:
        one = await desk.sdk.chat.completions.create(model="main", messages=[{"role": "user", "content": chat}])
        by_chat = set(desk.model.files)
        desk.model.requests.clear()
        two = await desk.sdk.responses.create(model="main", input=[{"role": "user", "content": response}])
        by_response = set(desk.model.files)
        placed = desk.read_placed()

    assert (one.choices[0].message.content, two.output_text) == ("seen", "again")
    assert by_chat == by_response == RECEIVED
    assert placed == {"image-1.png": PNG, "paper, 2.pdf": PDF}
