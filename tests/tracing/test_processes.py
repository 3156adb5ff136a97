"""One run, one trace: over a crash, over a restart, and over the members of a fleet."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.command_line import Shell
from harness.live_gateway import Live
from harness.otlp_receiver import OtlpReceiver, receive_otlp
from harness.waiting import until, until_sync
from harness.webhook_receiver import serve_receiver
from tests.api.client import done, submit
from tests.support.fleet_pair import serving_pair

#: a command that hangs in its first attempt, and answers in the next one
HANGS_ONCE = 'if test -e "$PWD/been-here"; then echo done; else touch "$PWD/been-here"; sleep 600; fi'


@pytest.fixture
def collector() -> Iterator[OtlpReceiver]:
    with receive_otlp() as receiver:
        yield receiver


def traced(collector: OtlpReceiver) -> dict[str, Any]:
    return {"enabled": True, "endpoint": collector.url, "metrics": False}


def test_a_run_that_a_crash_interrupted_is_one_trace_with_both_attempts(
    tmp_path: Path, collector: OtlpReceiver
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    agent = {"id": "main", "backend": "command", "command": ["sh", "-c", HANGS_ONCE], "workspace": str(place)}
    gateway = Live(tmp_path / "home", {"agents": {"list": [agent]}, "tracing": traced(collector)}).start()
    try:
        task = gateway.call("POST", "/api/tasks", {"input": "hello"}).body["task"]["id"]
        until_sync((place / "been-here").exists, "the first attempt is at work")
        gateway.kill()
        gateway.start()
        until_sync(lambda: any(one.name == "run main" for one in collector.of_run(task)), "the trace has come")
        parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        told = Shell(gateway.env, tmp_path)("tasks", "add", "hello", "--json", env={"TRACEPARENT": parent}).json
        until_sync(
            lambda: any(one.name == "run main" for one in collector.of_run(told["task"]["id"])), "the next has come"
        )
    finally:
        gateway.close()

    spans = collector.of_run(task)
    assert {one.trace_id for one in spans} == {hashlib.sha256(task.encode()).hexdigest()[:32]}
    assert len({one.span_id for one in spans}) == len(spans)
    counts = {name: sum(one.name == name for one in spans) for name in {one.name for one in spans}}
    assert counts == {"run main": 1, "accept": 1, "wait": 2, "claim": 2, "invoke_agent main": 2}
    whole, next_one = collector.named("run main")
    assert (next_one.trace_id, next_one.parent_id) == tuple(parent.split("-")[1:3])
    first, second, _ = collector.named("invoke_agent main")
    assert (first.status, first.attributes["error.type"], first.attributes["moongate.attempt"]) == (2, "interrupted", 1)
    assert (second.status, second.attributes["moongate.attempt"]) == (1, 2)
    assert (whole.status, whole.attributes["moongate.run.attempts"]) == (1, 2)
    _, again, _ = collector.named("wait")
    assert first.ended <= again.started <= again.ended == second.started
    assert again.attributes["moongate.wait.reason"]


async def test_in_a_fleet_the_worker_sends_the_run_and_the_leader_its_deliveries(
    tmp_path: Path, collector: OtlpReceiver
) -> None:
    allowed = {"allow_private": ["127.0.0.1"]}
    async with (
        serve_receiver() as webhook,
        serving_pair(tmp_path, tracing=traced(collector), webhooks=allowed) as pair,
    ):
        task = (await submit(pair.gate, "hello", webhook=webhook.url))["id"]
        await done(pair.gate, task)
        await until(lambda: {"run main", "deliver webhook"} <= {one.name for one in collector.spans}, "all came")

    spans = collector.of_run(task)
    [whole] = collector.named("run main")
    [sent] = collector.named("deliver webhook")
    assert {one.trace_id for one in spans} == {hashlib.sha256(task.encode()).hexdigest()[:32]}
    assert (whole.resource["host.name"], whole.resource["moongate.role"]) == ("hand", "worker")
    assert (sent.resource["host.name"], sent.resource["moongate.role"]) == ("gate", "gateway")
    assert sent.parent_id == whole.span_id
