"""The Responses API: a run as a response, returned at the end, as a stream, or on a later request.

The order of a stream's events: https://platform.openai.com/docs/api-reference/responses-streaming.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from typing import Any

import msgspec
from aiohttp import web
from msgspec import UNSET

from gateway.api import sse, views
from gateway.api.compat.openai import made_files, request
from gateway.api.compat.openai.made_files import NO_LINKS, Links
from gateway.api.compat.openai.wire import (
    OutputMessage,
    OutputText,
    ResponseQuery,
    ResponseRequest,
    ResponseShown,
    ResponseUsage,
    Said,
)
from gateway.api.routing import Call, Nothing
from gateway.domain.event import Status, Text
from gateway.domain.run import FinishReason, Run
from gateway.domain.run import Status as RunStatus
from gateway.errors import GatewayError, TimedOut, Unavailable

#: the beginning of a response's id; the id of the run follows
RESPONSE_ID_PREFIX = "resp_"
#: seconds in which an agent stops when its run is cancelled, with room
CANCEL_ANSWER_TIMEOUT_SECONDS = 5.0
#: fields of the request that a response repeats
REPEATED_FIELDS = ("model", "instructions", "previous_response_id", "metadata", "background")
_LAST_STEPS = frozenset({"response.completed", "response.incomplete", "response.failed"})
_encode = msgspec.json.Encoder().encode
_RESPONSE_STATUSES = {
    RunStatus.QUEUED: "queued",
    RunStatus.RUNNING: "in_progress",
    RunStatus.SUCCEEDED: "completed",
    RunStatus.FAILED: "failed",
    RunStatus.CANCELLED: "cancelled",
}


#: the API's reasons for an incomplete response
_INCOMPLETE_REASONS = {FinishReason.LENGTH: "max_output_tokens", FinishReason.CONTENT_FILTER: "content_filter"}


async def create_response(call: Call[ResponseRequest, Nothing]) -> ResponseShown | web.StreamResponse:
    """Answer an input."""
    asked = call.body
    previous = None
    if asked.previous_response_id is not None:
        previous = await call.engine.runs.get_run(request.parse_run_id(asked.previous_response_id, RESPONSE_ID_PREFIX))
    run = await request.submit_conversation(
        call,
        [Said(role="user", content=asked.input)] if isinstance(asked.input, str) else asked.input,
        field="input",
        instructions=asked.instructions or "",
        can_be_continued=True,
        previous=previous,
        request_fields={name: value for name in REPEATED_FIELDS if (value := getattr(asked, name))},
    )
    asked = call.body  # without its input
    request.add_run_headers(call, run)
    if asked.stream:
        return await _send_stream(call, run, after=None)
    if not asked.background:
        answered = await request.wait_for_answer(call, run)
        if isinstance(answered, web.Response):
            return answered
        run, _ = answered
    return await _show_run(call, run)


async def show_response(call: Call[Nothing, ResponseQuery]) -> ResponseShown | web.StreamResponse:
    """Show a response, or follow it as a stream."""
    run = await call.engine.runs.get_run(request.parse_run_id(call.path["id"], RESPONSE_ID_PREFIX))
    if call.query.stream:
        return await _send_stream(call, run, after=call.query.starting_after)
    return await _show_run(call, run)


async def cancel_response(call: Call[Nothing, Nothing]) -> ResponseShown:
    """Cancel a response that is not complete."""
    run_id = request.parse_run_id(call.path["id"], RESPONSE_ID_PREFIX)
    run = await call.engine.runs.cancel_run(run_id, call.read_idempotency_key())
    with suppress(TimedOut, Unavailable):
        run = await call.wait_for_run(run.id, CANCEL_ANSWER_TIMEOUT_SECONDS)
    return await _show_run(call, run, status=None if run.status.is_final else "cancelled")


async def _show_run(call: Call[Any, Any], run: Run, *, status: str | None = None) -> ResponseShown:
    """Return a run as a response, with the files that it has made."""
    pictures = await made_files.read_pictures(call.engine.files, run.files)
    return _render_response(run, made_files.render_links(call, run, run.result or ""), pictures, status=status)


def _render_response(
    run: Run,
    links: Links = NO_LINKS,
    pictures: Sequence[OutputMessage] = (),
    *,
    status: str | None = None,
) -> ResponseShown:
    """Return a run as a response.

    Args:
        links: to the files that the run has made.
        pictures: small ones of those files.
        status: the status in a stream, which may be older than the run's.
    """
    reason = _INCOMPLETE_REASONS.get(run.finish) if run.finish else None
    status = status or ("incomplete" if reason else _RESPONSE_STATUSES.get(run.status, "queued"))
    failed, answered = status == "failed", status in ("completed", "incomplete")
    repeated = {"model": "/".join(filter(None, (run.spec.agent, run.spec.model))), **run.spec.request_fields}
    return ResponseShown(
        id=RESPONSE_ID_PREFIX + run.id,
        created_at=run.created // 1000,
        status=status,
        output=[_render_output_message(run, _render_text(run.result or "", links), status), *pictures]
        if answered
        else [],
        usage=_render_response_usage(run) if answered else None,
        incomplete_details={"reason": reason} if reason and answered else None,
        error={"code": "server_error", "message": run.error or "the run failed."} if failed else None,
        **repeated,
    )


def _render_text(answer: str, links: Links) -> OutputText:
    return OutputText(text=answer + links.text, annotations=links.citations)


def _render_output_message(run: Run, text: OutputText | None, status: str) -> OutputMessage:
    return OutputMessage(id=f"msg_{run.id}", status=status, content=[] if text is None else [text])


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


async def _send_stream(call: Call[Any, Any], run: Run, *, after: int | None) -> web.StreamResponse:
    """Answer with a run as a stream, from the beginning or after the event with this sequence number."""
    return await sse.send_stream(
        call,
        _stream_response_events(call, run, after),
        until=call.engine.runs.drained,
        encode_end=_encode_response_error,
        run_id=run.id,
    )


async def _stream_response_events(call: Call[Any, Any], run: Run, after: int | None) -> AsyncGenerator[bytes, None]:
    """Yield a run as server-sent events, in the order that the stream helper of the OpenAI SDK expects.

    The numbers of a run's events are the same each time. The last event comes in any case.
    """
    async with aclosing(_describe_response(call, run)) as steps:
        number = -1
        async for kind, fields in steps:
            number += 1
            if after is None or number > after or kind in _LAST_STEPS:
                step = {"type": kind, "sequence_number": number, **fields}
                yield sse.encode_frame(_encode(step), event=kind)


async def _describe_response(call: Call[Any, Any], run: Run) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
    """Yield the steps of a response: the type and the fields of each event.

    The text of attempts before the one that is known at the beginning is left out: it is not part of the answer.
    """
    where = {"item_id": f"msg_{run.id}", "output_index": 0, "content_index": 0}
    under_way = _render_response(run, status="in_progress")
    yield "response.created", {"response": under_way}
    yield "response.in_progress", {"response": under_way}
    item = _render_output_message(run, None, "in_progress")
    yield "response.output_item.added", {"output_index": 0, "item": item}
    yield "response.content_part.added", {**where, "part": OutputText(text="")}
    spoke = False
    current = 1
    try:
        async with aclosing(call.engine.runs.watch_run(run.id)) as events:
            async for event in events:
                match event.data:
                    case Text(delta=delta) if current >= run.attempt:
                        spoke = True
                        yield "response.output_text.delta", {**where, "delta": delta, "logprobs": []}
                    case Status(attempt=attempt):
                        current = max(current, attempt)
                        if spoke and attempt > max(run.attempt, 1):
                            raise request.restarted_answer_error(run)
        ended = await call.engine.runs.get_run(run.id)
        answer = views.result_or_raise(ended)
    except GatewayError as error:  # the status has been sent
        ended = msgspec.structs.replace(run, error=str(error))
        yield "response.failed", {"response": _render_response(ended, status="failed")}
        return
    if not spoke:
        yield "response.output_text.delta", {**where, "delta": answer, "logprobs": []}
    links = made_files.render_links(call, ended, answer)
    if links.text:
        yield "response.output_text.delta", {**where, "delta": links.text, "logprobs": []}
    for number, citation in enumerate(links.citations):
        yield (
            "response.output_text.annotation.added",
            {**where, "annotation_index": number, "annotation": citation},
        )
    text = _render_text(answer, links)
    yield "response.output_text.done", {**where, "text": text.text, "logprobs": []}
    yield "response.content_part.done", {**where, "part": text}
    response = await _show_run(call, ended)
    yield "response.output_item.done", {"output_index": 0, "item": response.output[0]}
    for index, item in enumerate(response.output[1:], 1):
        begun = msgspec.structs.replace(item, status="in_progress", result=UNSET)
        yield "response.output_item.added", {"output_index": index, "item": begun}
        yield "response.output_item.done", {"output_index": index, "item": item}
    yield f"response.{response.status}", {"response": response}
