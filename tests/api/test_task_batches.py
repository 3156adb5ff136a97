"""`POST /api/tasks/batch`."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.engine.resources import run_batches
from tests.api.client import Answer, ask, done, running, submit
from tests.support.inprocess import Serving


async def change(moongate: Serving, body: dict[str, Any], key: str | None = None) -> Answer:
    return await ask(moongate, "POST", "/api/tasks/batch", body, **({"Idempotency_Key": key} if key else {}))


async def statuses(moongate: Serving, ids: list[str]) -> list[str]:
    return [(await ask(moongate, "GET", f"/api/tasks/{id_}")).body["task"]["status"] for id_ in ids]


async def test_all_that_match_are_cancelled_and_running_ones_are_stopped(moongate: Serving) -> None:
    hanging = await submit(moongate, "@@ hang", labels={"team": "red"})
    await running(moongate, hanging["id"])
    held = await submit(moongate, "held", held=True, labels={"team": "red"})
    other = await submit(moongate, "other", held=True)
    ended = await done(moongate, (await submit(moongate, "one", labels={"team": "red"}))["id"])

    answer = await change(moongate, {"action": "cancel", "filter": {"label": "team=red"}})

    assert answer.body == {"status": "ok", "changed": [hanging["id"], held["id"]], "refused": [], "more": False}
    assert (await done(moongate, hanging["id"]))["status"] == "cancelled"
    assert await statuses(moongate, [held["id"], other["id"], ended["id"]]) == ["cancelled", "held", "succeeded"]


async def test_those_that_cannot_be_changed_are_refused_by_the_rules_of_one(moongate: Serving) -> None:
    held = await submit(moongate, "held", held=True)
    ended = await done(moongate, (await submit(moongate, "one"))["id"])
    ids = [held["id"], ended["id"], "nothing"]

    cancelled = (await change(moongate, {"action": "cancel", "ids": ids})).body
    retried = (await change(moongate, {"action": "retry", "ids": ids})).body

    assert (cancelled["changed"], [one["id"] for one in cancelled["refused"]]) == ([held["id"]], ids[1:])
    assert "cannot cancel a task that is succeeded" in cancelled["refused"][0]["why"]
    assert (retried["changed"], [one["id"] for one in retried["refused"]]) == ([held["id"]], ids[1:])


async def test_more_tells_to_call_again_until_all_are_retried_once(
    moongate: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_batches, "MAX_BATCH_RUNS", 2)
    held = [(await submit(moongate, "one", held=True))["id"] for _ in range(3)]
    for id_ in held:
        await ask(moongate, "POST", f"/api/tasks/{id_}/cancel")
    body = {"action": "retry", "filter": {"status": ["failed", "cancelled"]}}

    answers = [(await change(moongate, body)).body for _ in range(3)]

    assert [(one["changed"], one["more"]) for one in answers] == [(held[1:], True), (held[:1], False), ([], False)]


async def test_the_same_key_changes_the_same_tasks_once(moongate: Serving) -> None:
    failed = await done(moongate, (await submit(moongate, "@@ fail"))["id"])
    body = {"action": "retry", "filter": {"status": "failed"}}

    first, second = await change(moongate, body, "k"), await change(moongate, body, "k")
    other = await change(moongate, {**body, "action": "cancel"}, "k")

    assert first.body == second.body
    assert first.body["changed"] == [failed["id"]]
    retries = [one for one in (await ask(moongate, "GET", "/api/tasks")).body["tasks"] if one["retry_of"]]
    assert len(retries) == 1
    assert (other.status, other.body["error"]["code"]) == (409, "CONFLICT")


async def test_a_task_that_a_batch_names_twice_is_retried_once(moongate: Serving) -> None:
    failed = (await done(moongate, (await submit(moongate, "@@ fail"))["id"]))["id"]
    answer = await change(moongate, {"action": "retry", "ids": [failed[4:], failed, "nothing", failed[6:]]})

    assert answer.body["changed"] == [failed[4:]]
    assert [one["id"] for one in answer.body["refused"]] == ["nothing"]
    retries = [one for one in (await ask(moongate, "GET", "/api/tasks")).body["tasks"] if one["retry_of"]]
    assert len(retries) == 1


@pytest.mark.parametrize(
    "more", [{}, {"ids": ["x"], "filter": {}}, {"ids": []}, {"ids": ["x"] * 501}, {"filter": {"x": 1}}]
)
async def test_a_batch_needs_ids_or_a_filter(moongate: Serving, more: dict[str, Any]) -> None:
    assert (await change(moongate, {"action": "cancel", **more})).status == 400
