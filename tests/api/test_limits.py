"""What a limited token sees and touches: every route, both kinds of limit. What is outside does not exist for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway.api.routing import Route, discover_routes
from gateway.domain.token import Scope
from harness.waiting import PATIENCE
from tests.api.client import Answer, ask, done, stream, submit, token
from tests.api.test_dashboard import browser, signed_in
from tests.support.inprocess import Serving, serving

TWO_AGENTS = {
    "agents": {
        "list": [
            {"id": "main", "backend": "echo", "script": True},
            {"id": "other", "backend": "echo", "script": True},
        ]
    }
}
#: what only somebody outside of the limit has said; no request here has it
SECRET = "hushhush"
ROUTES = sorted(discover_routes(), key=lambda route: (route.path, route.method))


class Limit(NamedTuple):
    """A kind of limit, and a session inside and one outside of it."""

    body: dict[str, Any]
    inside: str
    outside: str


LIMITS = {
    "agents": Limit({"agents": ["main"]}, "main:api:alice", "other:api:bob"),
    "sessions": Limit({"sessions": ["main:api:alice*"]}, "main:api:alice", "main:api:bob"),
}


class Scene(NamedTuple):
    """A gateway on which both sides have a task, a file and a schedule; all ids are of the outside."""

    served: Serving
    limit: Limit
    secret: str
    run: str
    own_run: str
    held: str
    file: str
    schedule: str
    delivery: str

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        return await ask(self.served, method, path, body, token=self.secret, **headers)


@pytest.fixture(params=LIMITS)
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scene]:
    limit = LIMITS[request.param]
    async with serving(tmp_path / "home", TWO_AGENTS) as served:
        files = {"attachments": [{"name": f"{SECRET}.txt", "data": "aHVzaA=="}]}
        hook = {"webhook": f"http://127.0.0.1:{served.port}/{SECRET}"}
        outside = await submit(served, f"{SECRET} said", session=limit.outside, labels={"x": SECRET}, **files, **hook)
        inside = await submit(served, "alice said", session=limit.inside, labels={"x": "mine"})
        await done(served, outside["id"])
        await done(served, inside["id"])
        held = await submit(served, SECRET, session=limit.outside, held=True)
        await ask(served, "PATCH", f"/api/sessions/{limit.outside}", {"title": SECRET})
        made = await ask(
            served,
            "POST",
            "/api/cron/create",
            {"name": SECRET, "schedule": "0 0 1 1 *", "prompt": SECRET, "session": limit.outside},
        )
        assert made.status < 300, made.body
        (file,) = (await ask(served, "GET", "/api/files")).body["files"]
        (delivery,) = (await ask(served, "GET", "/api/deliveries")).body["deliveries"]
        secret = await token(served, "limited", "write", **limit.body)
        ids = (outside["id"], inside["id"], held["id"], file["id"], made.body["job"]["id"], delivery["id"])
        yield Scene(served, limit, secret, *ids)


def name(route: Route) -> str:
    return f"{route.method} {route.path}"


def fill(route: Route, scene: Scene) -> str:
    """Return a route's path with what is outside of the limit in its variable parts."""
    of_path = {
        "/api/tasks/": scene.run,
        "/api/files/": scene.file,
        "/api/deliveries/": scene.delivery,
        "/api/cron/": scene.schedule,
        "/api/agents/": "other",
        "/agents/": "other",
        "/v1/models/": "other",
        "/v1/responses/": f"resp_{scene.run}",
        "/v1/tasks/": scene.run,
        "/api/xcclaw/schedule/": scene.schedule,
        "/api/xcclaw/task/": scene.run,
    }
    id_ = next((value for start, value in of_path.items() if route.path.startswith(start)), "x")
    path = route.path.replace("{id}", id_).replace("{key}", scene.limit.outside).replace("{pid}", "p1")
    return path.replace("{slug}", "x").replace("{name}", "x").replace("{", "").replace("}", "") + QUERIES.get(
        name(route), ""
    )


