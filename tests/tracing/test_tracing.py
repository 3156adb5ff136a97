"""Runs as a collector sees them: a gateway in this process, and a receiver that decodes what it sends."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.run import Run
from harness.otlp_receiver import OtlpReceiver, receive_otlp
from harness.waiting import until
from tests.api.client import ask
from tests.support.inprocess import Serving, serving


@pytest.fixture
def collector() -> Iterator[OtlpReceiver]:
    with receive_otlp() as receiver:
        yield receiver


def traced(collector: OtlpReceiver, **more: Any) -> dict[str, Any]:
    """Return settings with which runs are traced."""
    return {"tracing": {"enabled": True, "endpoint": collector.url, "metrics": False, **more}}


async def run(served: Serving, prompt: str, **headers: str) -> Run:
    """Let the agent answer; return the run when it has ended."""
    made = await ask(served, "POST", "/api/tasks", {"input": prompt}, **headers)
    assert made.status in (200, 201, 202), made.body
    ended: Run = await served.engine.wait_for_run(made.headers["X-Run-Id"], 60)
    return ended


async def test_a_run_is_one_trace_with_all_its_parts(tmp_path: Path, collector: OtlpReceiver) -> None:
    async with serving(tmp_path, traced(collector)) as served:
        done = await run(served, "hello there")
        await until(lambda: collector.named("run main"), "the trace has come")

    spans = collector.of_run(done.id)
    assert {one.name for one in spans} == {"run main", "accept", "wait", "claim", "invoke_agent main"}
    print(spans)
    assert {one.trace_id for one in spans} == {hashlib.sha256(done.id.encode()).hexdigest()[:32]}
