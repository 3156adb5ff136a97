"""`/health`, `/livez`, `/readyz`, `/metrics`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import gateway
from gateway.api import readiness
from gateway.errors import GatewayError, StorageFull, Unavailable
from harness.waiting import PATIENCE
from tests.api.client import Answer, ask, done, submit
from tests.support.inprocess import Serving


async def test_health_is_in_the_shape_of_the_seed(moongate: Serving) -> None:
    answer = await ask(moongate, "GET", "/health")

    assert (answer.status, answer.body["status"]) == (200, "healthy")
    assert answer.body["uptime"] in range(int(PATIENCE))
    assert (answer.body["version"], answer.body["instance"]) == (gateway.__version__, "test-instance")
    assert answer.body["checks"] == {"store": "ok"}


@pytest.mark.parametrize("path", ["/health", "/livez", "/readyz", "/api/tasks", "/metrics", "/openapi.json"])
async def test_head_is_get_without_the_body(moongate: Serving, path: str) -> None:
    got, headed = await ask(moongate, "GET", path), await ask(moongate, "HEAD", path)

    assert (headed.status, headed.body) == (200, "")
    assert headed.headers["Content-Type"] == got.headers["Content-Type"]


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (StorageFull("the disk of /secret/place is full"), "the disk is full."),
        (Unavailable("the database /secret/place cannot be used"), "the database cannot be written; the log says why."),
    ],
)
async def test_a_disk_that_refuses_is_told_to_everyone_without_its_paths(
    moongate: Serving, monkeypatch: pytest.MonkeyPatch, trouble: GatewayError, said: str
) -> None:
    async def check() -> None:
        raise trouble

    monkeypatch.setattr(moongate.engine, "check_writable", check)
    health, ready, alive = [await ask(moongate, "GET", path) for path in ("/health", "/readyz", "/livez")]

    assert (health.status, health.body["status"], health.body["checks"]) == (200, "degraded", {"store": said})
    assert (ready.status, ready.code, ready.message) == (503, "UNAVAILABLE", said)
    assert int(ready.headers["Retry-After"]) >= 1
    assert alive.status == 200


async def test_a_disk_that_hangs_does_not_hang_the_probe(moongate: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moongate.engine, "check_writable", asyncio.Event().wait)
    monkeypatch.setattr(readiness, "STORAGE_CHECK_TIMEOUT_SECONDS", 0.05)

    assert (await ask(moongate, "GET", "/readyz")).code == "UNAVAILABLE"


async def test_a_hundred_probes_ask_the_disk_once(moongate: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "STORAGE_ANSWER_LIFETIME_SECONDS", PATIENCE)
    asked: list[Any] = []

    async def check() -> None:
        asked.append(None)
        await asyncio.sleep(0)

    monkeypatch.setattr(moongate.engine, "check_writable", check)
    answers: list[Answer] = await asyncio.gather(*(ask(moongate, "GET", "/readyz") for _ in range(100)))

    assert {answer.status for answer in answers} == {200}
    assert len(asked) == 1


async def test_a_gateway_that_closes_is_not_ready_but_lives(moongate: Serving) -> None:
    moongate.context.closing.set()
    ready, alive = await ask(moongate, "GET", "/readyz"), await ask(moongate, "GET", "/livez")

    assert (ready.status, alive.status) == (503, 200)
    assert ready.headers["Connection"] == alive.headers["Connection"] == "close"


async def test_metrics_count_what_ran(moongate: Serving) -> None:
    for message in ("hi", "hi", "@@ fail"):
        await done(moongate, (await submit(moongate, message))["id"])
    answer = await ask(moongate, "GET", "/metrics")

    assert answer.headers["Content-Type"].startswith("text/plain")
    for line in (
        'moongate_runs_ended_total{status="succeeded"} 2.0',
        'moongate_runs_ended_total{status="failed"} 1.0',
        'moongate_runs{status="queued"} 0.0',
        'moongate_agent_runs{agent="main"} 0.0',
        "moongate_sessions 3.0",
    ):
        assert line in answer.body.splitlines()
