"""`GET /api/fleet`, and what `/health` and `/metrics` tell of a fleet."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.client import ask, done, submit, token
from tests.support.fleet_pair import Pair, serving_pair
from tests.support.inprocess import Serving


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with serving_pair(tmp_path) as opened:
        yield opened


async def test_a_gateway_that_is_alone_says_so(moongate: Serving) -> None:
    answer = await ask(moongate, "GET", "/api/fleet")

    assert (answer.status, answer.body) == (200, {"fleet": None})
    assert (await ask(moongate, "GET", "/api/me")).body["in_fleet"] is False
    assert "fleet" not in (await ask(moongate, "GET", "/health")).body
    assert "moongate_fleet" not in (await ask(moongate, "GET", "/metrics")).body


async def test_it_shows_nodes_and_queues_from_each_node(pair: Pair) -> None:
    await pair.submit_three()
    told = [(await ask(one, "GET", "/api/fleet")).body["fleet"] for one in pair.members]

    for fleet in told:
        assert [(one["host"], one["role"], one["slots"], one["running"]) for one in fleet["nodes"]] == [
            ("gate", "gateway", 0, 0),
            ("hand", "worker", 1, 1),
        ]
        assert [(one["alive"], one["leads"], one["agents"]) for one in fleet["nodes"]] == [
            (True, True, []),
            (True, False, ["main"]),
        ]
        assert all(0 < one["lease_ends_in"] <= 45 for one in fleet["nodes"])
        (queue,) = fleet["queues"]
        assert (queue["agent"], queue["name"]) == ("main", "main")
        assert (queue["running"], queue["dispatched"], queue["waiting"]) == (1, 1, 1)
    assert [fleet["answered_by"] for fleet in told] == [one["name"] for one in told[0]["nodes"]]


async def test_it_tells_which_agents_the_members_do_not_allow_the_same(pair: Pair) -> None:
    assert (await ask(pair.gate, "GET", "/api/fleet")).body["fleet"]["differing_limits"] == []

    pair.database.execute(
        "UPDATE moongate.nodes SET limits = %s WHERE host = 'hand'",
        [
            json.dumps(
                [{"agent": "main", "max_concurrent": 3, "budget": {"runs": 20}}, {"agent": "b", "max_concurrent": 1}]
            )
        ],
    )

    assert (await ask(pair.gate, "GET", "/api/fleet")).body["fleet"]["differing_limits"] == [
        {
            "agent": "main",
            "limits": [
                {"host": "gate", "max_concurrent": 2, "budget": None},
                {"host": "hand", "max_concurrent": 3, "budget": {"runs": 20, "tokens": None, "cost": None}},
            ],
        }
    ]


async def test_a_token_that_may_look_is_enough(pair: Pair) -> None:
    reader = await token(pair.gate, "reader", "read")

    assert (await ask(pair.gate, "GET", "/api/fleet", token=reader)).status == 200
    assert (await ask(pair.gate, "GET", "/api/fleet", token="wrong")).status == 401
    assert (await ask(pair.gate, "GET", "/api/me", token=reader)).body["in_fleet"] is True


async def test_health_tells_how_many_there_are_and_who_leads(pair: Pair) -> None:
    gate, hand = [(await ask(one, "GET", "/health")).body for one in pair.members]

    assert gate["fleet"] == {"members": 2, "leads": True, "leader": "gate"}
    assert hand["fleet"] == {"members": 2, "leads": False, "leader": "gate"}
    assert (gate["status"], hand["status"]) == ("healthy", "healthy")


async def test_metrics_tell_nodes_leases_queues_and_waits(pair: Pair) -> None:
    ended = await done(pair.gate, (await submit(pair.gate, "hello"))["id"])
    assert ended["status"] == "succeeded"
    await pair.submit_three()
    told = [(await ask(one, "GET", "/metrics")).body.splitlines() for one in pair.members]

    for lines in told:
        for line in (
            'moongate_fleet_nodes{role="gateway",state="alive"} 1.0',
            'moongate_fleet_nodes{role="worker",state="alive"} 1.0',
            "moongate_fleet_leaders 1.0",
            'moongate_fleet_queue_runs{agent="main",state="dispatched"} 1.0',
            'moongate_fleet_queue_runs{agent="main",state="waiting"} 1.0',
        ):
            assert line in lines
        assert sum(line.startswith("moongate_fleet_lease_seconds{") for line in lines) == 2
        assert any(line.startswith('moongate_fleet_oldest_wait_seconds{agent="main"}') for line in lines)
        assert any(line.startswith("moongate_fleet_commit_lag_seconds ") for line in lines)
    gate, hand = told
    assert "moongate_fleet_dispatch_wait_seconds_count 0.0" in gate
    assert "moongate_fleet_dispatch_wait_seconds_count 2.0" in hand
    assert 'moongate_fleet_dispatch_wait_seconds_bucket{le="60.0"} 2.0' in hand


async def test_a_task_that_waits_for_a_worker_says_so(pair: Pair) -> None:
    _, dispatched, waiting = await pair.submit_three()

    async def wait_of(run: str) -> str:
        return str((await ask(pair.hand, "GET", f"/api/tasks/{run}")).body["task"]["waits"]["why"])

    assert await wait_of(dispatched) == "it waits for a free worker"
    assert await wait_of(waiting) == "the agent 'main' takes 2 runs at a time: they run, or wait for a worker"
