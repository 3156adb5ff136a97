"""Webhooks under failures: kill -9 before they are sent, receivers that misbehave, receivers that are dead."""

from __future__ import annotations

import base64
import random
import time
from collections import Counter, defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

from standardwebhooks.webhooks import Webhook

from drills import Figures, client
from harness.live_gateway import Live
from harness.live_store import LiveStore
from harness.webhook_receiver import Receiver, Request, receiving_elsewhere

SECRET = "whsec_" + base64.b64encode(b"drill" * 6).decode()
#: seconds in which a delivery to a healthy receiver should arrive, whatever else happens
SOON = 2.0


def _settings(**webhooks: Any) -> dict[str, Any]:
    agent = {"id": "main", "backend": "echo", "script": True, "max_concurrent": 16}
    return {"agents": {"list": [agent]}, "webhooks": {"secret": SECRET, **webhooks}}


def _ids(requests: list[Request]) -> dict[str, set[str]]:
    """Return the webhook ids of each task; verify each webhook."""
    found = defaultdict(set)
    for request in requests:
        told: Any = Webhook(SECRET).verify(request.body, dict(request.headers))
        found[told["data"]["id"]].add(request.id)
    return found


def kill_before_delivery(
    directory: Path, kills: int = 3, seed: str = "moon", store: LiveStore | None = None
) -> Figures:
    """Kill -9 the gateway between the end of tasks and their deliveries: all arrive, each with one id."""
    live = Live(directory / "home", _settings(schedule=[0.0] + [0.5] * 40), store=store)
    dice = random.Random(seed)  # noqa: S311 no secret
    tasks: list[str] = []
    undelivered = 0
    with receiving_elsewhere() as elsewhere:
        receiver = elsewhere.receiver
        try:
            live.start()
            for _ in range(kills):
                receiver.otherwise = "hang"  # the request has come, its answer does not: the kill happens in between
                seen = len(receiver.requests)
                tasks += [client.accepted(live, "@@ say done", webhook=receiver.url) for _ in range(3)]
                if dice.random() < 0.5:
                    client.until(lambda seen=seen: len(receiver.requests) > seen, "the first delivery is on its way")
                time.sleep(dice.uniform(0.0, 0.03))
                live.kill()
                left = live.rows("SELECT count(*) FROM deliveries WHERE status <> 'delivered'")
                undelivered += int(left[0][0])
                receiver.otherwise = "200"
                live.start()
                _wait_delivered(live, len(tasks))
            assert live.stop() == 0
        finally:
            live.close()
        told = _ids(receiver.requests)
    assert set(told) == set(tasks), f"{len(set(tasks) - set(told))} were lost"
    assert {len(ids) for ids in told.values()} == {1}
    assert undelivered > 0
    return {
        "kills": kills,
        "tasks": len(tasks),
        "not delivered when killed": undelivered,
        "lost": len(set(tasks) - set(told)),
        "sent more than once": sum(count > 1 for count in Counter(one.id for one in receiver.requests).values()),
    }


def _wait_delivered(live: Live, count: int) -> None:
    def delivered() -> bool:
        for status in ("pending", "sending"):
            if live.call("GET", f"/api/deliveries?limit=1&status={status}").body["deliveries"]:
                return False
        return _count(live, "delivered") == count

    client.until(delivered, "all have been delivered", 300.0)


def _waiting(live: Live) -> int:
    return _count(live, "pending") + _count(live, "sending")


def _count(live: Live, status: str) -> int:
    count, cursor = 0, ""
    while True:
        page = live.call("GET", f"/api/deliveries?limit=500&status={status}{cursor}").body
        count += len(page["deliveries"])
        if page["next_cursor"] is None:
            return count
        cursor = f"&cursor={page['next_cursor']}"


