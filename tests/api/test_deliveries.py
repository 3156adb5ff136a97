"""Webhooks out: signed, tried again as long as it makes sense, and never lost."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from gateway.domain.delivery import DELIVERY_RETRY_DELAYS_SECONDS
from harness.waiting import PATIENCE, until
from harness.webhook_receiver import Request, serve_receiver
from tests.contracts.stores import SteppedClock
from tests.support.hurrying import Hurry
from tests.support.inprocess import Serving, serving

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
NEXT_SECRET = "whsec_" + base64.b64encode(b"n" * 32).decode()
HOUR = 3_600_000


@asynccontextmanager
async def gateway(home: Path, clock: Any = None, **webhooks: Any) -> AsyncIterator[Serving]:
    more = {} if clock is None else {"clock": clock}
    async with serving(home, {"webhooks": {"secret": SECRET, **webhooks}}, **more) as served:
        yield served


async def submit(served: Serving, url: str, text: str = "@@ say hi", **fields: Any) -> dict[str, Any]:
    body = {"input": text, "webhook": url, **fields}
    async with served.client.post("/api/tasks", json=body) as answer:
        found = await answer.json()
        assert answer.status == 202, found
        task: dict[str, Any] = found["task"]
        return task


async def get(served: Serving, path: str, expected: int = 200) -> Any:
    async with served.client.get(path) as answer:
        assert answer.status == expected, await answer.text()
        return await answer.json()


async def post(served: Serving, path: str, body: dict[str, Any], expected: int | None = None) -> dict[str, Any]:
    async with served.client.post(path, json=body) as answer:
        assert answer.status == expected if expected else answer.ok, await answer.text()
        found: dict[str, Any] = await answer.json()
        return found


async def retry(served: Serving, id_: str, expected: int = 200) -> Any:
    async with served.client.post(f"/api/deliveries/{id_}/retry") as answer:
        assert answer.status == expected, await answer.text()
        return await answer.json()


async def delivery_with(served: Serving, status: str, attempt: int | None = None) -> dict[str, Any]:
    """Wait until the only delivery has that status, after so many tries."""
    last: list[dict[str, Any]] = []
    async with asyncio.timeout(PATIENCE):
        while True:
            last = (await get(served, "/api/deliveries"))["deliveries"]
            if len(last) == 1 and last[0]["status"] == status and attempt in (None, last[0]["attempt"]):
                return last[0]
            await asyncio.sleep(0.01)


def verify(request: Request, secret: str = SECRET) -> Any:
    # The oracle compares with the time of this machine; what it is given was signed with the gateway's.
    return Webhook(secret).verify(request.body, dict(request.headers))


async def test_the_end_of_a_task_is_told_by_a_signed_post(tmp_path: Path) -> None:
    async with serve_receiver() as receiver, gateway(tmp_path) as served:
        task = await submit(served, receiver.url, labels={"a": "b"})
        await delivery_with(served, "delivered")

    (request,) = receiver.requests
    told = verify(request)
    assert (told["type"], told["data"]["id"], told["data"]["status"]) == ("task.finished", task["id"], "succeeded")
    assert (told["data"]["result"], told["data"]["labels"]) == ("hi", {"a": "b"})
    assert told["timestamp"] == told["data"]["finished_at"]
    shown = {name: request.headers[f"ce-{name}"] for name in ("specversion", "type", "subject", "id")}
    assert shown == {"specversion": "1.0", "type": "task.finished", "subject": task["id"], "id": request.id}
    assert (request.headers["content-type"], request.headers["moongate-attempt"]) == ("application/json", "1")


async def cancel(served: Serving, task: str) -> None:
    async with served.client.post(f"/api/tasks/{task}/cancel") as answer:
        assert answer.status == 200


async def test_a_task_shows_how_far_word_of_its_end_has_come(tmp_path: Path) -> None:
    async with serve_receiver() as receiver, gateway(tmp_path) as served:
        task = await submit(served, receiver.url, "@@ hang")
        before = await get(served, f"/api/tasks/{task['id']}")
        await cancel(served, task["id"])
        delivery = await delivery_with(served, "delivered")
        shown = await get(served, f"/api/tasks/{task['id']}")

    assert (before["deliveries"], shown["deliveries"]) == ([], [delivery])


async def test_a_task_that_nobody_is_told_of_shows_no_deliveries(tmp_path: Path) -> None:
    async with serve_receiver() as receiver, gateway(tmp_path) as served:
        await submit(served, receiver.url)
        await delivery_with(served, "delivered")
        async with served.client.post("/api/agent", json={"message": "hi"}) as answer:
            other = await get(served, f"/api/tasks/{(await answer.json())['run_id']}")

    assert other["deliveries"] == []


@pytest.mark.parametrize("text", ["@@ fail no", "@@ hang"])
async def test_a_task_that_fails_or_is_cancelled_is_told_too(tmp_path: Path, text: str) -> None:
    async with serve_receiver() as receiver, gateway(tmp_path) as served:
        task = await submit(served, receiver.url, text)
        if "hang" in text:
            await cancel(served, task["id"])
        await delivery_with(served, "delivered")

    status = "failed" if "fail" in text else "cancelled"
    assert receiver.requests[0].json["data"]["status"] == status


async def test_the_page_about_webhooks_shows_how_to_verify_one(tmp_path: Path) -> None:
    async with serve_receiver() as receiver, gateway(tmp_path) as served:
        await submit(served, receiver.url)
        await delivery_with(served, "delivered")

    page = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
    shown: dict[str, Any] = {}
    exec(page.partition("```python\n")[2].partition("```")[0], shown)
    (request,) = receiver.requests
    assert shown["verified"](SECRET, request.headers, request.body) == verify(request)
    with pytest.raises(ValueError, match="wrong signature"):
        shown["verified"](NEXT_SECRET, request.headers, request.body)


async def test_a_changed_body_does_not_verify(tmp_path: Path) -> None:
    async with serve_receiver() as receiver, gateway(tmp_path) as served:
        await submit(served, receiver.url)
        await delivery_with(served, "delivered")

    (request,) = receiver.requests
    with pytest.raises(WebhookVerificationError):
        verify(request._replace(body=request.body.replace(b"succeeded", b"failed")))


async def test_while_a_secret_is_changed_both_verify(tmp_path: Path) -> None:
    async with serve_receiver() as receiver, gateway(tmp_path, secret=[NEXT_SECRET, SECRET]) as served:
        await submit(served, receiver.url)
        await delivery_with(served, "delivered")

    assert verify(receiver.requests[0], SECRET) == verify(receiver.requests[0], NEXT_SECRET)


async def test_a_receiver_can_have_a_secret_of_its_own(tmp_path: Path) -> None:
    async with serve_receiver() as receiver:
        own = {f"http://127.0.0.1:{receiver.port}": NEXT_SECRET}
        async with gateway(tmp_path, secrets=own) as served:
            await submit(served, receiver.url)
            await delivery_with(served, "delivered")

    verify(receiver.requests[0], NEXT_SECRET)
    with pytest.raises(WebhookVerificationError):
        verify(receiver.requests[0], SECRET)


async def test_without_a_secret_in_the_settings_one_is_made_and_kept(tmp_path: Path) -> None:
    async with serve_receiver() as receiver:
        for _ in range(2):
            async with gateway(tmp_path, secret=None) as served:
                await submit(served, receiver.url)
                await until(lambda: receiver.requests, "it is told")
                verify(receiver.requests.pop(), (tmp_path / "webhook-secret").read_text().strip())

    assert (tmp_path / "webhook-secret").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("path", ["/api/tasks", "/api/cron/create"])
async def test_who_hands_in_work_may_say_what_its_webhook_is_signed_with(tmp_path: Path, path: str) -> None:
    body = {"webhook_secret": NEXT_SECRET}
    async with serve_receiver() as receiver, gateway(tmp_path, schedule=[0, 0]) as served:
        receiver.script += ["500"]
        body["webhook"] = receiver.url
        if path == "/api/tasks":
            shown = await post(served, path, {"input": "hi", **body})
        else:
            shown = await post(served, path, {"prompt": "hi", "schedule": "every 1d", **body})
            shown |= await post(served, "/api/cron/trigger", {"job_id": shown["job"]["id"]})
        await delivery_with(served, "delivered", 2)
        shown |= await get(served, "/api/deliveries") | await get(served, "/api/tasks") | await get(served, "/api/cron")

    for request in receiver.requests:
        verify(request, NEXT_SECRET)
        with pytest.raises(WebhookVerificationError):
            verify(request, SECRET)
    assert NEXT_SECRET not in json.dumps(shown)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"webhook_secret": NEXT_SECRET}, "together with the webhook"),
        ({"webhook_secret": "whsec_" + "A" * 33, "webhook": "http://127.0.0.1:1/"}, "webhook_secret"),
        ({"webhook_secret": "guess", "webhook": "http://127.0.0.1:1/"}, "webhook_secret"),
    ],
)
async def test_a_secret_that_signs_nothing_is_refused(tmp_path: Path, given: dict[str, str], said: str) -> None:
    async with gateway(tmp_path) as served:
        refused = await post(served, "/api/tasks", {"input": "hi", **given}, expected=400)

    assert said in refused["error"]["message"]
    assert given["webhook_secret"] not in refused["error"]["message"]


async def test_a_receiver_that_fails_in_every_way_gets_it_in_the_end_under_one_id(tmp_path: Path, hurry: Hurry) -> None:
    clock = SteppedClock()
    ways = ["500", "429 Retry-After: 90000", "302 Location: http://127.0.0.1:1/", "hang", "reset", "drip"]
    schedule = [0.0, *DELIVERY_RETRY_DELAYS_SECONDS[1:], *DELIVERY_RETRY_DELAYS_SECONDS[-3:]]
    async with serve_receiver() as receiver, gateway(tmp_path, clock, timeout=50, schedule=schedule) as served:
        await receiver.down()
        await submit(served, receiver.url)
        seen = [await delivery_with(served, "pending", 1)]
        await forward(served, clock, 0.02)
        seen.append(await delivery_with(served, "pending", 2))
        await receiver.up()
        receiver.script.extend(ways)
        for number, way in enumerate(ways, 3):
            await forward(served, clock, 11 if "429" not in seen[-1]["error"] else 25)
            if way in ("hang", "drip"):
                await until(lambda count=number - 2: len(receiver.requests) == count, "it has come")
                hurry(50)
            seen.append(await delivery_with(served, "pending", number))
            assert len(receiver.requests) == number - 2, way
        await forward(served, clock, 11)
        done = await delivery_with(served, "delivered", 9)

    assert receiver.ids == {done["id"]}
    assert [request.headers["moongate-attempt"] for request in receiver.requests] == [str(n) for n in range(3, 10)]
    assert {request.body for request in receiver.requests} == {receiver.requests[0].body}
    errors = " ".join(delivery["error"] for delivery in seen)
    for part in ("refused", "500: well", "429", "302: redirects", "no answer within 50 s", "broke off"):
        assert part in errors.lower()


async def forward(served: Serving, clock: SteppedClock, hours: float) -> None:
    clock.forward(round(hours * HOUR))
    served.engine._outbox.wake()


async def test_a_delivery_shows_each_attempt_to_send_it(tmp_path: Path) -> None:
    async with serve_receiver("503", "500") as receiver, gateway(tmp_path, schedule=[0.0, 0.0]) as served:
        await submit(served, receiver.url)
        dead = await delivery_with(served, "dead", 2)
        await retry(served, dead["id"])
        await delivery_with(served, "delivered", 1)
        shown = await get(served, f"/api/deliveries/{dead['id'][:22]}")

    attempts = shown["attempts"]
    told = [(one["number"], one["http_status"], (one["error"] or "")[:12]) for one in attempts]
    assert told == [(1, 503, "answered 503"), (2, 500, "answered 500"), (3, 200, "")]
    assert [one["at"] for one in attempts] == sorted(one["at"] for one in attempts)
    assert all(one["seconds"] >= 0 for one in attempts)
    assert shown["delivery"] == {**shown["delivery"], "id": dead["id"], "status": "delivered", "attempt": 1}


async def test_deliveries_are_counted_and_found_by_their_address(tmp_path: Path) -> None:
    async with serve_receiver("410") as receiver, gateway(tmp_path) as served:
        await submit(served, f"{receiver.url}gone")
        await delivery_with(served, "dead")
        counts = await get(served, "/api/deliveries/counts")
        none = await get(served, "/api/deliveries/counts?kind=telegram")
        found = await get(served, "/api/deliveries?kind=webhook&text=GONE")
        missed = await get(served, "/api/deliveries?text=elsewhere")

    assert counts == {"pending": 0, "sending": 0, "delivered": 0, "dead": 1, "exact": True}
    assert none == {**counts, "dead": 0}
    assert [one["address"] for one in found["deliveries"]] == [f"{receiver.url}gone"]
    assert missed == {"deliveries": [], "next_cursor": None}


async def test_what_a_receiver_asks_to_wait_is_waited(tmp_path: Path) -> None:
    clock = SteppedClock()
    async with serve_receiver("429 Retry-After: 600") as receiver, gateway(tmp_path, clock) as served:
        await submit(served, receiver.url)
        waiting = await delivery_with(served, "pending", 1)
        assert waiting["next_at"] == "2023-11-14T22:23:20.000Z"
        await forward(served, clock, 599 / 3600)
        await submit(served, receiver.url)
        await until(lambda: len(receiver.requests) == 2, "the other one has come")
        assert len(receiver.ids) == 2
        await forward(served, clock, 1 / 3600)
        await until(lambda: len(receiver.requests) == 3, "it has come again")

    assert receiver.requests[2].id == waiting["id"]


async def test_gone_ends_it_and_a_retry_by_hand_brings_it_back(tmp_path: Path) -> None:
    async with serve_receiver("410") as receiver, gateway(tmp_path) as served:
        await submit(served, receiver.url)
        dead = await delivery_with(served, "dead")
        assert (dead["attempt"], dead["error"]) == (1, "answered 410: it wants no more")
        assert (await get(served, "/api/deliveries?status=dead"))["deliveries"] == [dead]

        again = (await retry(served, dead["id"]))["delivery"]
        done = await delivery_with(served, "delivered")

    assert (again["id"], again["status"]) == (dead["id"], "pending")
    assert (done["id"], done["attempt"]) == (dead["id"], 1)
    assert receiver.ids == {dead["id"]}


async def test_when_the_last_try_has_failed_it_is_dead_and_can_be_retried(tmp_path: Path) -> None:
    async with serve_receiver("500", "500") as receiver, gateway(tmp_path, schedule=[0.0, 0.0]) as served:
        await submit(served, receiver.url)
        dead = await delivery_with(served, "dead", 2)
        await retry(served, dead["id"][:20])
        await delivery_with(served, "delivered", 1)
        error = await retry(served, dead["id"], 409)

    assert error["error"]["message"].startswith("cannot retry a delivery that is delivered")


async def test_an_answer_is_read_up_to_a_limit(tmp_path: Path) -> None:
    async with serve_receiver("flood") as receiver, gateway(tmp_path) as served:
        await submit(served, receiver.url)
        await delivery_with(served, "delivered", 1)


async def test_no_proxy_of_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1/")
    async with serve_receiver() as receiver, gateway(tmp_path) as served:
        await submit(served, receiver.url)
        await delivery_with(served, "delivered", 1)


async def test_a_receiver_that_hangs_does_not_delay_another(tmp_path: Path) -> None:
    async with serve_receiver() as dead, serve_receiver() as well, gateway(tmp_path, timeout=55) as served:
        dead.otherwise = "hang"
        await asyncio.gather(*(submit(served, dead.url) for _ in range(60)))
        await until(lambda: len(dead.requests) == 4, "the hanging one is busy")
        await submit(served, well.url)
        await until(lambda: well.requests, "the other one has been told", within=50)

        assert len(dead.requests) == 4


async def test_deliveries_are_changes_that_can_be_followed(tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []
    async with (
        serve_receiver("410") as receiver,
        gateway(tmp_path) as served,
        served.client.get("/api/events") as events,
    ):
        task = await submit(served, receiver.url)
        while len(seen) < 2:
            line = await events.content.readline()
            assert line, "the stream has ended"
            if line.startswith(b"data: ") and (change := json.loads(line[6:]))["topic"] == "delivery":
                seen.append((change["state"], change["session"]))

    assert seen == [("pending", task["session"]), ("dead", task["session"])]


async def test_deliveries_are_shown_one_by_one_and_by_task_in_pages(tmp_path: Path) -> None:
    async with serve_receiver() as receiver, gateway(tmp_path) as served:
        tasks = [await submit(served, f"{receiver.url}?{number}") for number in range(3)]
        await until(lambda: len(receiver.requests) == 3, "all have come")
        first = await get(served, "/api/deliveries?limit=2")
        rest = await get(served, f"/api/deliveries?limit=2&cursor={first['next_cursor']}")
        of_task = await get(served, f"/api/deliveries?task={tasks[1]['id']}")
        one = await get(served, f"/api/deliveries/{first['deliveries'][0]['id']}")
        missing = await get(served, "/api/deliveries/01ZZZZ", 404)

    shown = [*first["deliveries"], *rest["deliveries"]]
    assert {delivery["task"] for delivery in shown} == {task["id"] for task in tasks}
    assert (len(shown), rest["next_cursor"]) == (3, None)
    assert [delivery["address"] for delivery in of_task["deliveries"]] == [f"{receiver.url}?1"]
    assert (one["status"], one["delivery"]["id"]) == ("ok", shown[0]["id"])
    assert missing["error"]["code"] == "NOT_FOUND"


async def test_the_numbers_tell_of_what_waits_and_what_is_dead(tmp_path: Path) -> None:
    async with serve_receiver("410", "500") as receiver, gateway(tmp_path) as served:
        await submit(served, receiver.url)
        await delivery_with(served, "dead")
        await submit(served, receiver.url)
        await until(lambda: len(receiver.requests) == 2, "the second one was tried")
        async with served.client.get("/metrics") as answer:
            text = await answer.text()

    assert 'moongate_deliveries{status="pending"} 1.0' in text
    assert 'moongate_deliveries{status="dead"} 1.0' in text


@pytest.mark.parametrize("url", ["ftp://example.org/", "http://10.0.0.1/", ""])
async def test_a_webhook_that_cannot_be_one_is_refused_when_it_is_given(tmp_path: Path, url: str) -> None:
    given = {"input": "hi", "webhook": url}
    async with gateway(tmp_path) as served, served.client.post("/api/tasks", json=given) as answer:
        error = (await answer.json())["error"]
        tasks = (await get(served, "/api/tasks"))["tasks"]

    assert (answer.status, error["code"], tasks) == (400, "INVALID_REQUEST", [])
    assert "webhook" in error["message"]


async def test_what_was_not_sent_when_the_gateway_ended_is_sent_by_the_next_one(tmp_path: Path) -> None:
    async with serve_receiver("hang") as receiver:
        async with gateway(tmp_path) as served:
            await submit(served, receiver.url)
            await until(lambda: receiver.requests, "it is on its way")
        async with gateway(tmp_path) as served:
            done = await delivery_with(served, "delivered", 2)

    assert receiver.ids == {done["id"]}


async def test_what_was_accepted_under_another_policy_waits_is_reported_and_is_sent_when_allowed(
    tmp_path: Path,
) -> None:
    opened = {"gateway": {"host": "0.0.0.0"}}
    async with serve_receiver("503") as receiver:
        async with gateway(tmp_path, schedule=[0, 3600, 3600]) as served:
            task = await submit(served, receiver.url)
            await delivery_with(served, "pending", 1)
            healthy = await get(served, "/health")
        async with serving(tmp_path, {**opened, "webhooks": {"secret": SECRET, "schedule": [0, 3600, 3600]}}) as served:
            (waiting,) = (await get(served, f"/api/deliveries?task={task['id']}"))["deliveries"]
            await retry(served, waiting["id"])
            refused = await delivery_with(served, "pending", 1)
            health = await get(served, "/health")
        allowing = {"secret": SECRET, "schedule": [0, 3600, 3600], "allow_private": ["127.0.0.1"]}
        async with serving(tmp_path, {**opened, "webhooks": allowing}) as served:
            done = await delivery_with(served, "delivered", 1)
            mended = await get(served, "/health")

    assert (healthy["status"], health["status"], mended["status"]) == ("healthy", "degraded", "healthy")
    assert refused["error"] == "refused: 127.0.0.1 is a loopback address, and webhooks.allow_private does not list it"
    assert "1 receivers of waiting deliveries" in health["checks"]["webhooks"]
    assert str(receiver.port) not in health["checks"]["webhooks"], "who asks without a token learns no address"
    assert {done["id"]} == receiver.ids


async def test_a_gateway_that_has_stood_down_sends_nothing(tmp_path: Path) -> None:
    async with serve_receiver() as receiver, gateway(tmp_path) as served:
        await served.engine.step_down()
        task = await submit(served, receiver.url)
        async with served.client.post(f"/api/tasks/{task['id']}/cancel") as answer:
            assert answer.status == 200
        served.engine._outbox.wake()
        waiting = await delivery_with(served, "pending", 0)

        assert (waiting["task"], receiver.connections) == (task["id"], 0)
