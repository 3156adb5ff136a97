"""A server that speaks Anthropic's Messages API and follows directives in the prompt (`harness.directives`).

`python -m harness.scripted_anthropic PORT [LOG]` serves it on loopback; an agent finds it with ANTHROPIC_BASE_URL.
Requests without the agent's tools, for titles and topics, get a short text or the JSON that they ask for.
"""

from __future__ import annotations

import json
import uuid
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from aiohttp import web

from harness.directives import (
    Answer,
    Call,
    Message,
    Plan,
    answer,
    count_tokens,
    last_user_text,
    read,
    smallest_value,
)
from harness.received_files import count_request_tokens
from harness.scripted_server import AnswerStream, ScriptedServer, run_forever, serve

_MODELS = ("claude-sonnet-4-5", "claude-opus-4-5", "claude-haiku-4-5")

#: the type of an error, by its HTTP status; from Anthropic's API reference
_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


class ScriptedAnthropic(ScriptedServer):
    """The server: messages, the count of their tokens, and the list of models."""

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/messages", self._create),
            web.post("/v1/messages/count_tokens", self._count),
            web.get("/v1/models", self._models),
            web.route("*", "/{rest:.*}", self.answer_not_found),
        ]

    def error_body(self, status: int, message: str) -> dict[str, Any]:
        return {"type": "error", "error": {"type": _ERRORS.get(status, "api_error"), "message": message}}

    def is_prompt(self, body: dict[str, Any]) -> bool:
        return bool(body.get("tools"))

    async def _create(self, request: web.Request) -> web.StreamResponse:
        body = await self.note(request)
        messages = _messages(body)
        plan = read(messages) if self.is_prompt(body) else _answer_aside(body)
        stream = _Stream(request, body) if body.get("stream") else None
        return await self.perform(plan, last_user_text(messages), stream, lambda plan: _whole(body, plan))

    async def _count(self, request: web.Request) -> web.Response:
        return web.json_response({"input_tokens": count_request_tokens(await request.json())})

    async def _models(self, request: web.Request) -> web.Response:
        data = [{"type": "model", "id": name, "display_name": name} for name in _MODELS]
        return web.json_response({"data": data, "has_more": False, "first_id": _MODELS[0], "last_id": _MODELS[-1]})


def _messages(body: dict[str, Any]) -> list[Message]:
    """Return a request's messages; one of the user may have outputs of tools, which come first."""
    found = []
    for given in body["messages"]:
        content = given["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        results = [block.get("content", "") for block in blocks if block["type"] == "tool_result"]
        found += [Message("tool", one if isinstance(one, str) else _text_of(one)) for one in results]
        text = _text_of(blocks)
        if text or not results:
            found.append(Message(given["role"], text))
    return found


def _text_of(blocks: list[dict[str, Any]]) -> str:
    """Return the text in a content, without the reminders that the agent adds by itself."""
    texts = [block["text"] for block in blocks if block["type"] == "text"]
    return "\n".join(text for text in texts if not text.lstrip().startswith("<system-reminder>")).strip()


def _answer_aside(body: dict[str, Any]) -> Plan:
    schema = ((body.get("output_config") or {}).get("format") or {}).get("schema")
    return answer("Scripted title" if schema is None else json.dumps(smallest_value(schema)))


def _block(plan: Answer | Call) -> dict[str, Any]:
    if isinstance(plan, Answer):
        return {"type": "text", "text": plan.text}
    made = "toolu_" + uuid.uuid4().hex[:20]
    return {"type": "tool_use", "id": made, "name": plan.name, "input": json.loads(plan.arguments)}


def _head(body: dict[str, Any]) -> dict[str, Any]:
    """Return a message that is still empty."""
    given = count_request_tokens(body["messages"])
    return {
        "id": "msg_" + uuid.uuid4().hex[:20],
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": given,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 1,
        },
    }


def _whole(body: dict[str, Any], plan: Answer | Call) -> dict[str, Any]:
    reason = "tool_use" if isinstance(plan, Call) else "max_tokens" if plan.cut else "end_turn"
    return {**_head(body), "content": [_block(plan)], "stop_reason": reason}


class _Stream(AnswerStream):
    """One streamed message, in the order of Anthropic's reference."""

    not_utf8 = b'{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "\xff\xfe\x80"}}'

    def __init__(self, request: web.Request, body: dict[str, Any]) -> None:
        super().__init__(request)
        self._body = body
        #: how many blocks have begun
        self._blocks = 0
        #: whether the last one is the text of the answer
        self._begun = False

    async def open(self) -> None:
        await self._event("message_start", message=_head(self._body))
        await self._event("ping")

    async def think(self, text: str) -> None:
        await self._begin({"type": "thinking", "thinking": "", "signature": ""})
        await self._delta({"type": "thinking_delta", "thinking": text})
        await self._delta({"type": "signature_delta", "signature": "c2NyaXB0ZWQ="})
        await self._stop()

    async def say(self, text: str) -> None:
        if not self._begun:
            self._begun = True
            await self._begin({"type": "text", "text": ""})
        await self._delta({"type": "text_delta", "text": text})

    async def call(self, call: Call) -> None:
        await self.say("I use a tool.")
        await self._stop()
        await self._begin({**_block(call), "input": {}})
        half = len(call.arguments) // 2
        for part in (call.arguments[:half], call.arguments[half:]):
            await self._delta({"type": "input_json_delta", "partial_json": part})
        await self._finish("tool_use", call.arguments)

    async def end(self, text: str, *, cut: bool = False) -> None:
        await self._finish("max_tokens" if cut else "end_turn", text)

    async def fail(self, message: str) -> None:
        await self._event("error", error={"type": "overloaded_error", "message": message})

    async def write(self, data: bytes) -> None:
        await self.write_named("content_block_delta", data)

    async def _begin(self, block: dict[str, Any]) -> None:
        await self._event("content_block_start", index=self._blocks, content_block=block)
        self._blocks += 1

    async def _delta(self, delta: dict[str, Any]) -> None:
        await self._event("content_block_delta", index=self._blocks - 1, delta=delta)

    async def _stop(self) -> None:
        await self._event("content_block_stop", index=self._blocks - 1)

    async def _finish(self, reason: str, written: str) -> None:
        await self._stop()
        usage = {"output_tokens": count_tokens(written)}
        await self._event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage=usage)
        await self._event("message_stop")

    async def _event(self, kind: str, **about: Any) -> None:
        await self.write_named(kind, json.dumps({"type": kind, **about}).encode())


def serve_anthropic(port: int = 0, log: Path | None = None) -> AbstractAsyncContextManager[ScriptedAnthropic]:
    """Serve a scripted model on loopback; port 0 means any free port."""
    return serve(ScriptedAnthropic(log=log), port)


if __name__ == "__main__":
    run_forever(serve_anthropic)
