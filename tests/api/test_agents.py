"""`/api/agents`: which there are and what they are doing."""

from __future__ import annotations

import asyncio
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from gateway.engine.background import peer_process
from harness.waiting import until
from tests.api.client import ask, done, running, submit, token
from tests.support import scripted_acp
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


async def test_agents_are_listed_with_the_files_that_they_take(tmp_path: Path) -> None:
    agents = [
        {"id": "echo", "backend": "echo"},
        {"id": "command", "backend": "command", "command": ["cat"]},
        {"id": "tried", "backend": "openai", "base_url": "http://127.0.0.1:1/v1"},
        {"id": "told", "backend": "openai", "base_url": "http://127.0.0.1:1/v1", "inputs": ["text", "image", "file"]},
        {"id": "off", "backend": "echo", "enabled": False},
    ]
    async with serving(tmp_path / "home", {"agents": {"list": agents}}) as served:
        listed = (await ask(served, "GET", "/api/agents")).body["agents"]

    assert {row["id"]: row["accepts"] for row in listed} == {
        "echo": ["audio", "image", "other", "pdf"],
        "command": [],
        "tried": None,
        "told": ["image", "pdf"],
        "off": ["audio", "image", "other", "pdf"],
    }


async def test_one_agent_tells_whether_it_could_answer(moongate: Serving) -> None:
    answer = await ask(moongate, "GET", "/api/agents/main")

    assert (answer.status, answer.body["agent"]["id"], answer.body["health"]["ok"]) == (200, "main", True)


@pytest.mark.parametrize("name", ["nobody", "%00", "..%2Fmain", "x" * 4000])
async def test_an_unknown_agent_is_not_found(moongate: Serving, name: str) -> None:
    answer = await ask(moongate, "GET", f"/api/agents/{name}")

    assert (answer.status, answer.code) == (404, "AGENT_NOT_FOUND")


# --- what an agent offers ---------------------------------------------------------------------

ACP_COMMAND = [sys.executable, "-I", "-S", scripted_acp.__file__]


async def test_the_models_and_modes_of_an_agent_are_known_after_its_first_session(tmp_path: Path) -> None:
    agent = {"id": "main", "backend": "acp", "preset": "opencode-acp", "command": ACP_COMMAND}
    async with serving(tmp_path / "home", {"agents": {"list": [agent]}}) as served:
        before = (await ask(served, "GET", "/api/agents/main")).body
        wrong = {"input": "Hello", "model": "lage"}
        unchecked = (await ask(served, "POST", "/api/tasks", wrong, Idempotency_Key="once")).body["task"]
        await done(served, unchecked["id"])
        after = (await ask(served, "GET", "/api/agents/main")).body
        refused = await ask(served, "POST", "/api/tasks", wrong)
        again = await ask(served, "POST", "/api/tasks", wrong, Idempotency_Key="once")
        taken = await done(served, (await submit(served, "Hello", model="large"))["id"])

    assert (before["models"], before["modes"]) == (None, None)
    assert after["models"] == [{"id": "small", "name": "small"}, {"id": "large", "name": "large"}]
    assert after["modes"] == [{"id": "build", "name": "build"}, {"id": "plan", "name": "plan"}]
    assert (refused.status, refused.code) == (400, "INVALID_REQUEST")
    assert "the agent 'main' does not offer 'lage'" in refused.body["error"]["message"]
    assert "It offers large" in str(refused.body)
    assert (again.status, again.body["task"]["id"]) == (202, unchecked["id"]), "a repeated request is the earlier one"
    assert taken["status"] == "succeeded"


# --- agents that are made here ------------------------------------------------------------------


async def make(served: Serving, slug: str = "reviewer", **fields: Any) -> dict[str, Any]:
    answer = await ask(served, "POST", "/api/agents", {"slug": slug, **fields})
    assert answer.status == 201, answer.body
    made: dict[str, Any] = answer.body["agent"]
    return made


async def assign(served: Serving, agent: str, task: str, prompt: str = "@@ hang") -> Any:
    return await ask(served, "POST", f"/api/agents/{agent}/assign", {"task_id": task, "prompt": prompt})


async def test_an_agent_is_made_over_a_configured_one(moongate: Serving) -> None:
    made = await make(moongate, name="The reviewer", model="m", system_prompt="Review.", max_concurrent=3)

    listed = (await ask(moongate, "GET", "/api/agents")).body["agents"]
    assert [agent["slug"] for agent in listed] == ["main", "reviewer"]
    assert listed[1] == made
    assert str(uuid.UUID(made["id"])) == made["id"]
    shown = {name: made[name] for name in ("name", "base", "backend", "model", "system_prompt", "max_concurrent")}
    assert list(shown.values()) == ["The reviewer", "main", "echo", "m", "Review.", 3]
    assert (made["status"], made["current_tasks"], made["is_enabled"], made["is_default"]) == ("idle", 0, True, False)


