"""`/api/cron`: schedules over HTTP."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.client import ask, done
from tests.api.test_files import on_disk, uploaded
from tests.support.inprocess import Serving, serving

NINE = {"name": "inbox", "schedule": "0 9 * * 1-5", "timezone": "Europe/Berlin", "prompt": "summarise my inbox"}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serving]:
    async with serving(tmp_path) as opened:
        yield opened


async def create(served: Serving, **fields: Any) -> dict[str, Any]:
    answer = await ask(served, "POST", "/api/cron/create", {**NINE, **fields})
    assert (answer.status, answer.body["status"]) == (200, "ok"), answer.body
    job: dict[str, Any] = answer.body["job"]
    return job


async def test_an_edit_replaces_the_files_keeps_them_or_removes_them(served: Serving) -> None:
    def names(job: dict[str, Any]) -> list[str]:
        return [file["name"] for file in job["attachments"]]

    job = await create(served, attachments=[{"name": "a.txt", "data": "YQ=="}])
    path = f"/api/cron/{job['id']}"
    edits = ({"attachments": [{"name": "b.txt", "data": "Yg=="}]}, {"name": "other"}, {"attachments": []})
    edited = [(await ask(served, "PATCH", path, edit)).body["job"] for edit in edits]

    assert names(job) == ["a.txt"]
    assert [names(one) for one in edited] == [["b.txt"], ["b.txt"], []]


async def test_a_schedule_is_made_listed_edited_toggled_and_deleted(served: Serving) -> None:
    job = await create(served)
    listed = (await ask(served, "GET", "/api/cron")).body["jobs"]
    path = f"/api/cron/{job['id']}"
    edited = (await ask(served, "PATCH", path, {"cron": "every 15m", "misfire": "skip"})).body["job"]
    off = (await ask(served, "POST", f"{path}/toggle")).body
    on = (await ask(served, "POST", f"/api/cron/{job['id']}/toggle", {"enabled": True})).body
    deleted = await ask(served, "DELETE", f"/api/cron/{job['id']}")

    assert listed == [job]
    assert (job["schedule"], job["enabled"], job["missed"], job["last_run"]) == ("0 9 * * 1-5", True, 0, None)
    assert (edited["schedule"], edited["misfire"], edited["prompt"]) == ("every 15m", "skip", "summarise my inbox")
    assert edited["next_run"] != job["next_run"]
    assert (off["enabled"], off["next_run"], on["enabled"]) == (False, None, True)
    assert (deleted.status, deleted.body) == (200, {"status": "ok"})
    assert (await ask(served, "GET", "/api/cron")).body["jobs"] == []


async def test_a_trigger_runs_it_now_and_its_run_is_seen(served: Serving) -> None:
    job = await create(served, session="mornings", deliver=None)
    answer = await ask(served, "POST", "/api/cron/trigger", {"job_id": job["id"]})
    task = await done(served, answer.body["run_id"])
    (fire,) = (await ask(served, "GET", f"/api/cron/{job['id']}/runs")).body["runs"]
    (shown,) = (await ask(served, "GET", "/api/cron")).body["jobs"]

    assert (answer.body["status"], answer.body["message"]) == ("ok", "Task triggered")
    assert (task["source"], task["session"], task["result"]) == (
        "cron",
        "main:cron:mornings",
        "echo: summarise my inbox",
    )
    assert (fire["outcome"], fire["run_id"], fire["run_status"]) == ("triggered", task["id"], "succeeded")
    assert (shown["last_status"], shown["last_run_id"]) == ("succeeded", task["id"])


async def test_next_shows_times_and_keeps_nothing(served: Serving) -> None:
    answer = await ask(served, "GET", "/api/cron/next?schedule=every%201h&count=3")

    assert (len(answer.body["times"]), answer.body["timezone"]) == (3, "UTC")
    assert (await ask(served, "GET", "/api/cron")).body["jobs"] == []


async def test_a_schedule_is_shown_with_its_next_times(served: Serving) -> None:
    job = await create(served, schedule="0 9 * * *")
    shown = (await ask(served, "GET", f"/api/cron/{job['id']}")).body["job"]
    await ask(served, "PATCH", f"/api/cron/{job['id']}", {"enabled": False})
    disabled = (await ask(served, "GET", f"/api/cron/{job['id']}")).body["job"]
    moment = await create(served, schedule="2100-01-31T09:00:00Z")
    single = (await ask(served, "GET", f"/api/cron/{moment['id']}")).body["job"]

    assert {name: value for name, value in shown.items() if name != "next_runs"} == job
    assert (len(shown["next_runs"]), shown["next_runs"][0]) == (5, job["next_run"])
    assert (disabled["next_runs"], single["next_runs"]) == ([], ["2100-01-31T09:00:00.000Z"])


async def test_the_policy_for_times_that_overlap_is_set_shown_and_set_back(served: Serving) -> None:
    job = await create(served)
    path = f"/api/cron/{job['id']}"
    replaced = (await ask(served, "PATCH", path, {"overlap": "replace"})).body["job"]
    back = (await ask(served, "PATCH", path, {"overlap": None, "misfire": "all"})).body["job"]
    wrong = await ask(served, "PATCH", path, {"overlap": "buffer"})

    assert [one["overlap"] for one in (job, replaced, back)] == ["queue_one", "replace", "queue"]
    assert (job["skipped"], job["skip_reason"], wrong.status) == (0, None, 400)


async def test_a_single_time_that_has_passed_is_enabled_by_another_time(served: Serving) -> None:
    job = await create(served, schedule="2100-01-31T09:00:00Z", enabled=False)
    path = f"/api/cron/{job['id']}"
    both = (await ask(served, "PATCH", path, {"schedule": "2101-01-31T09:00:00Z", "enabled": True})).body["job"]

    assert (both["enabled"], both["next_run"]) == (True, "2101-01-31T09:00:00.000Z")


async def test_the_same_key_makes_one_schedule(served: Serving) -> None:
    made = [await ask(served, "POST", "/api/cron/create", NINE, Idempotency_Key="k") for _ in range(2)]

    assert made[0].body == made[1].body


async def test_a_webhook_is_told_of_the_end(served: Serving) -> None:
    job = await create(served, webhook="http://127.0.0.1:9/hook")
    answer = await ask(served, "POST", "/api/cron/trigger", {"job_id": job["id"]})
    await done(served, answer.body["run_id"])
    (delivery,) = (await ask(served, "GET", f"/api/deliveries?task={answer.body['run_id']}")).body["deliveries"]
    kept = await ask(served, "PATCH", f"/api/cron/{job['id']}", {"name": "other"})
    dropped = await ask(served, "PATCH", f"/api/cron/{job['id']}", {"webhook": None})

    assert (job["webhook"], delivery["address"]) == ("http://127.0.0.1:9/hook",) * 2
    assert (kept.body["job"]["webhook"], dropped.body["job"]["webhook"]) == ("http://127.0.0.1:9/hook", None)


@pytest.mark.parametrize(
    ("fields", "status", "code", "named"),
    [
        ({"schedule": "30 2 30 2 *"}, 400, "INVALID_REQUEST", "never comes"),
        ({"schedule": "2001-01-01T00:00:00Z"}, 400, "INVALID_REQUEST", "has passed"),
        ({"timezone": "Mars/Olympus"}, 400, "INVALID_REQUEST", "Mars/Olympus"),
        ({"cron": "0 8 * * *"}, 400, "INVALID_REQUEST", "twice"),
        ({"deliver": {"channel": "telegram", "chat_id": "1"}}, 404, "CHANNEL_NOT_FOUND", "telegram"),
        ({"deliver": {"channel": "webchat", "chat_id": "1"}}, 400, "INVALID_REQUEST", "webchat"),
        ({"agentId": "nobody"}, 404, "AGENT_NOT_FOUND", "nobody"),
        ({"webhook": "http://10.0.0.1/"}, 400, "INVALID_REQUEST", "private"),
        ({"prompt": "x" * 2_000_000}, 413, "TOO_LARGE", ""),
        ({"prompts": "x"}, 400, "INVALID_REQUEST", "prompt"),
    ],
)
async def test_bad_input_is_refused_and_nothing_is_kept(
    served: Serving, fields: dict[str, Any], status: int, code: str, named: str
) -> None:
    answer = await ask(served, "POST", "/api/cron/create", {**NINE, **fields})

    assert (answer.status, answer.code) == (status, code)
    assert named in answer.message
    assert (await ask(served, "GET", "/api/cron")).body["jobs"] == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/cron/trigger", {"job_id": "abc123"}),
        ("PATCH", "/api/cron/abc123", {}),
        ("DELETE", "/api/cron/abc123", None),
        ("GET", "/api/cron/abc123", None),
        ("POST", "/api/cron/abc123/toggle", None),
        ("GET", "/api/cron/abc123/runs", None),
    ],
)
async def test_what_is_not_there_is_told(served: Serving, method: str, path: str, body: Any) -> None:
    answer = await ask(served, method, path, body)

    assert (answer.status, answer.code) == (404, "JOB_NOT_FOUND")


async def test_a_schedule_gives_its_files_to_each_of_its_runs(served: Serving) -> None:
    given = {"name": "a.txt", "data": base64.b64encode(b"each time").decode()}
    stored = await uploaded(served, b"stored")
    job = await create(served, prompt="@@ read", attachments=[given, {"file": stored["id"]}])
    assert [file["name"] for file in job["attachments"]] == ["a.txt", "a.txt"]
    shown = (await ask(served, "GET", f"/api/cron/{job['id']}")).body["job"]
    assert shown["attachments"] == job["attachments"]

    for _ in range(2):
        answer = await ask(served, "POST", "/api/cron/trigger", {"job_id": job["id"]})
        task = await done(served, answer.body["run_id"])
        assert task["result"].split() == [file["sha256"] for file in job["attachments"]]
        assert task["attachments"] == job["attachments"]


async def test_files_of_a_schedule_are_replaced_kept_and_let_go(served: Serving) -> None:
    given = {"name": "a.txt", "data": base64.b64encode(b"1").decode()}
    job = await create(served, attachments=[given])
    path = f"/api/cron/{job['id']}"
    (first,) = job["attachments"]

    async def uses(file: dict[str, Any]) -> int:
        return int((await ask(served, "GET", f"/api/files/{file['id']}/info")).body["file"]["uses"])

    renamed = (await ask(served, "PATCH", path, {"name": "renamed"})).body["job"]
    await ask(served, "POST", f"{path}/toggle")
    assert (renamed["attachments"], await uses(first)) == ([first], 1)
    assert (await ask(served, "DELETE", f"/api/files/{first['id']}")).status == 409

    other = {"name": "b.txt", "data": base64.b64encode(b"2").decode()}
    edited = (await ask(served, "PATCH", path, {"attachments": [other]})).body["job"]
    (second,) = edited["attachments"]
    assert (second["name"], await uses(first), await uses(second)) == ("b.txt", 0, 1)

    cleared = (await ask(served, "PATCH", path, {"attachments": []})).body["job"]
    assert (cleared["attachments"], await uses(second)) == ([], 0)
    await ask(served, "PATCH", path, {"attachments": [{"file": second["id"]}]})
    await ask(served, "DELETE", path)
    assert await uses(second) == 0


async def test_a_refused_schedule_or_edit_leaves_no_files(served: Serving) -> None:
    given = {"name": "a.txt", "data": base64.b64encode(b"1").decode()}
    job = await create(served)
    for method, path, body in (
        ("POST", "/api/cron/create", {**NINE, "schedule": "never", "attachments": [given]}),
        ("POST", "/api/cron/create", {**NINE, "attachments": [given, {"file": "0" * 26}]}),
        ("PATCH", f"/api/cron/{job['id']}", {"schedule": "never", "attachments": [given]}),
        ("PATCH", "/api/cron/none", {"attachments": [given]}),
    ):
        assert (await ask(served, method, path, body)).status in (400, 404)
    assert on_disk(served) == []
    assert (await ask(served, "GET", f"/api/cron/{job['id']}")).body["job"]["attachments"] == []


async def test_a_schedule_with_files_is_made_once_by_its_key(served: Serving) -> None:
    body = {**NINE, "attachments": [{"name": "a.txt", "data": base64.b64encode(b"1").decode()}]}
    other = {**NINE, "attachments": [{"name": "a.txt", "data": base64.b64encode(b"2").decode()}]}
    answers = [await ask(served, "POST", "/api/cron/create", sent, Idempotency_Key="k") for sent in (body, body, other)]

    assert [answer.status for answer in answers] == [200, 200, 409]
    assert answers[0].body == answers[1].body
    assert len(on_disk(served)) == 1


async def test_the_last_fires_of_all_schedules_are_shown_in_one_call(served: Serving) -> None:
    one, two, idle = [(await create(served, name=name))["id"] for name in ("one", "two", "idle")]
    for job in (one, two, two):
        run = (await ask(served, "POST", "/api/cron/trigger", {"job_id": job})).body["run_id"]
        await done(served, run)
    found = (await ask(served, "GET", "/api/cron/fires?each=1")).body
    first = (await ask(served, "GET", "/api/cron/fires?limit=1")).body
    rest = (await ask(served, "GET", f"/api/cron/fires?cursor={first['next_cursor']}")).body
    listed = (await ask(served, "GET", f"/api/cron/{two}/runs")).body["runs"]

    assert {id_: len(fires) for id_, fires in found["jobs"].items()} == {one: 1, two: 1, idle: 0}
    assert found["jobs"][two] == listed[:1]
    assert (listed[0]["run_id"], listed[0]["run_status"], listed[0]["outcome"]) == (run, "succeeded", "triggered")
    assert (list(first["jobs"]), list(rest["jobs"]), rest["next_cursor"]) == ([idle], [two, one], None)
    assert rest["jobs"][two] == listed[::-1]
