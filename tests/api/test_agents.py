"""`/api/agents`: which there are and what they are doing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.asking import ask, done, running, submit
from tests.support.inprocess import Serving, serving

AGENTS = {
    "agents": {
        "default": "two",
        "list": [
            {"id": "one", "backend": "echo", "script": True, "max_concurrent": 2, "model": "m"},
            {"id": "two", "backend": "echo", "timeout": 9},
            {"id": "off", "backend": "echo", "enabled": False},
        ],
    }
}


async def test_agents_are_listed_with_what_they_do(tmp_path: Path) -> None:
    async with serving(tmp_path / "home", AGENTS) as served:
        task = await submit(served, "@@ hang", agentId="one")
        await running(served, task["id"])
        listed = (await ask(served, "GET", "/api/agents")).body["agents"]
        await ask(served, "POST", f"/api/tasks/{task['id']}/cancel")
        await done(served, task["id"])

    shown = [(row["id"], row["status"], row["current_tasks"], row["is_enabled"], row["is_default"]) for row in listed]
    assert shown == [
        ("one", "working", 1, True, False),
        ("two", "idle", 0, True, True),
        ("off", "disabled", 0, False, False),
    ]
    assert (listed[0]["max_concurrent"], listed[0]["model"], listed[1]["timeout"]) == (2, "m", 9)


async def test_one_agent_tells_whether_it_could_answer(moongate: Serving) -> None:
    answer = await ask(moongate, "GET", "/api/agents/main")

    assert (answer.status, answer.body["agent"]["id"], answer.body["health"]["ok"]) == (200, "main", True)


@pytest.mark.parametrize("name", ["nobody", "%00", "..%2Fmain", "x" * 4000])
async def test_an_unknown_agent_is_not_found(moongate: Serving, name: str) -> None:
    answer = await ask(moongate, "GET", f"/api/agents/{name}")

    assert (answer.status, answer.code) == (404, "AGENT_NOT_FOUND")
