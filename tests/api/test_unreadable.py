"""What cannot be read is listed, can be removed, and makes the gateway degraded; all else goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import apsw
import pytest

from gateway.store.sqlite import opening
from tests.api.client import ask, done, submit, token
from tests.support.inprocess import Serving, serving


def damage(home: Path, statement: str, *values: Any) -> None:
    """Change the database as another program would."""
    connection = apsw.Connection(str(home / "data" / "moongate.db"))
    opening.add_functions(connection)
    connection.set_busy_timeout(5000)
    assert connection.execute(statement, values).connection.changes() >= 1, statement
    connection.close()


async def test_a_schedule_with_an_unknown_word_is_told_and_removed_while_others_fire(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        bad = await _make_schedule(served, "every 1h")  # it does not fire before it is damaged
        damage(
            tmp_path, "UPDATE schedules SET spec = json_set(spec, '$.misfire', 'never'), next_at = 1 WHERE id = ?", bad
        )
        good = await _make_schedule(served, "every 1s")

        fired = await _await_fire(served, good)
        health = (await ask(served, "GET", "/health")).body
        listed = (await ask(served, "GET", "/api/unreadable")).body["rows"]
        refused = await ask(served, "GET", f"/api/cron/{bad}/runs")
        removed = await ask(served, "DELETE", f"/api/unreadable/schedule/{bad}")
        after = (await ask(served, "GET", "/health")).body

    assert fired["outcome"] == "fired"
    assert health["status"] == "degraded"
    assert health["checks"]["rows"] == "1 schedule in the database cannot be read: gateway unreadable list."
    assert [(row["kind"], row["id"]) for row in listed] == [("schedule", bad)]
    assert "never" in listed[0]["reason"]
    assert (refused.status, refused.code) == (500, "UNREADABLE")
    assert f"gateway unreadable remove schedule {bad}" in refused.message
    assert (removed.status, after["status"]) == (200, "healthy")


async def _make_schedule(served: Serving, schedule: str) -> str:
    """Make a schedule of the echo agent, and return its id."""
    made = await ask(served, "POST", "/api/cron/create", {"schedule": schedule, "prompt": "@@ say hi"})
    assert made.status == 200, made.body
    return str(made.body["job"]["id"])


async def _await_fire(served: Serving, job: str) -> Any:
    """Wait until this schedule has fired, and return its last fire."""
    async with served.client.get("/api/events", params={"after": 0}) as stream:
        async for line in stream.content:
            change = json.loads(line[6:]) if line.startswith(b"data: ") else {}
            if (change.get("ref"), change.get("state")) == (job, "fired"):
                break
    return (await ask(served, "GET", f"/api/cron/{job}/runs")).body["runs"][0]


async def test_a_gateway_starts_with_a_bad_row_in_each_table(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        run = await done(served, (await submit(served, "@@ say hi"))["id"])
        await token(served, "bad", "read")
        await ask(served, "POST", "/api/agents", {"name": "bad", "slug": "bad", "budget": {"runs": 1}})
        await ask(served, "POST", "/api/xcclaw/persistent?name=bad")
        await ask(served, "POST", "/api/cron/create", {"schedule": "every 1h", "prompt": "hi"})
        await ask(served, "POST", "/api/tasks", {"input": "hi", "run_at": "2100-01-01T00:00:00Z"})
    damage(tmp_path, "UPDATE runs SET spec = '{', run_at = NULL WHERE status = 'queued'")
    damage(tmp_path, "INSERT INTO processes (who, owner) VALUES ('x', 'y')")
    for statement in (
        "UPDATE tokens SET scope = 'x'",
        "UPDATE agents SET budget = 'x'",
        "UPDATE notes SET value = 'x'",
        "UPDATE schedules SET spec = 'x'",
        "UPDATE transcript SET role = 'x'",
        "UPDATE events SET data = 'x' WHERE n = 1",
    ):
        damage(tmp_path, statement)

    async with serving(tmp_path) as served:
        after = await done(served, (await submit(served, "@@ say hi"))["id"])
        events = await ask(served, "GET", f"/api/tasks/{run['id']}/events", Accept="application/json")
        sessions = await ask(served, "GET", "/api/xcclaw/persistent")
        history = await ask(served, "GET", f"/api/sessions/{run['session']}/history")
        rows = (await ask(served, "GET", "/api/unreadable")).body["rows"]
        for row in rows:
            path = f"/api/unreadable/{row['kind']}/{row['id'].replace('/', '%2F')}"
            assert (await ask(served, "DELETE", path)).status == 200, row
        health = (await ask(served, "GET", "/health")).body

    assert after["status"] == "succeeded"
    assert events.body["events"][0]["data"]["kind"] == "log"
    assert (sessions.body, history.body["messages"]) == ([], [])
    assert {row["kind"] for row in rows} >= {"token", "agent", "note", "schedule", "message", "event", "process"}
    assert health["checks"] == {"store": "ok"}


@pytest.mark.parametrize("path", ["/api/unreadable/dream/1", "/api/unreadable/schedule/1"])
async def test_what_is_not_unreadable_cannot_be_removed(moongate: Serving, path: str) -> None:
    assert (await ask(moongate, "DELETE", path)).status == 404


async def test_rows_are_removed_by_an_admin_only(moongate: Serving) -> None:
    secret = await token(moongate, "writer", "write")

    assert (await ask(moongate, "DELETE", "/api/unreadable/task/1", token=secret)).status == 403
