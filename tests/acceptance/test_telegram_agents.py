"""Telegram with real agents and scripted models: a photo and a document go all the way to the model, and a chart that
the agent makes comes back as a photo.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from harness.pictures import make_png
from harness.received_files import ReceivedFile
from tests.support.attachments import make_pdf
from tests.support.inprocess import serving
from tests.support.real_acp import REAL, Real
from tests.support.telegram_server import BOT_TOKEN, serve_telegram
from tests.support.thorough import choose_cases

PDF, PNG = make_pdf(), make_png()
#: tools with which the agents run a command
SHELLS = {"claude": "Bash", "gemini": "run_shell_command", "opencode": "bash"}

NAMES = [pytest.param(name, marks=pytest.mark.agents(REAL[name].program)) for name in SHELLS]


@pytest.mark.slow
@pytest.mark.parametrize("name", choose_cases(NAMES, on_each_push=(0,)))
async def test_files_of_a_chat_reach_the_model_and_a_chart_comes_back(name: str, tmp_path: Path) -> None:
    real: Real = REAL[name]
    draw = {"command": f"echo {base64.b64encode(PNG).decode()} | base64 -d > outbox/chart.png", "description": "x"}
    async with real.serve() as model, serve_telegram() as telegram:
        settings = {
            "channels": {"telegram": {"token": BOT_TOKEN, "base_url": telegram.base_url, "chats": [7]}},
            "agents": {"list": [real.entry(model.base_url, tmp_path / "agent") | {"permissions": "allow"}]},
        }
        environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        async with serving(tmp_path / "state", settings, environ=environ):
            await telegram.send_photo(7, PNG, caption="What is this? [[say a picture]]")
            await telegram.answered(7, "a picture")
            document = telegram.keep(PDF, file_name="paper.pdf", mime_type="application/pdf")
            await telegram.say(7, "", document=document, caption="And this? [[say a paper]]")
            await telegram.answered(7, "a picture", "a paper")
            given = set(model.files)
            await telegram.say(7, f"Draw. [[tool {SHELLS[name]} {json.dumps(draw)}]]")
            await telegram.until(lambda: telegram.chats[7].files, "the chart arrives")
            [made] = telegram.chats[7].files.values()

    assert given == {ReceivedFile("image/png", PNG), ReceivedFile("application/pdf", PDF)}
    assert (made.kind, made.name, made.content) == ("photo", "chart.png", PNG)