def every_mood(directory: Path, tasks: int = 20, down: float = 1.0, seed: str = "moon") -> Figures:
    """A receiver is down, then misbehaves in all ways, then works: all deliveries arrive, each with one id.

    The waits are scaled down: an hour is `down` seconds.
    """
    schedule = [0.0] + [down / 10] * 49
    moods = ["500", "503 Retry-After: 1", "429 Retry-After: 1", "302 Location: http://127.0.0.1:9/", "hang", "reset"]
    dice = random.Random(seed)  # noqa: S311 no secret
    live = Live(directory / "home", _settings(schedule=schedule, timeout=1.0))
    with receiving_elsewhere() as elsewhere:
        receiver = elsewhere.receiver
        try:
            live.start()
            elsewhere.down()
            made = [client.accepted(live, f"@@ say {number}", webhook=receiver.url) for number in range(tasks)]
            gone = client.accepted(live, "@@ say gone", webhook=receiver.url + "/gone")
            client.wait_idle(live)
            time.sleep(down)
            receiver.script.extend(dice.choice(moods) for _ in range(2 * tasks))
            elsewhere.up()
            _wait_delivered(live, tasks + 1)
            refused = _dead_and_back(live, receiver)
            assert live.stop() == 0
        finally:
            live.close()
        told = _ids(receiver.requests)
    assert set(told) == {*made, gone, refused}
    assert {len(ids) for ids in told.values()} == {1}
    return {
        "tasks": tasks,
        "requests": len(receiver.requests),
        "delivered": len(told),
        "dead letters brought back": 1,
        "most tries of one": max(int(request.headers["moongate-attempt"]) for request in receiver.requests),
    }


def _dead_and_back(live: Live, receiver: Receiver) -> str:
    """Make a delivery dead by refusing it, and send it again; return its task."""
    receiver.script.append("410")
    task = client.accepted(live, "@@ say refused", webhook=receiver.url)
    path = f"/api/deliveries?task={task}"

    def status() -> str:
        found = live.call("GET", path).body["deliveries"]
        return str(found[0]["status"]) if found else ""

    client.until(lambda: status() == "dead", "it is dead")
    live.call("POST", f"/api/deliveries/{live.call('GET', path).body['deliveries'][0]['id']}/retry")
    client.until(lambda: status() == "delivered", "it is back")
    return task


def a_dead_receiver_delays_nobody(directory: Path, dead: int = 40, well: int = 20, strict: bool = False) -> Figures:
    """Many deliveries go to a receiver that hangs: those to another receiver arrive as fast as usual.

    Args:
        strict: whether their delay, which depends on the machine, is checked, too.
    """
    live = Live(directory / "home", _settings())
    with receiving_elsewhere() as hanging, receiving_elsewhere() as fine:
        hanging.receiver.otherwise = "hang"
        try:
            live.start()
            for number in range(dead):
                client.accepted(live, f"@@ say {number}", webhook=hanging.receiver.url)
            client.wait_idle(live)
            client.until(lambda: len(hanging.receiver.requests) >= 4, "the dead one is busy")
            for number in range(well):
                client.accepted(live, f"@@ say {number}", webhook=fine.receiver.url)
            client.until(lambda: len(fine.receiver.requests) >= well, "the other one has all")
            # When the last requests have come, their answers are still on their way.
            client.until(lambda: _waiting(live) == dead, "only those to the dead one wait")
        finally:
            live.close()
        delays = sorted(_delay(request) for request in fine.receiver.requests)
    p99 = delays[min(len(delays) - 1, round(len(delays) * 0.99))]
    assert not strict or p99 < SOON, f"p99 {p99:.2f} s"
    return {
        "waiting for the dead one": dead,
        "to the other": well,
        "median s": round(delays[len(delays) // 2], 3),
        "p99 s": round(p99, 3),
    }


def _delay(request: Request) -> float:
    """Return the seconds from the end of a task to the arrival of its webhook."""
    return request.at - datetime.fromisoformat(request.json["timestamp"]).timestamp()