#: these say nothing of agents and sessions
OPEN = {
    "POST /agents/callback",
    "GET /api/cron/next",
    "POST /api/dashboard/codes",
    "POST /api/dashboard/sign-out",
    "POST /api/files",
    "GET /api/me",
    "POST /api/render",
    "POST /api/tickets",
    "GET /api/xcclaw/health",
    "GET /openapi.json",
}
#: these leave out what is outside; the tool of MCP says that there is no such task
FILTERED = {
    "GET /agents",
    "GET /agents/",
    "GET /api/agents",
    "GET /api/cron",
    "GET /api/deliveries",
    "GET /api/deliveries/counts",
    "GET /api/files",
    "GET /api/permissions",
    "GET /api/search",
    "GET /api/sessions",
    "GET /api/tasks",
    "POST /api/tasks/batch",
    "GET /api/tasks/counts",
    "GET /api/xcclaw/history",
    "GET /api/xcclaw/schedule",
    "GET /api/xcclaw/task",
    "POST /mcp",
    "GET /v1/models",
    "GET /v1/tasks",
}
#: these are about one thing: what is outside does not exist, or may not be named
ABOUT_ONE = {
    "GET /agents/{id}",
    "POST /agents/{id}/assign",
    "POST /api/agent",
    "GET /api/agents/{id}",
    "POST /api/agents/{id}/assign",
    "POST /api/cron/create",
    "POST /api/cron/trigger",
    "DELETE /api/cron/{id}",
    "GET /api/cron/{id}",
    "PATCH /api/cron/{id}",
    "GET /api/cron/{id}/runs",
    "POST /api/cron/{id}/toggle",
    "GET /api/deliveries/{id}",
    "POST /api/deliveries/{id}/retry",
    "DELETE /api/files/{id}",
    "GET /api/files/{id}",
    "GET /api/files/{id}/info",
    "POST /api/message",
    "POST /api/message/sync",
    "POST /api/sessions",
    "DELETE /api/sessions/{key}",
    "GET /api/sessions/{key}",
    "PATCH /api/sessions/{key}",
    "GET /api/sessions/{key}/history",
    "POST /api/tasks",
    "GET /api/tasks/{id}",
    "POST /api/tasks/{id}/cancel",
    "GET /api/tasks/{id}/events",
    "GET /api/tasks/{id}/permissions",
    "POST /api/tasks/{id}/permissions/{pid}",
    "POST /api/tasks/{id}/release",
    "POST /api/tasks/{id}/retry",
    "GET /api/tasks/{id}/timeline",
    "DELETE /api/xcclaw/schedule/{id}",
    "GET /api/xcclaw/task/{id}",
    "POST /api/xcclaw/task/{id}/abort",
    "POST /api/xcclaw/task/{id}/execute",
    "POST /api/xcclaw/task/{id}/execute_async",
    "POST /hooks/agent",
    "POST /v1/chat/completions",
    "GET /v1/models/{id}",
    "POST /v1/responses",
    "GET /v1/responses/{id}",
    "POST /v1/responses/{id}/cancel",
    "POST /v1/run",
    "POST /v1/stream",
    "POST /v1/tasks",
    "GET /v1/tasks/{id}",
    "GET /v1/tasks/{id}/events",
}
#: those of them that answer 400 to an agent that does not exist, or begin a stream and say it there
BY_PACK = {"POST /v1/run", "POST /v1/stream", "POST /v1/tasks"}
#: these use the default agent and a session of their own: with a limit of agents that is inside
IN_OWN_SESSION = {"POST /api/xcclaw/schedule", "POST /api/xcclaw/task", "POST /hooks/wake"}
#: these are about all agents and sessions
ABOUT_ALL = {
    "GET /api/channels",
    "GET /api/cron/fires",
    "GET /api/fleet",
    "GET /api/generations",
    "GET /api/projects",
    "POST /api/projects",
    "DELETE /api/projects/{slug}",
    "GET /api/projects/{slug}",
    "PATCH /api/projects/{slug}",
    "GET /api/samples",
    "GET /api/unreadable",
    "GET /api/usage",
    "GET /api/work",
    "DELETE /api/xcclaw/history",
    "GET /api/xcclaw/persistent",
    "POST /api/xcclaw/persistent",
    "DELETE /api/xcclaw/persistent/{id}",
    "POST /api/xcclaw/persistent/{id}/message",
    "POST /api/xcclaw/persistent/{id}/message_async",
    "GET /api/alerts",
    "GET /metrics",
}
#: how each agent's last runs ended: of the agents inside; refused with a limit of sessions
OUTCOMES = {"GET /api/agents/outcomes"}
#: these go on for ever; see `test_a_stream_of_changes_shows_only_what_is_inside`
STREAMS = {"GET /api/events", "GET /api/ws", "GET /api/xcclaw/ws"}
KINDS = (OPEN, FILTERED, ABOUT_ONE, IN_OWN_SESSION, ABOUT_ALL, OUTCOMES, STREAMS)

