"""`/api/alerts`, and what `/health`, `/readyz` and `/metrics` say of alerts and channels."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
import structlog

from harness.waiting import PATIENCE
from harness.webhook_receiver import serve_receiver
from tests.api.client import ask, done, head, raw, read, submit, token
from tests.support import telegram_server
from tests.support.inprocess import Serving, serving
from tests.support.telegram_server import BOT_TOKEN


async def fail(served: Serving) -> dict[str, Any]:
    """Return a task that has failed."""
    return await done(served, (await submit(served, "@@ fail no luck"))["id"])


async def until_told(served: Serving, count: int = 1) -> dict[str, Any]:
    """Return the alerts when so many messages were delivered."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found: dict[str, Any] = (await ask(served, "GET", "/api/alerts")).body
            if sum(one["status"] == "delivered" for one in found["messages"]) >= count:
                return found
            await asyncio.sleep(0.02)


async def test_without_receivers_there_is_nothing_to_list_and_no_test(moongate: Serving) -> None:
    listed = await ask(moongate, "GET", "/api/alerts")
    tested = await ask(moongate, "POST", "/api/alerts/test", {})

    assert listed.body == {"receivers": [], "open": [], "messages": []}
    assert (tested.status, tested.body["error"]["code"]) == (409, "CONFLICT")
    assert "alerts.receivers" in tested.body["error"]["message"]


async def test_a_failure_is_posted_and_listed(tmp_path: Path) -> None:
    async with serve_receiver() as receiver:
        alerts = {"group_seconds": 0, "receivers": {"ops": {"webhook": receiver.url, "kinds": ["run_failed"]}}}
        async with serving(tmp_path, {"alerts": alerts}) as served:
            failed = await fail(served)
            found = await until_told(served)

    (message,) = found["messages"]
    (request,) = receiver.requests
    assert (found["receivers"], found["open"]) == (["ops"], [])
    assert (message["id"], message["receiver"], message["left_out"]) == (request.id, "ops", 0)
    assert message["alerts"][0] | {"text": ""} == {
        "kind": "run_failed",
        "event": "happened",
        "subject": failed["id"],
        "text": "",
    }
    assert request.json["alerts"][0]["task"] == failed["id"]


async def test_what_a_command_complains_of_is_only_for_admins(tmp_path: Path) -> None:
    complaint = "curl: https://hooks.example/k3y refused"
    argv = [sys.executable, "-c", f"import sys; sys.exit({complaint!r})"]
    alerts = {"group_seconds": 0, "receivers": {"ops": {"command": argv, "kinds": ["run_failed"]}}}
    async with serving(tmp_path, {"alerts": alerts, "webhooks": {"schedule": [0, 3600]}}) as served:
        await fail(served)
        async with asyncio.timeout(PATIENCE):
            while not any(one["error"] for one in (await ask(served, "GET", "/api/alerts")).body["messages"]):
                await asyncio.sleep(0.02)
        full = await ask(served, "GET", "/api/alerts")
        reads = await ask(served, "GET", "/api/alerts", token=await token(served, "screen", "read"))

    assert complaint in full.body["messages"][0]["error"]
    assert "scope admin" in reads.body["messages"][0]["error"]
    assert "k3y" not in str(reads.body)


async def test_what_is_open_is_listed_and_counted_in_the_metrics(tmp_path: Path) -> None:
    async with serve_receiver() as receiver:
        alerts = {
            "group_seconds": 0,
            "disk_free_mb": 10**12,
            "receivers": {"ops": {"webhook": receiver.url, "kinds": ["disk"]}},
        }
        async with serving(tmp_path, {"alerts": alerts}) as served:
            found = await until_told(served)
            metrics = (await ask(served, "GET", "/metrics")).body

    assert [(one["kind"], one["subject"]) for one in found["open"]] == [("disk", "data")]
    assert found["open"][0]["opened_at"] == found["open"][0]["told_at"]
    assert 'moongate_alert_open{kind="disk"} 1.0' in str(metrics)


async def test_a_test_says_of_each_receiver_how_it_went(tmp_path: Path) -> None:
    async with serve_receiver() as receiver:
        receivers = {
            "good": {"webhook": receiver.url},
            "bad": {"command": ["no-such-program"]},
            "off": {"webhook": receiver.url, "enabled": False},
        }
        async with serving(tmp_path, {"alerts": {"receivers": receivers}}) as served:
            all_ = await ask(served, "POST", "/api/alerts/test", {})
            one = await ask(served, "POST", "/api/alerts/test", {"receiver": "good"})
            none = await ask(served, "POST", "/api/alerts/test", {"receiver": "goof"})
            listed = await ask(served, "GET", "/api/alerts")

    assert [(result["receiver"], result["ok"]) for result in all_.body["results"]] == [("good", True), ("bad", False)]
    assert "no such program" in all_.body["results"][1]["error"]
    assert one.body == {"results": [{"receiver": "good", "ok": True, "error": None}]}
    assert (none.status, 'did you mean "good"?' in none.body["error"]["message"]) == (404, True)
    assert [request.json["title"] for request in receiver.requests] == ["a test", "a test"]
    assert listed.body["messages"] == [], "a test is no alert"


async def test_a_chat_is_told_and_health_knows_when_the_channel_last_worked(tmp_path: Path) -> None:
    async with telegram_server.serve_telegram() as telegram:
        channel = {"token": BOT_TOKEN, "base_url": telegram.base_url, "chats": [7], "poll_seconds": 1}
        alerts = {"group_seconds": 0, "receivers": {"me": {"chat": "telegram:7", "kinds": ["run_failed"]}}}
        async with serving(tmp_path, {"channels": {"telegram": channel}, "alerts": alerts}) as served:
            await telegram.say(7, "hello")
            await telegram.answered(7, "echo: hello")
            await fail(served)
            await until_told(served)
            health = (await ask(served, "GET", "/health")).body["channels"]["telegram"]
            ready = (await ask(served, "GET", "/readyz")).body
            shown = (await ask(served, "GET", "/api/channels")).body["channels"]
        (_, alert) = telegram.chats[7].texts

    (polled,) = [one for one in shown if one["name"] == "telegram"]
    assert "a task failed" in alert
    assert "agent main: no luck" in alert
    assert health["state"] == "polling"
    assert health["last_poll_at"] is not None
    assert health["last_send_at"] == polled["last_success_at"]
    assert ready["channels"].keys() == {"telegram"}
    assert polled["last_poll_at"] >= health["last_poll_at"]


@pytest.mark.parametrize("path", ["/health", "/readyz"])
async def test_who_has_no_token_is_told_of_no_channel(tmp_path: Path, path: str) -> None:
    async with telegram_server.serve_telegram() as telegram:
        channel = {"token": BOT_TOKEN, "base_url": telegram.base_url, "chats": [7], "poll_seconds": 1}
        async with serving(tmp_path, {"channels": {"telegram": channel}}) as served:
            answer = read(await raw(served, head(f"GET {path}", bearer=None)))
            with structlog.testing.capture_logs() as lines:
                wrong = read(await raw(served, head(f"GET {path}", bearer="wrong")))

    assert (answer.status, "channels" in answer.body) == (wrong.status, "channels" in wrong.body) == (200, False)
    assert [line["path"] for line in lines if line["event"] == "auth.refused"] == [path]
