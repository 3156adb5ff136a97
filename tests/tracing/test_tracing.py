"""Runs as a collector sees them: a gateway in this process, and a receiver that decodes what it sends."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog

import gateway
from gateway.domain.event import AnyEventData, End, Event, Tool
from gateway.domain.event import Status as StatusEvent
from gateway.domain.run import Run, RunSpec, Source, Status
from gateway.tracing import tracer
from gateway.tracing.spans import Span, TraceSettings, build_run_spans
from harness.otlp_receiver import OtlpReceiver, ReceivedSpan, receive_otlp
from harness.scripted_model import ScriptedModel
from harness.waiting import PATIENCE, until
from harness.webhook_receiver import serve_receiver
from tests.api.client import ask
from tests.support import providers
from tests.support.acp import SCRIPTED_ACP_COMMAND
from tests.support.fixtures import scripted_model
from tests.support.inprocess import Serving, serving

__all__ = ["scripted_model"]

CALLER_TRACE, CALLER_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
UNSET, OK, ERROR = 0, 1, 2


@pytest.fixture
def collector() -> Iterator[OtlpReceiver]:
    with receive_otlp() as receiver:
        yield receiver


def traced(collector: OtlpReceiver, **more: Any) -> dict[str, Any]:
    """Return settings with which runs are traced."""
    return {"tracing": {"enabled": True, "endpoint": collector.url, "metrics": False, **more}}


async def run(served: Serving, prompt: str, headers: dict[str, str] | None = None, **more: Any) -> Run:
    """Let the agent answer; return the run when it has ended."""
    made = await ask(served, "POST", "/api/tasks", {"input": prompt, **more}, **(headers or {}))
    assert made.status == 202, made.body
    ended: Run = await served.engine.runs.wait_for_run(made.body["task"]["id"], PATIENCE)
    return ended


async def receive(collector: OtlpReceiver, done: Run) -> dict[str, ReceivedSpan]:
    """Wait for the trace of a run; return its spans by their names."""
    await until(lambda: any(one.name.startswith("run ") for one in collector.of_run(done.id)), "the trace has come")
    return {one.name: one for one in collector.of_run(done.id)}


def say_everything(spans: list[ReceivedSpan]) -> str:
    return json.dumps([one._asdict() for one in spans])


async def test_a_run_is_one_trace_with_all_its_parts(tmp_path: Path, collector: OtlpReceiver) -> None:
    async with serving(tmp_path, traced(collector)) as served:
        done = await run(served, "hello there", session="talk", model="anthropic/claude-opus-4")
        spans = await receive(collector, done)

    assert set(spans) == {"run main", "accept", "wait", "claim", "invoke_agent main"}
    whole, attempt = spans["run main"], spans["invoke_agent main"]
    assert {one.trace_id for one in spans.values()} == {hashlib.sha256(done.id.encode()).hexdigest()[:32]}
    assert len({one.span_id for one in spans.values()}) == len(spans)
    assert {name: one.parent_id for name, one in spans.items()} == {
        name: "" if name == "run main" else whole.span_id for name in spans
    }
    assert (whole.started, whole.ended) == (done.created * 1_000_000, (done.finished or 0) * 1_000_000)
    assert all(whole.started <= one.started <= one.ended <= whole.ended for one in spans.values())
    assert spans["wait"].ended == spans["claim"].started == attempt.started == (done.started or 0) * 1_000_000
    assert {name: one.status for name, one in spans.items()} == {
        "run main": OK, "accept": UNSET, "wait": UNSET, "claim": UNSET, "invoke_agent main": OK
    }  # fmt: skip
    assert (whole.kind, attempt.kind) == (2, 3)
    assert attempt.events == ("first text",)
    known = {
        "moongate.run.id": done.id,
        "gen_ai.agent.id": "main",
        "gen_ai.agent.name": "main",
        "gen_ai.conversation.id": done.spec.session,
    }
    assert whole.attributes == known | {
        "moongate.run.source": "task",
        "moongate.run.status": "succeeded",
        "moongate.run.outcome": "completed",
        "moongate.run.attempts": 1,
        "moongate.run.submitted_by": "owner",
    }
    assert attempt.attributes == known | {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "anthropic/claude-opus-4",
        "gen_ai.usage.input_tokens": 2,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.response.finish_reasons": ["stop"],
        "moongate.attempt": 1,
    }


async def test_a_run_that_fails_says_why_but_not_in_its_agents_words(tmp_path: Path, collector: OtlpReceiver) -> None:
    async with serving(tmp_path, traced(collector)) as served:
        spans = await receive(collector, await run(served, "@@ fail because of Ottokar"))

    for name in ("run main", "invoke_agent main"):
        assert (spans[name].status, spans[name].message) == (ERROR, "")
        assert spans[name].attributes["error.type"] == "agent_error"
    assert "Ottokar" not in say_everything(collector.spans)


async def test_a_run_that_is_cancelled_has_not_failed(tmp_path: Path, collector: OtlpReceiver) -> None:
    async with serving(tmp_path, traced(collector)) as served:
        made = await ask(served, "POST", "/api/tasks", {"input": "@@ hang"})
        await served.engine.runs.cancel_run(made.body["task"]["id"])
        spans = await receive(collector, await served.engine.runs.wait_for_run(made.body["task"]["id"], PATIENCE))

    assert spans["run main"].status == UNSET
    assert spans["run main"].attributes["moongate.run.outcome"] == "cancelled_by_user"
    assert "error.type" not in spans["run main"].attributes


async def test_a_tool_is_a_span_of_its_attempt_without_what_it_was_given(
    tmp_path: Path, collector: OtlpReceiver
) -> None:
    async with serving(tmp_path, traced(collector)) as served:
        spans = await receive(collector, await run(served, "@@ tool grep Ottokar"))

    tool = spans["execute_tool grep"]
    assert tool.parent_id == spans["invoke_agent main"].span_id
    assert tool.status == OK
    assert tool.attributes == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "grep",
        "gen_ai.tool.call.id": "grep",
        "moongate.run.id": tool.attributes["moongate.run.id"],
        "moongate.attempt": 1,
    }
    assert "Ottokar" not in say_everything(collector.spans)


def build_spans(tool: Tool, *, content: bool = False) -> list[Span]:
    spec = RunSpec(source=Source.TASK, agent="main", session="main:api:a", input="hi")
    done = Run(id="r", seq=1, spec=spec, status=Status.SUCCEEDED, created=1, started=2, finished=9, attempt=1)
    said: list[AnyEventData] = [
        StatusEvent(status="queued"),
        StatusEvent(status="running", attempt=1),
        tool,
        End(status="succeeded", outcome="answered"),
    ]
    events = [Event(run="r", number=number, at=number, data=data) for number, data in enumerate(said, 1)]
    return build_run_spans(done, events, None, "main", TraceSettings(with_content=content))


@pytest.mark.parametrize(
    ("name", "args", "shown"),
    [
        ("Bash", {"command": "ls Ottokar"}, "Bash"),
        ("mcp__files__read", None, "mcp__files__read"),
        ("cat /home/ottokar/letter.txt", None, "tool"),
        ("Ottokar.txt", None, "tool"),
        ("Ottokar", {"path": "Ottokar"}, "tool"),
    ],
)
def test_what_an_agent_tells_in_place_of_a_tools_name_is_content(name: str, args: Any, shown: str) -> None:
    tool = Tool(id="1", name=name, args=args)

    assert [one.name for one in build_spans(tool) if "execute" in one.name] == [f"execute_tool {shown}"]
    assert [one.name for one in build_spans(tool, content=True) if "execute" in one.name] == [f"execute_tool {name}"]


async def test_with_content_a_trace_has_what_was_asked_and_answered(tmp_path: Path, collector: OtlpReceiver) -> None:
    prompt = "@@ tool grep Ottokar\n@@ say found\n@@ fail badly"
    async with serving(tmp_path, traced(collector, content=True)) as served:
        failed = await receive(collector, await run(served, prompt))
        answered = await receive(collector, await run(served, "hello"))

    assert json.loads(failed["execute_tool grep"].attributes["gen_ai.tool.call.arguments"]) == {"text": "Ottokar"}
    assert failed["execute_tool grep"].attributes["gen_ai.tool.call.result"] == "Ottokar"
    assert failed["run main"].message == "badly"
    said = answered["invoke_agent main"].attributes
    assert json.loads(said["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "hello"}]}
    ]
    assert json.loads(said["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "echo: hello"}]}
    ]


async def test_a_permission_is_a_span_from_the_question_to_the_answer(tmp_path: Path, collector: OtlpReceiver) -> None:
    agent = {"id": "main", "backend": "echo", "script": True, "permissions": "ask"}
    async with serving(tmp_path, {**traced(collector), "agents": {"list": [agent]}}) as served:
        made = await ask(served, "POST", "/api/tasks", {"input": "@@ ask to see Ottokar"})
        task = made.body["task"]["id"]
        async for event in served.engine.runs.watch_run(task):
            if event.kind == "permission":
                break
        answered = await ask(served, "POST", f"/api/tasks/{task}/permissions/p1", {"answer": "allow"})
        assert answered.status == 200
        spans = await receive(collector, await served.engine.runs.wait_for_run(task, PATIENCE))

    asked = spans["permission"]
    assert asked.parent_id == spans["invoke_agent main"].span_id
    assert asked.started <= asked.ended
    assert asked.attributes == {
        "moongate.run.id": task,
        "moongate.attempt": 1,
        "moongate.permission.answer": "allow",
        "moongate.permission.by": "person",
    }
    assert "Ottokar" not in say_everything(collector.spans)


async def test_each_try_of_a_delivery_is_a_span_that_comes_after_the_run(
    tmp_path: Path, collector: OtlpReceiver
) -> None:
    async with serve_receiver("503") as webhook:
        settings = {**traced(collector), "webhooks": {"schedule": [0, 0.5], "allow_private": ["127.0.0.1"]}}
        async with serving(tmp_path, settings) as served:
            done = await run(served, "hello", webhook=f"{webhook.url}?key=Ottokar")
            await until(lambda: len(collector.named("deliver webhook")) == 2, "both tries have come")
            spans = await receive(collector, done)

    first, second = collector.named("deliver webhook")
    whole = spans["run main"]
    assert {first.parent_id, second.parent_id} == {whole.span_id}
    assert {first.trace_id, second.trace_id} == {whole.trace_id}
    assert whole.ended <= first.started <= first.ended <= second.started
    assert (first.kind, first.status, second.status) == (3, ERROR, OK)
    assert [one.attributes["moongate.delivery.try"] for one in (first, second)] == [1, 2]
    assert [one.attributes["http.response.status_code"] for one in (first, second)] == [503, 200]
    assert (first.attributes["error.type"], first.attributes["server.address"]) == ("503", "127.0.0.1")
    assert "Ottokar" not in say_everything(collector.spans)


async def test_each_try_has_its_span_if_several_were_made_before_one_is_sent(
    tmp_path: Path, collector: OtlpReceiver
) -> None:
    async with serve_receiver("503", "503") as webhook:
        settings = {**traced(collector), "webhooks": {"schedule": [0, 0.02, 0.02], "allow_private": ["127.0.0.1"]}}
        async with serving(tmp_path, settings) as served:
            collector.answers.clear()
            await run(served, "hello", webhook=webhook.url)
            await until(lambda: len(webhook.requests) == 3, "all tries have come")
            collector.answers.set()
            await until(lambda: len(collector.named("deliver webhook")) == 3, "their spans have come")

    assert [one.attributes["moongate.delivery.try"] for one in collector.named("deliver webhook")] == [1, 2, 3]


@pytest.mark.parametrize("content", [False, True])
async def test_what_a_receiver_says_is_in_a_trace_only_with_what_was_answered(
    tmp_path: Path, collector: OtlpReceiver, content: bool
) -> None:
    refusal = b"HTTP/1.1 422 No\r\nContent-Length: 12\r\n\r\nNo: echo: hi"
    async with serve_receiver(f"raw {refusal.hex()}") as webhook:
        settings = {**traced(collector, content=content), "webhooks": {"schedule": [0, 0.1]}}
        settings["webhooks"]["allow_private"] = ["127.0.0.1"]
        async with serving(tmp_path, settings) as served:
            await run(served, "hi", webhook=webhook.url)
            await until(lambda: len(collector.named("deliver webhook")) == 2, "both tries have come")

    first = collector.named("deliver webhook")[0]
    assert first.message == ("answered 422: No: echo: hi" if content else "answered 422")


async def test_a_run_is_part_of_its_callers_trace(tmp_path: Path, collector: OtlpReceiver) -> None:
    async with serving(tmp_path, traced(collector)) as served:
        header = {"traceparent": f"00-{CALLER_TRACE}-{CALLER_SPAN}-01"}
        spans = await receive(collector, await run(served, "hello", header))
        other = await receive(collector, await run(served, "hello"))

    assert {one.trace_id for one in spans.values()} == {CALLER_TRACE}
    assert spans["run main"].parent_id == CALLER_SPAN
    assert other["run main"].trace_id != CALLER_TRACE


async def test_a_caller_decides_whether_its_runs_are_traced(tmp_path: Path, collector: OtlpReceiver) -> None:
    traces = {"unwanted": f"00-{CALLER_TRACE}-{CALLER_SPAN}-00", "wanted": f"00-{CALLER_TRACE}-{CALLER_SPAN}-01"}
    async with serving(tmp_path, traced(collector, sampling=0)) as served:
        for name, parent in traces.items():
            await run(served, name, {"traceparent": parent})
        await run(served, "by nobody")
        await receive(collector, await run(served, "hello", {"traceparent": traces["wanted"]}))

    assert len(collector.named("run main")) == 2


@pytest.mark.parametrize("wrong", ["", "nonsense", f"00-{'0' * 32}-{CALLER_SPAN}-01", "ä" * 4000])
async def test_a_wrong_traceparent_counts_as_none(tmp_path: Path, collector: OtlpReceiver, wrong: str) -> None:
    async with serving(tmp_path, traced(collector)) as served:
        done = await run(served, "hello", {"traceparent": wrong})
        spans = await receive(collector, done)

    assert spans["run main"].trace_id == hashlib.sha256(done.id.encode()).hexdigest()[:32]


async def test_a_run_that_is_submitted_again_has_a_link_to_the_first(tmp_path: Path, collector: OtlpReceiver) -> None:
    async with serving(tmp_path, traced(collector)) as served:
        first = await run(served, "@@ fail", {"traceparent": f"00-{CALLER_TRACE}-{CALLER_SPAN}-01"})
        again = await served.engine.runs.retry_run(first.id)
        spans = await receive(collector, await served.engine.runs.wait_for_run(again.id, PATIENCE))

    assert spans["run main"].links == {"retry_of": CALLER_TRACE}
    assert spans["run main"].trace_id == hashlib.sha256(again.id.encode()).hexdigest()[:32]


async def test_a_command_gets_the_span_of_its_attempt_as_parent(tmp_path: Path, collector: OtlpReceiver) -> None:
    agent = {"id": "main", "backend": "command", "command": ["sh", "-c", 'echo "$TRACEPARENT"']}
    async with serving(tmp_path, {**traced(collector), "agents": {"list": [agent]}}) as served:
        done = await run(served, "hello")
        spans = await receive(collector, done)

    attempt = spans["invoke_agent main"]
    assert (done.result or "").strip() == f"00-{attempt.trace_id}-{attempt.span_id}-01"


async def test_an_agent_over_acp_gets_the_span_of_its_attempt_with_each_prompt(
    tmp_path: Path, collector: OtlpReceiver
) -> None:
    agent = {"id": "main", "backend": "acp", "command": SCRIPTED_ACP_COMMAND}
    async with serving(tmp_path, {**traced(collector), "agents": {"list": [agent]}}) as served:
        for _ in range(2):
            done = await run(served, "[[meta]]", session="talk")
            attempt = (await receive(collector, done))["invoke_agent main"]

            told = json.loads(done.result or "")
            assert told == {"traceparent": f"00-{attempt.trace_id}-{attempt.span_id}-01"}


async def test_a_model_server_gets_the_span_of_its_attempt(
    tmp_path: Path, collector: OtlpReceiver, scripted_model: ScriptedModel
) -> None:
    agent = {"id": "main", "backend": "openai", "base_url": scripted_model.base_url, "model": "scripted"}
    async with serving(tmp_path, {**traced(collector), "agents": {"list": [agent]}}) as served:
        attempt = (await receive(collector, await run(served, "hello")))["invoke_agent main"]

    headers = {name.lower(): value for name, value in scripted_model.requests[-1]["headers"].items()}
    assert headers["traceparent"] == f"00-{attempt.trace_id}-{attempt.span_id}-01"
    assert attempt.attributes["gen_ai.provider.name"] == "openai"


async def test_a_collector_that_hangs_delays_no_run_and_no_stop(tmp_path: Path, collector: OtlpReceiver) -> None:
    collector.answers.clear()
    async with serving(tmp_path, traced(collector)) as served:
        for number in range(20):
            await run(served, f"hello {number}")
        await until(lambda: collector.headers, "the collector has a request")
        begun = time.monotonic()
    took = time.monotonic() - begun

    assert took < 30 + tracer.FLUSH_TIMEOUT_SECONDS


async def test_an_answer_without_end_is_not_read(tmp_path: Path, collector: OtlpReceiver) -> None:
    collector.is_endless = True
    async with serving(tmp_path, traced(collector)) as served:
        await receive(collector, await run(served, "hello"))
        await until(lambda: served.context.trace_counts and served.context.trace_counts.sent == 1, "it is counted")


async def test_a_large_trace_is_sent_in_several_requests(
    tmp_path: Path, collector: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracer, "MAX_CHARACTERS_PER_EXPORT", 100)
    async with serving(tmp_path, traced(collector)) as served:
        done = await run(served, "@@ tool grep Ottokar\n@@ say found")
        await until(lambda: served.context.trace_counts and served.context.trace_counts.sent == 1, "it is counted")

    assert len(collector.headers) > 1
    assert {"run main", "accept", "execute_tool grep"} <= {one.name for one in collector.of_run(done.id)}


async def test_what_is_too_large_for_the_sdk_is_given_up_and_not_tried_again(
    collector: OtlpReceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = "opentelemetry.exporter.otlp.proto.http.trace_exporter._is_request_too_large"
    monkeypatch.setattr(limit, lambda *_: True)
    async with serving(tmp_path, traced(collector)) as served:
        await run(served, "hello")
        await until(lambda: served.context.trace_counts and served.context.trace_counts.failed == 1, "it is counted")

    assert collector.headers == []


async def test_a_collector_that_does_not_finish_is_told_in_the_log(
    tmp_path: Path, collector: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracer, "SLOW_EXPORT_SECONDS", 0.01)
    collector.answers.clear()
    with structlog.testing.capture_logs() as logs:
        async with serving(tmp_path, traced(collector)) as served:
            await run(served, "hello")
            await until(lambda: "tracing.cannot_send" in [line["event"] for line in logs], "it is told")
            collector.answers.set()
            await until(lambda: "tracing.sends_again" in [line["event"] for line in logs], "it goes on")


async def test_a_netrc_file_does_not_replace_the_headers(
    tmp_path: Path, collector: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login anna password hushhush\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with serving(tmp_path / "home", traced(collector, headers={"Authorization": "Bearer key"})) as served:
        await receive(collector, await run(served, "hello"))

    assert collector.headers[0]["authorization"] == "Bearer key"


async def test_traces_beyond_the_limit_are_dropped_and_counted(
    tmp_path: Path, collector: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracer, "MAX_WAITING_TRACES", 2)
    collector.answers.clear()
    async with serving(tmp_path, traced(collector)) as served:
        await run(served, "the collector is busy with this one")
        await until(lambda: collector.headers, "the collector has a request")
        for number in range(5):
            await run(served, f"hello {number}")
        metrics = (await ask(served, "GET", "/metrics")).body.splitlines()
        collector.answers.set()
        await until(lambda: len({one.span_id for one in collector.named("run main")}) == 3, "those that waited came")

    assert 'moongate_traces_total{result="dropped"} 3.0' in metrics


async def test_traces_are_sent_again_when_the_collector_is_back(
    tmp_path: Path, collector: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracer, "MIN_EXPORT_PAUSE_SECONDS", 0.01)
    collector.script.append(500)
    async with serving(tmp_path, traced(collector)) as served:
        await receive(collector, await run(served, "hello"))
        await until(lambda: served.context.trace_counts and served.context.trace_counts.sent == 1, "it is counted")

    assert len(collector.headers) == 2
    assert len(collector.named("run main")) == 1


async def test_traces_that_the_collector_refuses_are_counted_and_given_up(
    tmp_path: Path, collector: OtlpReceiver
) -> None:
    collector.script.append(400)
    async with serving(tmp_path, traced(collector)) as served:
        counts = served.context.trace_counts
        assert counts is not None
        await run(served, "hello")
        await until(lambda: counts.failed == 1, "it is counted")
        await receive(collector, await run(served, "the next one"))

    assert len(collector.headers) == 2


async def test_the_last_traces_are_sent_before_the_gateway_ends(
    tmp_path: Path, collector: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracer, "FLUSH_TIMEOUT_SECONDS", PATIENCE)  # the first ones wait for imports
    async with serving(tmp_path, traced(collector)) as served:
        done = await run(served, "hello")

    assert any(one.name == "run main" for one in collector.of_run(done.id))


async def test_the_collector_is_told_who_sends_and_gets_the_headers(tmp_path: Path, collector: OtlpReceiver) -> None:
    (tmp_path / "headers").write_text("# for the collector\nX-From-File: secret-of-the-file\n")
    settings = traced(collector, headers_file=str(tmp_path / "headers"), headers={"Authorization": "Bearer key"})
    environ = {
        "PATH": "/usr/bin:/bin",
        "OTEL_SERVICE_NAME": "my gateway",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-from-variable=a%20b",
    }
    async with serving(tmp_path / "home", settings, environ=environ) as served:
        spans = await receive(collector, await run(served, "hello"))

    resource, [headers] = spans["run main"].resource, collector.headers
    assert resource["service.name"] == "my gateway"
    assert resource["deployment.environment"] == "test"
    assert (resource["moongate.role"], resource["service.version"]) == ("gateway", gateway.__version__)
    assert headers["content-encoding"] == "gzip"
    assert (headers["authorization"], headers["x-from-file"]) == ("Bearer key", "secret-of-the-file")
    assert headers["x-from-variable"] == "a b"


async def test_metrics_over_otlp_are_those_of_the_metrics_page(tmp_path: Path, collector: OtlpReceiver) -> None:
    async with serving(tmp_path, traced(collector, metrics=True, metrics_seconds=1)) as served:
        await run(served, "hello")
        await run(served, "@@ fail")
        failed = ("moongate_runs_ended_total", (("status", "failed"),))
        await until(lambda: collector.metrics.get(failed), "metrics have come that know of both runs")
        page = (await ask(served, "GET", "/metrics")).body

    moving = ("moongate_uptime_seconds", "moongate_traces_total")
    shown = {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in page.splitlines()
        if not line.startswith("#") and "_created" not in line and not line.startswith(moving)
    }
    sent = {
        name + ("{" + ",".join(f'{label}="{value}"' for label, value in labels) + "}" if labels else ""): value
        for (name, labels), value in collector.metrics.items()
        if name not in moving
    }
    assert sent == shown
    assert sent['moongate_runs_ended_total{status="failed"}'] == 1.0
    assert ("moongate_traces_total", (("result", "sent"),)) in collector.metrics


async def test_without_tracing_nothing_is_sent_and_no_command_is_told(tmp_path: Path, collector: OtlpReceiver) -> None:
    agent = {"id": "main", "backend": "command", "command": ["sh", "-c", 'echo "[$TRACEPARENT]"']}
    settings = {**traced(collector, enabled=False), "agents": {"list": [agent]}}
    async with serving(tmp_path, settings) as served:
        done = await run(served, "hello", {"traceparent": f"00-{CALLER_TRACE}-{CALLER_SPAN}-01"})
        metrics = (await ask(served, "GET", "/metrics")).body

    assert (done.result or "").strip() == "[]"
    assert done.spec.traceparent is None
    assert "moongate_traces" not in metrics
    assert collector.headers == []


async def test_a_run_whose_session_is_deleted_at_its_end_is_traced_too(tmp_path: Path, collector: OtlpReceiver) -> None:
    async with serving(tmp_path, traced(collector)) as served:
        body = {"model": "main", "messages": [{"role": "user", "content": "hello"}]}
        assert (await ask(served, "POST", "/v1/chat/completions", body)).status == 200
        await until(lambda: collector.named("run main"), "the trace has come")

    assert collector.named("invoke_agent main")[0].attributes["gen_ai.usage.input_tokens"] > 0


async def test_a_run_with_thousands_of_steps_is_traced(tmp_path: Path, collector: OtlpReceiver) -> None:
    async with serving(tmp_path, traced(collector)) as served:
        done = await run(served, "\n".join(["@@ tool grep x"] * 600))
        await receive(collector, done)
        await until(lambda: len(collector.named("execute_tool grep")) == 600, "all tools have come")


async def test_a_sender_of_webhooks_does_not_decide_whether_its_runs_are_traced(
    tmp_path: Path, collector: OtlpReceiver
) -> None:
    [github] = [one for one in providers.WEBHOOK_SENDERS if one.name == "github"]
    headers = github.sign(github.body, github.secret, int(time.time()))
    headers |= {"Content-Type": "application/json", "traceparent": f"00-{CALLER_TRACE}-{CALLER_SPAN}-00"}
    async with serving(tmp_path, {**traced(collector), "inbound": providers.make_endpoint_settings()}) as served:
        async with aiohttp.ClientSession() as client:
            answer = await client.post(f"{served.url}/api/webhook/github", data=github.body, headers=headers)
            assert answer.status == 202, await answer.text()
        done = await served.engine.runs.wait_for_run(answer.headers["X-Run-Id"], PATIENCE)
        spans = await receive(collector, done)

    assert spans["run main"].trace_id == hashlib.sha256(done.id.encode()).hexdigest()[:32]
