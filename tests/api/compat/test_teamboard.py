"""Team Board's agents service."""

from __future__ import annotations

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from harness.live_gateway import Live
from harness.waiting import until_sync
from tests.api.client import Answer, ask, done, running, token
from tests.support.inprocess import Serving

pytestmark = pytest.mark.both_stores

FIELDS = {
    "id",
    "name",
    "slug",
    "model",
    "system_prompt",
    "max_concurrent",
    "status",
    "current_tasks",
    "is_enabled",
    "created_at",
    "updated_at",
}


async def make(served: Serving, slug: str = "reviewer", **fields: Any) -> dict[str, Any]:
    answer = await ask(served, "POST", "/agents/", {"name": "The reviewer", "slug": slug, **fields})
    assert answer.status == 200, answer.body
    made: dict[str, Any] = answer.body
    return made


async def assign(served: Serving, agent: str, task: Any, prompt: str = "@@ hang") -> Answer:
    return await ask(served, "POST", f"/agents/{agent}/assign", {"task_id": task, "prompt": prompt})


async def shown(served: Serving, agent: str = "reviewer") -> dict[str, Any]:
    found: dict[str, Any] = (await ask(served, "GET", f"/agents/{agent}")).body
    return found


async def test_an_agent_has_team_board_s_fields(moongate: Serving) -> None:
    made = await make(moongate, system_prompt="Review.", whatever="else", status="working", current_tasks=9)

    assert set(made) == FIELDS
    assert str(uuid.UUID(made["id"])) == made["id"]
    expected = ("The reviewer", "reviewer", "Review.", 1, "idle", 0, True)
    names = ("name", "slug", "system_prompt", "max_concurrent", "status", "current_tasks", "is_enabled")
    assert tuple(made[name] for name in names) == expected


async def test_the_list_is_bare_and_whole_and_every_id_leads_back(moongate: Serving) -> None:
    made = await make(moongate)

    listed = (await ask(moongate, "GET", "/agents/")).body

    assert [agent["slug"] for agent in listed] == ["main", "reviewer"]
    assert listed[1] == made
    for agent in listed:
        assert set(agent) == FIELDS
        assert str(uuid.UUID(agent["id"])) == agent["id"]
        assert await shown(moongate, agent["id"]) == await shown(moongate, agent["slug"]) == agent


@pytest.mark.parametrize("by", ["id", "slug"])
async def test_any_of_its_fields_is_changed(moongate: Serving, by: str) -> None:
    made = await make(moongate)

    changed = await ask(moongate, "PUT", f"/agents/{made[by]}", {"is_enabled": False, "model": "m"})

    expected = made | {"is_enabled": False, "model": "m", "updated_at": changed.body["updated_at"]}
    assert (changed.status, changed.body) == (200, expected)


async def test_an_agent_is_deleted(moongate: Serving) -> None:
    made = await make(moongate)

    gone = await ask(moongate, "DELETE", f"/agents/{made['id']}")
    again = await ask(moongate, "DELETE", f"/agents/{made['id']}")

    assert (gone.body, again.status, again.body) == ({"ok": True}, 404, {"detail": "Agent not found"})


async def test_a_task_is_assigned_and_called_back(moongate: Serving) -> None:
    made = await make(moongate)

    answer = await assign(moongate, made["id"], 42, "hello")
    task = await done(moongate, answer.body["runId"])
    called = await ask(moongate, "POST", "/agents/callback", {"sessionKey": "task:42", "status": "succeeded"})

    assert (answer.status, answer.body) == (200, {"ok": True, "runId": task["id"]})
    assert (task["session"], task["result"]) == (f"{made['id']}:task:task:42", "echo: hello")
    assert (called.status, called.body) == (200, {"ok": True})


async def test_a_busy_agent_is_working_and_takes_no_more(moongate: Serving) -> None:
    await make(moongate)
    first = (await assign(moongate, "reviewer", "1")).body["runId"]
    await running(moongate, first)

    busy, agent = await assign(moongate, "reviewer", "2"), await shown(moongate)
    await ask(moongate, "POST", f"/api/tasks/{first}/cancel")
    await done(moongate, first)
    after, again = await shown(moongate), await assign(moongate, "reviewer", "2")

    assert (busy.status, busy.body) == (400, {"detail": "Agent is busy"})
    assert (agent["status"], agent["current_tasks"]) == ("working", 1)
    assert (after["status"], after["current_tasks"], again.status) == ("idle", 0, 200)


