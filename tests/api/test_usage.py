"""`GET /api/usage`, and what callers are told when a budget is used up."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway import config
from gateway.assembly.checks import check_settings
from gateway.errors import ConfigError
from tests.api.client import Answer, ask
from tests.contracts.stores import START, SteppedClock
from tests.support.inprocess import Serving, serving

USE = {"name", "slug", "runs", "input", "output", "cached", "cost", "unpriced", "uncounted"}
STATE = {"of", "id", "name", "limits", "used", "left", "unknown", "over"}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serving]:
    """A gateway whose agent `main` may run twice a day."""
    agents = [
        {"id": "main", "backend": "echo", "budget": {"runs": 2}},
        {"id": "free", "backend": "echo"},
    ]
    settings: dict[str, Any] = {"agents": {"list": agents}, "cron": {"timezone": "Asia/Tokyo"}}
    async with serving(tmp_path, settings, clock=SteppedClock(START)) as opened:
        yield opened


async def say(served: Serving, agent: str = "main", path: str = "/api/agent") -> Answer:
    return await ask(served, "POST", path, {"message": "one two", "agentId": agent})


async def test_use_is_told_by_day_and_by_agent(served: Serving) -> None:
    await say(served)
    await say(served, "free")
    by_day = (await ask(served, "GET", "/api/usage")).body
    by_agent = (await ask(served, "GET", "/api/usage?by=agent&since=2023-11-15&until=2023-11-15")).body
    one = (await ask(served, "GET", "/api/usage?by=agent&agent=free")).body
    before = (await ask(served, "GET", "/api/usage?until=2023-11-14")).body

    assert (by_day["by"], by_day["timezone"], by_day["since"], by_day["until"], by_day["resets_at"]) == (
        "day",
        "Asia/Tokyo",
        "2023-10-17",
        "2023-11-15",
        "2023-11-15T15:00:00.000Z",
    )
    (day,) = by_day["usage"]
    assert set(day) == USE
    assert (day["name"], day["slug"], day["runs"], day["input"], day["output"]) == ("2023-11-15", None, 2, 4, 6)
    assert sorted((used["name"], used["runs"]) for used in by_agent["usage"]) == [("free", 1), ("main", 1)]
    assert [used["slug"] for used in one["usage"]] == ["free"]
    assert before["usage"] == []


async def test_what_is_left_of_budgets_is_told(served: Serving) -> None:
    job = {"name": "inbox", "schedule": "every 1d", "prompt": "wake", "budget": {"tokens": 50, "cost": 1.5}}
    made = (await ask(served, "POST", "/api/cron/create", job)).body["job"]
    await say(served)
    agent, schedule = (await ask(served, "GET", "/api/usage")).body["budgets"]

    assert set(agent) == STATE
    assert agent == {
        "of": "agent",
        "id": "main",
        "name": "main",
        "limits": {"runs": 2, "tokens": None, "cost": None},
        "used": {"runs": 1, "tokens": 5, "cost": 0.0},
        "left": {"runs": 1, "tokens": None, "cost": None},
        "unknown": [],
        "over": False,
    }
    assert (schedule["of"], schedule["id"], schedule["name"]) == ("schedule", made["id"], "inbox")
    assert made["budget"] == {"runs": None, "tokens": 50, "cost": 1.5}
    assert schedule["unknown"] == ["cost"], "the echo agent counts tokens, and has no prices"


async def test_over_the_budget_a_caller_is_told_so(served: Serving) -> None:
    answers = [await say(served) for _ in range(3)]
    (task,) = (await ask(served, "GET", "/api/tasks?status=failed")).body["tasks"]

    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[2].code == "OVER_BUDGET"
    assert answers[2].message.startswith("the agent 'main' is over its budget: 2 of 2 runs are used today.")
    assert (task["outcome"], task["error"]) == ("over_budget", answers[2].message)
    assert (await ask(served, "GET", "/api/usage")).body["budgets"][0]["over"] is True


async def test_usage_that_an_agent_does_not_report_is_unknown(tmp_path: Path) -> None:
    silent = {"id": "main", "backend": "command", "command": ["cat"], "budget": {"tokens": 100}}
    async with serving(tmp_path, {"agents": {"list": [silent]}}) as served:
        first, second = [await say(served) for _ in range(2)]
        refused, done = (await ask(served, "GET", "/api/tasks")).body["tasks"]
        (used,) = (await ask(served, "GET", "/api/usage?by=agent")).body["usage"]
        (limited,) = (await ask(served, "GET", "/api/usage")).body["budgets"]
        (agent,) = (await ask(served, "GET", "/api/agents")).body["agents"]

    nothing = {"input": 0, "output": 0, "cached": 0, "cost": 0.0}
    assert first.body["usage"] == done["usage"] == {**nothing, "tokens_known": False, "cost_known": False}
    assert refused["usage"] == {**nothing, "tokens_known": True, "cost_known": True}, "it used nothing"
    assert (used["uncounted"], used["unpriced"]) == (1, 1)
    assert (limited["unknown"], limited["over"]) == (["tokens"], True)
    assert (agent["tells_tokens"], agent["tells_cost"]) == (False, False)
    assert (second.status, second.code) == (429, "OVER_BUDGET")
    assert "a run of today reported no tokens" in second.message


async def test_openais_clients_are_told_so_too(served: Serving) -> None:
    asked = {"model": "main", "messages": [{"role": "user", "content": "hi"}]}
    answers = [await ask(served, "POST", "/v1/chat/completions", asked) for _ in range(3)]

    assert [answer.status for answer in answers] == [200, 200, 429]
    assert "over its budget" in answers[2].body["error"]["message"]


async def test_a_schedules_budget_is_changed_and_lifted(served: Serving) -> None:
    job = {"schedule": "every 1d", "prompt": "wake", "budget": {"runs": 1}}
    path = f"/api/cron/{(await ask(served, 'POST', '/api/cron/create', job)).body['job']['id']}"
    kept = (await ask(served, "PATCH", path, {"name": "x"})).body["job"]["budget"]
    changed = (await ask(served, "PATCH", path, {"budget": {"tokens": 9}})).body["job"]["budget"]
    lifted = [(await ask(served, "PATCH", path, {"budget": given})).body["job"]["budget"] for given in (None, {})]

    assert kept == {"runs": 1, "tokens": None, "cost": None}
    assert changed == {"runs": None, "tokens": 9, "cost": None}
    assert lifted == [None, None]


async def test_an_agents_budget_is_made_changed_and_lifted(served: Serving) -> None:
    made = (await ask(served, "POST", "/api/agents", {"slug": "a", "base": "main"})).body["agent"]["budget"]
    answers = [
        (await ask(served, "PUT", "/api/agents/a", {"budget": given})).body["agent"]["budget"]
        for given in ({"cost": 2.5}, {}, None)
    ]

    of_base = {"runs": 2, "tokens": None, "cost": None}
    assert (made, answers) == (of_base, [{"runs": None, "tokens": None, "cost": 2.5}, None, of_base])


@pytest.mark.parametrize(
    ("method", "path", "body", "what"),
    [
        ("GET", "/api/usage?by=moon", None, "by"),
        ("GET", "/api/usage?since=yesterday", None, "since"),
        ("GET", "/api/usage?since=2026-01-02&until=2026-01-01", None, "since"),
        ("GET", "/api/usage?what=1", None, "what"),
        ("POST", "/api/cron/create", {"schedule": "every 1d", "prompt": "x", "budget": {"runs": 0}}, "budget.runs"),
        ("POST", "/api/cron/create", {"schedule": "every 1d", "prompt": "x", "budget": {"usd": 1}}, "usd"),
        ("POST", "/api/agents", {"slug": "a", "budget": {"cost": -1}}, "budget.cost"),
    ],
)
async def test_what_cannot_be_read_is_refused(
    served: Serving, method: str, path: str, body: dict[str, Any] | None, what: str
) -> None:
    answer = await ask(served, method, path, body)

    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
    assert what in answer.message


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"agents": {"list": [{"id": "main", "backend": "echo", "budget": {"tokens": 0}}]}}, "budget.tokens"),
        ({"cron": {"timezone": "Mars/Base"}}, "cron.timezone: there is no time zone 'Mars/Base'"),
    ],
)
def test_a_config_that_cannot_be_meant_is_refused(tmp_path: Path, settings: dict[str, Any], what: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match=what.replace(".", r"\.")):
        check_settings(config.load({"MOONGATE_HOME": str(tmp_path)}), {"PATH": "/usr/bin:/bin"})
