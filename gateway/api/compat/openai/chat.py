"""Chat completions: an agent answers a conversation, at the end or as a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from aiohttp import web

from gateway.api import sse, views
from gateway.api.compat.openai import made_files, request
from gateway.api.compat.openai.wire import ChatCompletion, ChatMessage, ChatRequest, ChatUsage, Choice
from gateway.api.routing import Call, Nothing
from gateway.domain.event import Status, Text, Thinking, Tool, ToolEnd, Usage
from gateway.domain.run import FinishReason, Run
from gateway.errors import GatewayError, InvalidRequest

_encode = msgspec.json.Encoder().encode
DONE_FRAME = sse.encode_frame(b"[DONE]")


async def create_chat_completion(call: Call[ChatRequest, Nothing]) -> ChatCompletion | web.StreamResponse:
    """Answer a conversation."""
    asked = call.body
    if asked.n not in (None, 1):
        raise InvalidRequest("n: an agent gives one answer; leave n out, or send 1.", details={"param": "n"})
    run = await request.submit_conversation(call, asked.messages, field="messages")
    asked = call.body  # without its messages
    request.add_run_headers(call, run)
    if asked.stream:
        frames = _stream_chunks(call, run)
        return await sse.send_stream(
            call, frames, until=call.engine.runs.drained, encode_end=encode_chat_error, run_id=run.id
        )
    answered = await request.wait_for_answer(call, run)
    if isinstance(answered, web.Response):
        return answered
    run, answer = answered
    return ChatCompletion(
        id=f"chatcmpl-{run.id}",
        created=run.created // 1000,
        model=asked.model,
        choices=[
            Choice(
                message=ChatMessage(content=answer + made_files.render_links(call, run, answer).text),
                finish_reason=_render_finish_reason(run),
            )
        ],
        usage=_render_chat_usage(run.usage),
    )


def encode_chat_error(error: GatewayError) -> bytes:
    return sse.encode_frame(_encode(request.render_openai_error(error)))


async def _stream_chunks(call: Call[ChatRequest, Nothing], run: Run) -> AsyncGenerator[bytes, None]:
    """Yield the answer as chunks: text, reasoning, and tools in a field `moongate`, which OpenAI does not have."""

    def encode_chunk(delta: dict[str, Any] | None, *, finish: str | None = None, **more: Any) -> bytes:
        choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]
        head = {"id": f"chatcmpl-{run.id}", "object": "chat.completion.chunk", "created": run.created // 1000}
        return sse.encode_frame(_encode({**head, "model": call.body.model, "choices": choices, **more}))

    yield encode_chunk({"role": "assistant", "content": ""})
    spoke = False
    try:
        async with aclosing(call.engine.runs.watch_run(run.id)) as events:
            async for event in events:
                match event.data:
                    case Text(delta=delta):
                        spoke = True
                        yield encode_chunk({"content": delta})
                    case Thinking(delta=delta):
                        yield encode_chunk({"reasoning_content": delta})
                    case Tool() | ToolEnd() as tool:
                        yield encode_chunk({}, moongate=tool)
                    case Status(attempt=attempt) if attempt > 1 and spoke:
                        raise request.restarted_answer_error(run)
        ended = await call.engine.runs.get_run(run.id)
        answer = views.result_or_raise(ended)
    except GatewayError as error:  # the status has been sent
        yield encode_chat_error(error)
        return
    for delta in _list_last_deltas(call, ended, answer, spoke=spoke):
        yield encode_chunk({"content": delta})
    yield encode_chunk({}, finish=_render_finish_reason(ended))
    if call.body.stream_options is not None and call.body.stream_options.include_usage:
        yield encode_chunk(None, usage=_render_chat_usage(ended.usage))
    yield DONE_FRAME


def _list_last_deltas(call: Call[Any, Any], run: Run, answer: str, *, spoke: bool) -> list[str]:
    """Return what is left to say at the end: the answer if nothing was said, and links to the files."""
    links = made_files.render_links(call, run, answer).text
    return [*([] if spoke else [answer]), *([links] if links else [])]


def _render_finish_reason(run: Run) -> str:
    return run.finish or FinishReason.STOP


def _render_chat_usage(used: Usage) -> ChatUsage:
    return ChatUsage(
        prompt_tokens=used.input,
        completion_tokens=used.output,
        total_tokens=used.input + used.output,
        prompt_tokens_details={"cached_tokens": used.cached},
    )