@pytest.mark.parametrize("by", ["id", "slug"])
async def test_an_agent_is_asked_by_its_id_or_its_slug(moongate: Serving, by: str) -> None:
    made = await make(moongate)

    answer = await ask(moongate, "POST", "/api/agent", {"message": "hello", "agentId": made[by], "session": "s"})
    history = await ask(moongate, "GET", f"/api/sessions/{made[by]}:api:s")

    assert answer.body["reply"] == "echo: hello"
    assert history.body["session"]["key"] == f"{made['id']}:api:s"


async def test_a_session_and_a_list_of_tasks_name_an_agent_by_its_slug_too(moongate: Serving) -> None:
    made = await make(moongate)

    answer = await ask(moongate, "POST", "/api/agent", {"message": "hello", "session": "reviewer:api:s"})
    tasks = (await ask(moongate, "GET", "/api/tasks?agent=reviewer")).body["tasks"]

    assert answer.body["reply"] == "echo: hello"
    assert [(task["agentId"], task["session"]) for task in tasks] == [(made["id"], f"{made['id']}:api:s")]


async def test_an_agent_over_a_disabled_one_is_disabled(tmp_path: Path) -> None:
    async with serving(tmp_path / "home", AGENTS) as served:
        made = await make(served, base="off")
        refused = await ask(served, "POST", "/api/agent", {"message": "x", "agentId": "reviewer"})

    assert (made["status"], made["is_enabled"], refused.status) == ("disabled", False, 400)
    assert "its base agent, 'off', is disabled" in refused.message


async def test_what_is_changed_holds_at_once(moongate: Serving) -> None:
    await make(moongate, max_concurrent=1)
    first, second = [await submit(moongate, "@@ hang", agentId="reviewer", session=str(n)) for n in range(2)]
    await running(moongate, first["id"])

    edited = await ask(moongate, "PUT", "/api/agents/reviewer", {"max_concurrent": 2, "slug": "critic", "name": "C"})
    await running(moongate, second["id"])

    agent = (await ask(moongate, "GET", "/api/agents/critic")).body["agent"]
    assert (edited.status, agent["name"], agent["current_tasks"], agent["status"]) == (200, "C", 2, "working")
    assert (await ask(moongate, "GET", "/api/agents/reviewer")).status == 404


async def test_an_agent_is_not_given_the_slug_of_another(moongate: Serving) -> None:
    await make(moongate)
    await make(moongate, "critic")

    for slug in ("main", "critic"):
        refused = await ask(moongate, "PUT", "/api/agents/reviewer", {"slug": slug})
        assert refused.status == 409
    agents = (await ask(moongate, "GET", "/api/agents")).body["agents"]
    assert sorted(agent["slug"] for agent in agents) == ["critic", "main", "reviewer"]


async def test_a_disabled_agent_takes_nothing_and_keeps_what_waits(moongate: Serving) -> None:
    await make(moongate)
    first, second = [await submit(moongate, "@@ hang", agentId="reviewer", session=str(n)) for n in range(2)]
    await running(moongate, first["id"])

    disabled = (await ask(moongate, "PUT", "/api/agents/reviewer", {"is_enabled": False})).body["agent"]
    refused = await ask(moongate, "POST", "/api/tasks", {"input": "x", "agentId": "reviewer"})
    unassigned = await assign(moongate, "reviewer", "1")
    await ask(moongate, "POST", f"/api/tasks/{first['id']}/cancel")
    await done(moongate, first["id"])
    waiting = (await ask(moongate, "GET", f"/api/tasks/{second['id']}")).body["task"]["status"]
    await ask(moongate, "PUT", "/api/agents/reviewer", {"is_enabled": True})
    await running(moongate, second["id"])

    assert (disabled["status"], disabled["queued"], disabled["current_tasks"]) == ("disabled", 1, 1)
    assert (refused.status, refused.code, "is disabled" in refused.message) == (400, "INVALID_REQUEST", True)
    assert (unassigned.status, unassigned.code) == (409, "CONFLICT")
    assert waiting == "queued"


