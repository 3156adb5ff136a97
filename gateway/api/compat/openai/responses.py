"""The Responses API: a run as a response, returned at the end, as a stream, or on a later request.

The order of a stream's events: https://platform.openai.com/docs/api-reference/responses-streaming.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from aiohttp import web

from gateway.api import sse, views
from gateway.api.compat.openai import request
from gateway.api.compat.openai.wire import (
    OutputMessage,
    OutputText,
    ResponseRequest,
    ResponseShown,
    ResponseUsage,
    Said,
)
from gateway.api.routing import Call, Nothing
from gateway.domain.event import Status, Text
from gateway.domain.run import Run
from gateway.domain.run import Status as RunStatus
from gateway.errors import GatewayError, Unavailable

#: the beginning of a response's id; the id of the run follows
RESPONSE_ID_PREFIX = "resp_"
_encode = msgspec.json.Encoder().encode
_RESPONSE_STATUSES = {
    RunStatus.QUEUED: "queued",
    RunStatus.RUNNING: "in_progress",
    RunStatus.SUCCEEDED: "completed",
    RunStatus.FAILED: "failed",
    RunStatus.CANCELLED: "cancelled",
}


async def create_response(call: Call[ResponseRequest, Nothing]) -> ResponseShown | web.StreamResponse:
    """Answer an input."""
    asked = call.body
    messages = [Said(role="user", content=asked.input)] if isinstance(asked.input, str) else asked.input
    if asked.instructions is not None:
        messages = [Said(role="system", content=asked.instructions), *messages]
    session = None
    if asked.previous_response_id is not None:
        session = (
            await call.engine.get_run(request.parse_run_id(asked.previous_response_id, RESPONSE_ID_PREFIX))
        ).spec.session
    spec = request.build_spec(call, asked.model, messages, user=asked.user, session=session)
    run = (await call.engine.submit_run(spec, call.read_idempotency_key())).run
    request.add_run_headers(call, run)
    if asked.stream:
        stopping = Unavailable("the gateway is stopping; the run goes on when it is back.", details={"run_id": run.id})
        frames = _stream_response_events(call, run)
        return await sse.send_stream(call, frames, until=call.engine.drained, farewell=_encode_response_error(stopping))
    if not asked.background:
        answered = await request.wait_for_answer(call, run)
        if isinstance(answered, web.Response):
            return answered
        run, _ = answered
    return _render_response(run, asked)


async def show_response(call: Call[Nothing, Nothing]) -> ResponseShown:
    """Show a response."""
    return _render_response(await call.engine.get_run(request.parse_run_id(call.path["id"], RESPONSE_ID_PREFIX)), None)


async def cancel_response(call: Call[Nothing, Nothing]) -> ResponseShown:
    """Cancel a response that is not complete."""
    return _render_response(
        await call.engine.cancel_run(
            request.parse_run_id(call.path["id"], RESPONSE_ID_PREFIX), call.read_idempotency_key()
        ),
        None,
    )


def _render_response(run: Run, asked: ResponseRequest | None, *, status: str | None = None) -> ResponseShown:
    """Return a run as a response.

    Args:
        asked: the request, some of whose fields are repeated; None when it is no longer known.
        status: the status in a stream, which may be older than the run's.
    """
    status = status or _RESPONSE_STATUSES.get(run.status, "queued")
    failed = status == "failed"
    return ResponseShown(
        id=RESPONSE_ID_PREFIX + run.id,
        created_at=run.created // 1000,
        status=status,
        model=asked.model if asked else "/".join(filter(None, (run.spec.agent, run.spec.model))),
        output=[_render_output_message(run, run.result or "", "completed")] if status == "completed" else [],
        usage=_render_response_usage(run) if status == "completed" else None,
        error={"code": "server_error", "message": run.error or "the run failed."} if failed else None,
        previous_response_id=asked.previous_response_id if asked else None,
        instructions=asked.instructions if asked else None,
        metadata=(asked.metadata if asked else None) or {},
        background=bool(asked and asked.background),
    )


def _render_output_message(run: Run, text: str | None, status: str) -> OutputMessage:
    return OutputMessage(id=f"msg_{run.id}", status=status, content=[] if text is None else [OutputText(text=text)])


def _render_response_usage(run: Run) -> ResponseUsage:
    used = run.usage
    return ResponseUsage(
        input_tokens=used.input,
        input_tokens_details={"cached_tokens": used.cached},
        output_tokens=used.output,
        output_tokens_details={"reasoning_tokens": 0},
        total_tokens=used.input + used.output,
    )


def _encode_response_error(error: GatewayError) -> bytes:
    said = request.render_openai_error(error).error
    told = {"type": "error", "code": said.code, "message": said.message, "param": said.param, "sequence_number": 0}
    return sse.encode_frame(_encode(told), event="error")


async def _stream_response_events(call: Call[ResponseRequest, Nothing], run: Run) -> AsyncGenerator[bytes, None]:
    """Yield a run as server-sent events, in the order that the stream helper of the OpenAI SDK expects."""
    numbers = itertools.count()
    where = {"item_id": f"msg_{run.id}", "output_index": 0, "content_index": 0}

    def encode_step(kind: str, **about: Any) -> bytes:
        return sse.encode_frame(_encode({"type": kind, "sequence_number": next(numbers), **about}), event=kind)

    under_way = _render_response(run, call.body, status="in_progress")
    yield encode_step("response.created", response=under_way)
    yield encode_step("response.in_progress", response=under_way)
    yield encode_step(
        "response.output_item.added", output_index=0, item=_render_output_message(run, None, "in_progress")
    )
    yield encode_step("response.content_part.added", **where, part=OutputText(text=""))
    spoken: list[str] = []
    try:
        async with aclosing(call.engine.watch_run(run.id)) as events:
            async for event in events:
                match event.data:
                    case Text(delta=delta):
                        spoken.append(delta)
                        yield encode_step("response.output_text.delta", **where, delta=delta, logprobs=[])
                    case Status(attempt=attempt) if attempt > 1 and spoken:
                        raise request.restarted_answer_error(run)
        ended = await call.engine.get_run(run.id)
        answer = views.result_or_raise(ended)
    except GatewayError as error:  # the status has been sent
        ended = msgspec.structs.replace(run, error=str(error))
        yield encode_step("response.failed", response=_render_response(ended, call.body, status="failed"))
        return
    if not spoken:
        yield encode_step("response.output_text.delta", **where, delta=answer, logprobs=[])
    yield encode_step("response.output_text.done", **where, text=answer, logprobs=[])
    yield encode_step("response.content_part.done", **where, part=OutputText(text=answer))
    yield encode_step(
        "response.output_item.done", output_index=0, item=_render_output_message(ended, answer, "completed")
    )
    yield encode_step("response.completed", response=_render_response(ended, call.body))