QUERIES = {
    "GET /api/search": "?q=said",
    "GET /api/cron/next": "?schedule=every%2015m",
    "POST /api/files": "?name=a.txt",
}


def bodies(scene: Scene) -> dict[str, Any]:
    """Return the bodies that ask for what is outside of the limit."""
    outside = scene.limit.outside
    agent, _, chat = outside.split(":")
    return {
        "POST /agents/callback": {},
        "POST /agents/{id}/assign": {"task_id": 1, "prompt": "x"},
        "POST /api/agent": {"message": "x", "session": outside, "agentId": agent},
        "POST /api/agents/{id}/assign": {"task_id": "1", "prompt": "x"},
        "POST /api/cron/create": {"schedule": "every 15m", "prompt": "x", "session": outside},
        "POST /api/cron/trigger": {"job_id": scene.schedule},
        "PATCH /api/cron/{id}": {"prompt": "x"},
        "POST /api/cron/{id}/toggle": {},
        "POST /api/message": {"channel": "webchat", "chat_id": chat, "content": "x", "agentId": agent},
        "POST /api/message/sync": {"channel": "webchat", "chat_id": chat, "content": "x", "agentId": agent},
        "POST /api/projects": {"slug": "x", "name": "x"},
        "PATCH /api/projects/{slug}": {"name": "y"},
        "POST /api/render": {"text": "x"},
        "POST /api/sessions": {"channel": "api", "chat_id": chat, "agentId": agent},
        "PATCH /api/sessions/{key}": {"title": "taken"},
        "POST /api/tasks": {"input": "x", "session": outside, "agentId": agent},
        "POST /api/tasks/batch": {"action": "cancel", "ids": [scene.held]},
        "POST /api/tasks/{id}/permissions/{pid}": {"answer": "allow"},
        "POST /api/xcclaw/persistent": {"name": "x"},
        "POST /api/xcclaw/persistent/{id}/message": {"text": "x"},
        "POST /api/xcclaw/persistent/{id}/message_async": {"text": "x"},
        "POST /api/xcclaw/schedule": {"cron": "0 0 1 1 *", "prompt": "x"},
        "POST /api/xcclaw/task": {"prompt": "x"},
        "POST /hooks/agent": {"message": "x", "agentId": agent, "sessionKey": outside},
        "POST /hooks/wake": {"text": "x"},
        "POST /mcp": {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "get_task", "arguments": {"task_id": scene.run}},
        },
        "POST /v1/chat/completions": {
            "model": agent,
            "messages": [{"role": "user", "content": "x"}],
            "metadata": {"session": chat},
        },
        "POST /v1/responses": {"model": agent, "input": "x", "previous_response_id": f"resp_{scene.run}"},
        "POST /v1/run": {"pack": agent, "input": "x", "sessionId": outside},
        "POST /v1/stream": {"pack": agent, "input": "x", "sessionId": outside},
        "POST /v1/tasks": {"pack": agent, "input": "x", "sessionId": outside},
    }


def expected(route: Route, scope: Scope, limit: Limit) -> set[int]:
    """Return the statuses that a request for what is outside may have."""
    assert route.scope is not None
    named = name(route)
    if not scope.covers(route.scope) or named in ABOUT_ALL:
        return {403}
    if named in ABOUT_ONE:
        return {200, 400, 403, 404} if named in BY_PACK else {403, 404}
    by_sessions = "sessions" in limit.body
    return {403} if by_sessions and named in IN_OWN_SESSION | OUTCOMES else {200, 201}


def test_every_route_has_chosen_what_a_limited_token_may() -> None:
    """A new route is refused to limited tokens until it is listed here, and does as its kind says."""
    limited = [name(route) for route in ROUTES if route.scope not in (None, Scope.ADMIN)]

    assert sorted(one for kind in KINDS for one in kind) == sorted(limited)