async def test_a_callback_does_not_free_what_is_still_at_work(moongate: Serving) -> None:
    await make(moongate)
    await assign(moongate, "reviewer", "1")

    await ask(moongate, "POST", "/agents/callback", {"sessionKey": "task:1"})

    assert (await assign(moongate, "reviewer", "2")).body == {"detail": "Agent is busy"}


async def test_a_disabled_agent_takes_nothing(moongate: Serving) -> None:
    await make(moongate, is_enabled=False)

    answer = await assign(moongate, "reviewer", "1")

    assert (answer.status, answer.body) == (400, {"detail": "Agent is disabled"})
    assert (await shown(moongate))["status"] == "idle"


async def test_of_fifty_at_once_three_are_taken(moongate: Serving) -> None:
    await make(moongate, max_concurrent=3)

    answers = await asyncio.gather(*(assign(moongate, "reviewer", number) for number in range(50)))

    assert [answer.body for answer in answers if answer.status != 200] == [{"detail": "Agent is busy"}] * 47
    assert (await shown(moongate))["current_tasks"] == 3


@pytest.mark.both_stores(only_sqlite_on_push=True)
def test_crashes_neither_free_a_slot_nor_lose_one(live: Any) -> None:
    gateway: Live = live().start()

    def assigned(task: int, prompt: str) -> Any:
        return gateway.call("POST", "/agents/reviewer/assign", {"task_id": task, "prompt": prompt})

    def agent() -> Any:
        return gateway.call("GET", "/agents/reviewer").body

    def attempt(run: str) -> Any:
        return gateway.call("GET", f"/api/tasks/{run}").body["task"]["attempt"]

    gateway.call("POST", "/agents/", {"slug": "reviewer", "max_concurrent": 3})
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda task: assigned(task, "@@ hang"), range(20)))
    taken = [answer.body["runId"] for answer in answers if answer.status == 200]
    during = []
    for number in (1, 2):
        until_sync(lambda number=number: all(attempt(run) == number for run in taken), "the tasks are at work")
        gateway.kill()
        gateway.start()
        during.append((agent()["current_tasks"], assigned(98, "hello").body))
    until_sync(lambda: all(attempt(run) == 3 for run in taken), "the tasks are at work again")
    gateway.kill()  # three times in all: they are not tried again
    gateway.start()
    until_sync(lambda: agent()["current_tasks"] == 0, "no slot is taken")

    assert len(taken) == 3
    assert during == [(3, {"detail": "Agent is busy"})] * 2
    ends = [gateway.call("GET", f"/api/tasks/{task}").body["task"]["outcome"] for task in taken]
    assert ends == ["interrupted"] * 3
    assert [assigned(task, "@@ hang").status for task in range(4)] == [200, 200, 200, 400]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 400, "slug: is missing"),
        ({"slug": "x" * 51}, 400, "slug: "),
        ({"slug": "main"}, 409, "config file"),
        ({"slug": "x", "name": "x" * 101}, 400, "name: "),
        ({"slug": "x", "model": "x" * 101}, 400, "model: "),
        ({"slug": "x", "max_concurrent": 0}, 400, "max_concurrent: "),
        ({"slug": "x", "base": "nobody"}, 400, "base: "),
    ],
)
async def test_what_cannot_be_an_agent_is_refused_and_nothing_is_kept(
    moongate: Serving, body: dict[str, Any], status: int, said: str
) -> None:
    answer = await ask(moongate, "POST", "/agents/", body)

    assert (answer.status, set(answer.body)) == (status, {"detail"}), answer.body
    assert said in answer.body["detail"]
    assert len((await ask(moongate, "GET", "/agents/")).body) == 1


async def test_nothing_that_is_written_here_sets_a_command(moongate: Serving) -> None:
    made = await make(moongate, command=["sh"], env={"A": "b"}, workspace="/", permissions="allow", backend="command")

    agent = moongate.engine.agents.find_by_id(made["id"])

    assert (agent.backend, agent.env, agent.workspace, agent.permissions) == ("echo", {}, None, None)


async def test_writing_agents_needs_an_admin_and_assigning_does_not(moongate: Serving) -> None:
    await make(moongate, max_concurrent=9)
    secret = await token(moongate, "board", "write")

    asked: list[tuple[str, str, Any]] = [
        ("POST", "/agents/", {"slug": "mine"}),
        ("PUT", "/agents/reviewer", {"name": "mine"}),
        ("DELETE", "/agents/reviewer", None),
        ("POST", "/agents/reviewer/assign", {"task_id": "1", "prompt": "hello"}),
    ]
    answers = [await ask(moongate, method, path, body, token=secret) for method, path, body in asked]

    assert [answer.status for answer in answers] == [403, 403, 403, 200]
    assert (await shown(moongate))["name"] == "The reviewer"