async def test_what_waits_for_a_deleted_agent_fails_and_what_is_at_work_goes_on(
    moongate: Serving, pace: asyncio.Semaphore
) -> None:
    made = await make(moongate)
    first, second = [await submit(moongate, "@@ sleep 1", agentId="reviewer", session=str(n)) for n in range(2)]
    await running(moongate, first["id"])
    await until(lambda: pace._waiters, "its agent has it")

    gone = await ask(moongate, "DELETE", "/api/agents/reviewer")
    pace.release()

    failed = await done(moongate, second["id"])
    assert gone.body == {"status": "ok", "failed": 1}
    assert (failed["status"], failed["error"]) == (
        "failed",
        "the agent 'reviewer' was removed before this run began.",
    )
    assert (await ask(moongate, "GET", "/api/agents")).body["deleted"] == {made["id"]: "reviewer"}
    assert (await done(moongate, first["id"]))["status"] == "succeeded"
    used = (await ask(moongate, "GET", "/api/usage?by=agent")).body["usage"]
    assert [one["slug"] for one in used if one["name"] == made["id"]] == ["reviewer"]
    assert (await ask(moongate, "DELETE", "/api/agents/reviewer")).status == 404


async def test_agents_are_there_after_a_restart_and_without_their_base_they_are_disabled(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with serving(home, AGENTS) as served:
        await make(served, "over-one", base="one")
        task = await submit(served, "@@ hang", agentId="two")
        stuck = await submit(served, "@@ hang", agentId="one", session="s")
        await running(served, stuck["id"])
        waiting = await submit(served, "hello", agentId="one", session="s")
    other = {"agents": {"list": [{"id": "two", "backend": "echo"}]}}
    async with serving(home, other) as served:
        agent = (await ask(served, "GET", "/api/agents/over-one")).body
        refused = await ask(served, "POST", "/api/agent", {"message": "x", "agentId": "over-one"})
        ended = [(await done(served, one["id"]))["error"] for one in (task, waiting)]

    assert (agent["agent"]["status"], agent["health"]["ok"]) == ("disabled", False)
    assert "its base agent, 'one', is no longer in the config file" in refused.message
    assert ended == [None, "the agent 'one' was removed before this run began."]


async def test_what_another_process_changes_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_process, "RESCUE_INTERVAL_SECONDS", 0.05)
    async with serving(tmp_path / "home") as one, serving(tmp_path / "home") as other:
        await make(one)
        while (await ask(other, "GET", "/api/agents/reviewer")).status == 404:
            await asyncio.sleep(0.01)
        await ask(other, "PUT", "/api/agents/reviewer", {"max_concurrent": 7})
        await until(lambda: one.engine.agents.find_by_name("reviewer").max_concurrent == 7, "the change is seen")
        await ask(one, "DELETE", "/api/agents/reviewer")
        await until(lambda: other.engine.agents.find_by_name("reviewer") is None, "its end is seen")


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 400, "slug: is missing"),
        ({"slug": "-x"}, 400, "slug: "),
        ({"slug": "x" * 51}, 400, "slug: "),
        ({"slug": "main"}, 409, "'main' in the config file"),
        ({"slug": "x", "name": "x" * 101}, 400, "name: "),
        ({"slug": "x", "model": "--yes"}, 400, "model: "),
        ({"slug": "x", "system_prompt": "--yes"}, 400, "system_prompt: "),
        ({"slug": "x", "system_prompt": "a\0b"}, 400, "system_prompt: "),
        ({"slug": "x", "max_concurrent": 0}, 400, "max_concurrent: "),
        ({"slug": "x", "base": "mian"}, 400, "no agent 'mian' in the config file; did you mean \"main\"?"),
        ({"slug": "x", "command": ["sh"]}, 400, "command: unknown field"),
        ({"slug": "x", "env": {"A": "b"}}, 400, "env: unknown field"),
        ({"slug": "x", "backend": "command"}, 400, "backend: unknown field"),
        ({"slug": "x", "workspace": "/"}, 400, "workspace: unknown field"),
        ({"slug": "x", "permissions": "allow"}, 400, "permissions: unknown field"),
    ],
)
async def test_what_cannot_be_an_agent_is_refused_and_nothing_is_kept(
    moongate: Serving, body: dict[str, Any], status: int, said: str
) -> None:
    answer = await ask(moongate, "POST", "/api/agents", body)

    assert answer.status == status, answer.body
    assert said in answer.message
    assert len((await ask(moongate, "GET", "/api/agents")).body["agents"]) == 1


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_agents_of_the_config_file_can_only_be_read(moongate: Serving, method: str) -> None:
    answer = await ask(moongate, method, "/api/agents/main", {"max_concurrent": 9} if method == "PUT" else None)

    assert (answer.status, answer.code) == (409, "CONFLICT")
    assert "config file" in answer.message


async def test_the_same_key_makes_one_agent(moongate: Serving) -> None:
    answers = [await ask(moongate, "POST", "/api/agents", {"slug": "x"}, Idempotency_Key="k") for _ in range(2)]

    assert answers[0].body == answers[1].body
    assert (await ask(moongate, "POST", "/api/agents", {"slug": "x"})).status == 409