@pytest.mark.parametrize("scope", [Scope.READ, Scope.WRITE])
async def test_what_is_outside_is_neither_seen_nor_touched(scene: Scene, scope: Scope) -> None:
    sent = bodies(scene)
    secret = await token(scene.served, f"also-{scope}", scope, **scene.limit.body)
    before = await look_outside(scene)
    for route in ROUTES:
        if route.scope is None or name(route) in STREAMS:
            continue
        path = fill(route, scene)
        headers = {"Authorization": f"Bearer {secret}"}
        body = sent.get(name(route))
        async with scene.served.client.request(route.method, path, json=body, headers=headers) as response:
            status, text = response.status, await response.text()

        allowed = {403} if route.scope is Scope.ADMIN else expected(route, scope, scene.limit)
        assert status in allowed, (name(route), text)
        assert SECRET not in text, (name(route), text)
    assert await look_outside(scene) == before


async def look_outside(scene: Scene) -> dict[str, Any]:
    """Return what the owner sees of what is outside."""
    session, agent = scene.limit.outside, scene.limit.outside.partition(":")[0]
    paths = [f"/api/tasks?session={session}", f"/api/sessions/{session}", f"/api/cron/{scene.schedule}"]
    paths += [f"/api/files/{scene.file}/info", f"/api/tasks?agent={agent}&status=held", "/api/projects"]
    return {path: (await ask(scene.served, "GET", path)).body for path in paths}


async def test_what_is_inside_is_seen_and_used(scene: Scene) -> None:
    inside = scene.limit.inside
    asked = await scene.ask("POST", "/api/agent", {"message": "hi", "session": inside})
    listed = await scene.ask("GET", "/api/tasks")
    found = await scene.ask("GET", "/api/search?q=alice")
    shown = await scene.ask("GET", f"/api/tasks/{scene.own_run}")
    read = await scene.ask("GET", f"/api/sessions/{inside}/history")
    again = await scene.ask("POST", "/api/tasks", {"input": "more", "session": inside})

    assert (asked.status, asked.body["reply"]) == (200, "echo: hi")
    assert {task["session"] for task in listed.body["tasks"]} == {inside}
    assert {hit["session"] for hit in found.body["results"]} == {inside}
    assert (shown.status, read.status, again.status) == (200, 200, 202)


async def test_each_thing_that_is_inside_is_open(scene: Scene) -> None:
    inside = scene.limit.inside
    files = {"attachments": [{"name": "a.txt", "data": "aHVzaA=="}]}
    hook = {"webhook": f"http://127.0.0.1:{scene.served.port}/x"}
    made = await scene.ask("POST", "/api/tasks", {"input": "@@ fail now", "session": inside, **files, **hook})
    assert made.status == 202, made
    task = made.body["task"]["id"]
    await done(scene.served, task)
    job = {"schedule": "0 0 1 1 *", "prompt": "x", "session": inside}
    cron = (await scene.ask("POST", "/api/cron/create", job)).body["job"]["id"]
    (file,) = (await scene.ask("GET", "/api/files")).body["files"]
    (delivery,) = (await scene.ask("GET", "/api/deliveries")).body["deliveries"]
    reading = [
        *(f"/api/tasks/{task}{part}" for part in ("", "/permissions", "/timeline", "?render=html")),
        *(f"/api/sessions/{inside}{part}" for part in ("", "/history")),
        *(f"/api/files/{file['id']}{part}" for part in ("", "/info")),
        *(f"/api/cron/{cron}{part}" for part in ("", "/runs")),
        *("/api/agents/main", "/agents/main", "/v1/models/main", f"/api/deliveries/{delivery['id']}"),
        *(f"/api/tasks?session={inside}", f"/api/search?q=alice&session={inside}", "/api/tasks?agent=main&text=alice"),
    ]
    writing: list[tuple[str, str, Any]] = [
        ("POST", f"/api/tasks/{task}/retry", None),
        ("POST", f"/api/deliveries/{delivery['id']}/retry", None),
        ("PATCH", f"/api/cron/{cron}", {"prompt": "y"}),
        ("POST", "/api/cron/trigger", {"job_id": cron}),
        ("DELETE", f"/api/cron/{cron}", None),
        ("POST", "/api/tasks/batch", {"action": "retry", "ids": [task]}),
        ("PATCH", f"/api/sessions/{inside}", {"title": "mine"}),
        ("DELETE", f"/api/sessions/{inside}?force=true", None),
    ]

    for method, path, body in [("GET", path, None) for path in reading] + writing:
        answer = await scene.ask(method, path, body)
        assert answer.status in (200, 202), (method, path, answer)


