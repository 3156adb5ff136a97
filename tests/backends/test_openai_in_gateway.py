"""Files on their whole way: from a client through the gateway to an OpenAI-compatible model, and back."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from harness.pictures import make_png
from harness.scripted_model import ScriptedModel
from tests.api.client import ask, done, submit
from tests.backends.test_openai_files import pictures_of
from tests.support.attachments import read_requests
from tests.support.fixtures import scripted_model
from tests.support.inprocess import Serving, serving

__all__ = ["scripted_model"]


def hash_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def attach_all(*contents: bytes) -> list[dict[str, str]]:
    return [
        {"name": f"{number}.png", "media_type": "image/png", "data": base64.b64encode(content).decode()}
        for number, content in enumerate(contents)
    ]


async def send(served: Serving, words: str, *contents: bytes) -> dict[str, Any]:
    """Send a message with pictures, and return the answer."""
    attached = attach_all(*contents)
    answer = await ask(served, "POST", "/api/agent", {"message": words, "session": "s", "attachments": attached})
    assert answer.status == 200, answer.body
    return answer.body


async def test_pictures_reach_a_model_stay_in_the_conversation_and_come_back(
    tmp_path: Path, scripted_model: ScriptedModel
) -> None:
    agent = {"id": "main", "backend": "openai", "base_url": scripted_model.base_url, "model": "scripted"}
    cat = make_png("cat")
    async with serving(tmp_path / "home", {"agents": {"list": [agent]}}) as served:
        await send(served, "What is this?", cat)
        [made] = (await send(served, "[[draw 300 Here it is.]]"))["files"]
        async with served.client.get(f"/api/files/{made['id']}") as response:
            drawn = await response.read()
        await send(served, "Make it blue")
        [shown] = (await ask(served, "GET", "/api/agents")).body["agents"]

    first, second, third = (read_requests([request["body"]]).digests for request in scripted_model.requests)
    assert (made["name"], made["media_type"], drawn) == ("image.png", "image/png", make_png("x" * 300))
    assert first == second == {hash_of(cat)}
    assert third == {hash_of(cat), hash_of(drawn)}
    assert shown["accepts"] == ["image"]


async def test_a_goal_has_its_pictures_in_each_round_once(tmp_path: Path, scripted_model: ScriptedModel) -> None:
    agent = {"id": "main", "backend": "openai", "base_url": scripted_model.base_url, "model": "scripted"}
    async with serving(tmp_path / "home", {"agents": {"list": [agent]}}) as served:
        task = await submit(served, "Find the cat", mode="goal", max_rounds=2, attachments=attach_all(make_png("cat")))
        await done(served, task["id"])

    rounds = [pictures_of(request["body"]) for request in scripted_model.requests]
    assert rounds == [[make_png("cat")], [make_png("cat")]], "in the second one it is a part of the conversation"
