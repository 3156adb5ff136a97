"""Questions of real agents that speak ACP, from the agent to the answer over HTTP and back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.scripted_anthropic import serve_anthropic
from tests.api.client import ask, done, stream, submit
from tests.support import claude
from tests.support.inprocess import Serving, serving

pytestmark = pytest.mark.agents("claude-agent-acp")

WHICH = {
    "question": "Which colour?",
    "header": "Colour",
    "multiSelect": False,
    "options": [{"label": "Red", "description": "warm"}, {"label": "Blue", "description": "cold"}],
}


@asynccontextmanager
async def asking_claude(home: Path, **more: Any) -> AsyncIterator[tuple[Serving, str]]:
    """A gateway, and a task in which Claude Code asks a question with its tool AskUserQuestion."""
    async with serve_anthropic() as model:
        agent = claude.agent(model.base_url, home / "agent", **more)
        async with serving(home / "gateway", {"agents": {"list": [agent]}}) as served:
            tool = json.dumps({"questions": [WHICH]}).replace("]}", "] }")
            yield served, (await submit(served, f"[[tool AskUserQuestion {tool} ]]"))["id"]


async def asked(served: Serving, task: str) -> Any:
    """Wait until the agent of a task asks, and return its request."""
    async with stream(served, f"/api/tasks/{task}/events") as events:
        async for frame in events:
            if frame.event == "permission":
                return frame.data
    raise AssertionError(await done(served, task))


@pytest.mark.parametrize("answer", ["Blue", "rather green"])
async def test_a_question_of_claude_code_is_answered_with_an_option_or_a_text(tmp_path: Path, answer: str) -> None:
    async with asking_claude(tmp_path, permissions="ask") as (served, task):
        request = await asked(served, task)
        [field] = request["question"]["fields"]
        body = {"answer": "answer", "content": {field["name"]: answer}}
        answered = await ask(served, "POST", f"/api/tasks/{task}/permissions/p1", body)
        ended = await done(served, task)

    assert (request["action"], field["title"], field["custom"]) == ("Which colour?", "Colour", True)
    assert [one["label"] for one in field["options"]] == ["Red", "Blue"]
    assert answered.status == 200
    assert f'"Which colour?"="{answer}"' in ended["result"]


async def test_claude_code_is_told_that_nobody_answers(tmp_path: Path) -> None:
    async with asking_claude(tmp_path, permissions="ask", permission_timeout=0.1) as (served, task):
        ended = await done(served, task)
        [request] = (await ask(served, "GET", f"/api/tasks/{task}/permissions")).body["permissions"]

    assert (request["answer"], request["reason"]) == ("deny", "deadline")
    assert "The user did not answer the questions." in ended["result"]


async def test_claude_code_has_no_tool_for_questions_if_nobody_may_be_asked(tmp_path: Path) -> None:
    async with asking_claude(tmp_path, permissions="allow") as (served, task):
        ended = await done(served, task)
        listed = (await ask(served, "GET", f"/api/tasks/{task}/permissions")).body["permissions"]

    assert listed == []
    assert "No such tool available: AskUserQuestion" in ended["result"]