async def test_a_task_that_is_outside_looks_as_one_that_does_not_exist(scene: Scene) -> None:
    hidden = await scene.ask("GET", f"/api/tasks/{scene.run}")
    missing = await scene.ask("GET", f"/api/tasks/{'0' * 26}")

    assert (hidden.status, hidden.code) == (missing.status, missing.code) == (404, "RUN_NOT_FOUND")
    assert hidden.message.replace(scene.run, "") == missing.message.replace("0" * 26, "")


async def test_a_file_of_somebody_else_cannot_be_attached(scene: Scene) -> None:
    wanted = {"input": "show me", "session": scene.limit.inside, "attachments": [{"file": scene.file}]}
    answer = await scene.ask("POST", "/api/tasks", wanted)

    assert (answer.status, answer.code) == (404, "FILE_NOT_FOUND"), answer


async def test_a_stream_of_changes_shows_only_what_is_inside(scene: Scene) -> None:
    async with stream(scene.served, "/api/events?after=0", token=scene.secret) as changes:
        await submit(scene.served, SECRET, session=scene.limit.outside)
        last = await submit(scene.served, "the last", session=scene.limit.inside)
        seen = []
        async with asyncio.timeout(PATIENCE):
            async for frame in changes:
                seen.append(frame.data)
                if frame.data["ref"] == last["id"]:
                    break

    assert {change["session"] for change in seen if change["topic"] != "agent"} == {scene.limit.inside}


async def test_a_websocket_shows_only_what_is_inside(scene: Scene) -> None:
    headers = {"Authorization": f"Bearer {scene.secret}"}
    async with scene.served.client.ws_connect("/api/ws?after=0", headers=headers) as socket:
        await submit(scene.served, SECRET, session=scene.limit.outside)
        last = await submit(scene.served, "the last", session=scene.limit.inside)
        texts = []
        async with asyncio.timeout(PATIENCE):
            async for message in socket:
                texts.append(message.data)
                if last["id"] in message.data:
                    break

    assert scene.limit.outside not in str(texts)


async def test_health_tells_a_limited_token_what_it_tells_strangers(scene: Scene) -> None:
    nobody = {"Authorization": ""}
    stranger = await ask(scene.served, "GET", "/health", **nobody)

    assert (await scene.ask("GET", "/health")).body.keys() == stranger.body.keys()


async def test_a_browser_has_the_limits_of_its_token(scene: Scene) -> None:
    cookie = await signed_in(scene.served, scene.secret)
    async with browser(scene.served, cookie) as client, client.get(f"/api/tasks/{scene.run}") as hidden:
        assert hidden.status == 404
        async with client.get(f"/api/tasks/{scene.own_run}") as shown:
            assert shown.status == 200


async def test_limits_outlive_a_restart(tmp_path: Path) -> None:
    async with serving(tmp_path / "home", TWO_AGENTS) as served:
        secret = await token(served, "limited", "write", agents=["main"])
    async with serving(tmp_path / "home", TWO_AGENTS) as served:
        answer = await ask(served, "GET", "/api/agents", token=secret)
        me = await ask(served, "GET", "/api/me", token=secret)

    assert [agent["id"] for agent in answer.body["agents"]] == ["main"]
    assert (me.body["agents"], me.body["sessions"]) == (["main"], None)


async def test_a_token_for_one_session_lists_its_tasks_and_no_others(moongate: Serving) -> None:
    for session in ("main:api:alice", "main:api:alice-2"):
        await submit(moongate, "hi", session=session)
    secret = await token(moongate, "limited", "read", sessions=["main:api:alice"])
    mine = await ask(moongate, "GET", "/api/tasks", token=secret)
    other = await ask(moongate, "GET", "/api/tasks?session=main:api:alice-2", token=secret)

    assert [task["session"] for task in mine.body["tasks"]] == ["main:api:alice"]
    assert other.body["tasks"] == []


async def test_a_token_without_the_default_agent_has_another_default(tmp_path: Path) -> None:
    async with serving(tmp_path / "home", TWO_AGENTS) as served:
        secret = await token(served, "limited", "write", agents=["other"])
        answer = await ask(served, "POST", "/api/agent", {"message": "hi"}, token=secret)
        (run,) = (await ask(served, "GET", "/api/tasks")).body["tasks"]

    assert (answer.status, run["agentId"]) == (200, "other")