@pytest.mark.parametrize("scope", ["read", "write"])
async def test_only_admins_change_agents(moongate: Serving, scope: str) -> None:
    await make(moongate)
    secret = await token(moongate, "someone", scope)

    asked: list[tuple[str, str, Any]] = [
        ("POST", "/api/agents", {"slug": "mine"}),
        ("PUT", "/api/agents/reviewer", {"name": "mine"}),
        ("DELETE", "/api/agents/reviewer", None),
    ]
    answers = [await ask(moongate, method, path, body, token=secret) for method, path, body in asked]

    assert [answer.status for answer in answers] == [403, 403, 403]
    assert [agent["name"] for agent in (await ask(moongate, "GET", "/api/agents")).body["agents"]] == [
        "main",
        "reviewer",
    ]


# --- assigning ----------------------------------------------------------------------------------


async def test_a_task_is_done_in_its_own_session(moongate: Serving) -> None:
    made = await make(moongate)

    answer = await assign(moongate, "reviewer", "42", "hello")
    task = await done(moongate, answer.body["task"]["id"])

    assert (answer.status, answer.headers["X-Run-Id"]) == (202, task["id"])
    assert (task["session"], task["result"], task["labels"]) == (
        f"{made['id']}:task:task:42",
        "echo: hello",
        {"task": "42", "agentId": "reviewer"},
    )
    history = (await ask(moongate, "GET", "/api/sessions/task:42/history")).body
    assert (history["sessionKey"], [line["content"] for line in history["messages"]]) == (
        "task:42",
        ["hello", "echo: hello"],
    )


async def test_of_fifty_at_once_three_are_taken(moongate: Serving) -> None:
    await make(moongate, max_concurrent=3)

    answers = await asyncio.gather(*(assign(moongate, "reviewer", str(number)) for number in range(50)))

    taken = [answer.body["task"]["id"] for answer in answers if answer.status == 202]
    refused = {(answer.status, answer.code) for answer in answers if answer.status != 202}
    agent = (await ask(moongate, "GET", "/api/agents/reviewer")).body["agent"]
    assert (len(taken), refused, agent["assigned"]) == (3, {(409, "AGENT_BUSY")}, 3)

    for task in taken:
        await ask(moongate, "POST", f"/api/tasks/{task}/cancel")
        await done(moongate, task)
    agent = (await ask(moongate, "GET", "/api/agents/reviewer")).body["agent"]
    assert (agent["status"], agent["assigned"], agent["current_tasks"]) == ("idle", 0, 0)


@pytest.mark.parametrize("prompt", ["hello", "@@ fail no", "@@ crash"])
async def test_however_a_task_ends_its_slot_is_free_again(moongate: Serving, prompt: str) -> None:
    await make(moongate)
    for number in range(3):
        answer = await assign(moongate, "reviewer", str(number), prompt)
        assert answer.status == 202
        await done(moongate, answer.body["task"]["id"])


async def test_trying_an_assigned_task_again_takes_a_slot_as_well(moongate: Serving) -> None:
    await make(moongate)
    failed = (await assign(moongate, "reviewer", "1", "@@ fail no")).body["task"]["id"]
    await done(moongate, failed)
    await assign(moongate, "reviewer", "2")

    again = await ask(moongate, "POST", f"/api/tasks/{failed}/retry")

    assert (again.status, again.code) == (409, "AGENT_BUSY")


async def test_configured_agents_are_assigned_tasks_too(moongate: Serving) -> None:
    answers = [await assign(moongate, "main", str(number)) for number in range(3)]

    assert [answer.status for answer in answers] == [202, 202, 409]
    assert (await assign(moongate, "nobody", "1")).code == "AGENT_NOT_FOUND"
    assert (await assign(moongate, "main", "a\nb")).status == 400


async def test_the_last_outcomes_of_each_agent_are_shown_oldest_first(tmp_path: Path) -> None:
    async with serving(tmp_path / "home", AGENTS) as served:
        tasks = []
        for text in ("@@ say hi", "@@ fail no", "@@ say ho"):
            tasks.append((await submit(served, text, agentId="one"))["id"])
            ended = await done(served, tasks[-1])
        all_ = (await ask(served, "GET", "/api/agents/outcomes")).body["agents"]
        two = (await ask(served, "GET", "/api/agents/outcomes?each=2")).body["agents"]
        wrong = await ask(served, "GET", "/api/agents/outcomes?each=101")

    told = [(one["task"], one["status"], one["outcome"]) for one in all_["one"]]
    assert told == [
        (tasks[0], "succeeded", "completed"),
        (tasks[1], "failed", "agent_error"),
        (tasks[2], "succeeded", "completed"),
    ]
    assert (all_["two"], all_["off"]) == ([], [])
    assert two["one"] == all_["one"][1:]
    assert all_["one"][-1]["finished_at"] == ended["finished_at"]
    assert all_["one"][-1]["seconds"] >= 0
    assert wrong.status == 400