async def test_a_name_that_means_an_agent_outside_is_refused_and_not_taken_for_another(tmp_path: Path) -> None:
    agents = [{"id": id_, "backend": "echo", "script": True} for id_ in ("first", "second", "general")]
    message = [{"role": "user", "content": "x"}]
    outside = {
        "/api/agent": [{"message": "x", "agentId": "main"}, {"message": "x", "session": "first:api:x"}],
        "/api/tasks": [{"input": "x", "agentId": "main"}, {"input": "x", "session": "first:api:x"}],
        "/api/cron/create": [{"schedule": "every 15m", "prompt": "x", "agentId": "main"}],
        "/v1/chat/completions": [{"model": "main", "messages": message}],
        "/hooks/agent": [{"message": "x", "agentId": "main"}],
        "/v1/run": [{"input": "x", "pack": "main"}, {"input": "x", "pack": "general"}],
    }
    async with serving(tmp_path / "home", {"agents": {"list": agents}}) as served:
        secret = await token(served, "limited", "write", agents=["second"])
        refused = {
            (path, str(body)): (await ask(served, "POST", path, body, token=secret)).status
            for path, bodies in outside.items()
            for body in bodies
        }
        none = await ask(served, "GET", "/api/tasks")
        owners = await ask(served, "POST", "/api/tasks", {"input": "x", "agentId": "main"})
        unnamed = await ask(served, "POST", "/v1/run", {"input": "x"}, token=secret)
        first = await token(served, "first", "write", agents=["first"])
        by_alias = await ask(served, "POST", "/api/tasks", {"input": "x", "agentId": "main"}, token=first)
        job = {"schedule": "every 15m", "prompt": "x", "agentId": "main"}
        planned = await ask(served, "POST", "/api/cron/create", job, token=first)

    assert {request for request, status in refused.items() if status not in (400, 404)} == set()
    assert none.body["tasks"] == []
    assert (owners.status, unnamed.status) == (202, 200)
    assert (by_alias.status, by_alias.body["task"]["agentId"]) == (202, "first")
    assert planned.body["job"]["agentId"] == "first", "main may be another agent later"


async def test_a_schedule_of_a_token_without_the_default_agent_names_its_agent(tmp_path: Path) -> None:
    async with serving(tmp_path / "home", TWO_AGENTS) as served:
        secret = await token(served, "limited", "write", agents=["other"])
        body = {"schedule": "every 15m", "prompt": "x"}
        made = await ask(served, "POST", "/api/cron/create", body, token=secret)
        assert made.status < 300, made.body
        path = f"/api/cron/{made.body['job']['id']}"
        first = await ask(served, "GET", path)
        edited = await ask(served, "PATCH", path, {"agentId": None, "session": "x"}, token=secret)
        later = await ask(served, "GET", path)
        fired = await ask(served, "POST", "/api/cron/trigger", {"job_id": made.body["job"]["id"]}, token=secret)
        refused = await ask(served, "POST", "/api/cron/create", {**body, "session": "main:api:x"}, token=secret)
        owners = await ask(served, "POST", "/api/cron/create", body)

    assert (first.body["job"]["agentId"], edited.status, later.body["job"]["agentId"]) == ("other", 200, "other")
    assert (fired.status, refused.status, owners.body["job"]["agentId"]) == (200, 404, None)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"scope": "admin", "agents": ["main"]}, 400),
        ({"agents": []}, 400),
        ({"sessions": []}, 400),
        ({"agents": ["nobody"]}, 404),
        ({"sessions": ["*"]}, 400),
        ({"sessions": ["nobody:api:x"]}, 400),
        ({"sessions": ["main:api:\n"]}, 400),
        ({"sessions": ["main"]}, 400),
        ({"agents": ["main"], "sessions": ["main:api:*", "other:api:*"]}, 400),
    ],
)
async def test_limits_that_make_no_sense_are_refused(tmp_path: Path, body: dict[str, Any], status: int) -> None:
    async with serving(tmp_path / "home", TWO_AGENTS) as served:
        answer = await ask(served, "POST", "/api/tokens", {"name": "x", **body})
        listed = await ask(served, "GET", "/api/tokens")

    assert answer.status == status, answer
    assert listed.body["tokens"] == []
