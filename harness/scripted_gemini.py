"""A server that speaks Gemini's API and follows directives in the prompt (`harness.directives`).

`python -m harness.scripted_gemini PORT [LOG]` serves it on loopback; an agent finds it with GOOGLE_GEMINI_BASE_URL.
Requests for JSON, such as which model to take and who speaks next, get a small value that fits their schema.
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
    answer,
    count_tokens,
    last_user_text,
    read,
    smallest_value,
)
from harness.received_files import count_request_tokens
from harness.scripted_server import AnswerStream, ScriptedServer, run_forever, serve

_MODELS = ("gemini-2.5-pro", "gemini-2.5-flash")

#: the status of an error, by its HTTP status; from Google's API design guide
_ERRORS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


class ScriptedGemini(ScriptedServer):
    """The server: generated content, the count of its tokens, and the list of models."""

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/{version:v1|v1beta}/models/{call}", self._call),
            web.get("/{version:v1|v1beta}/models", self._models),
            web.route("*", "/{rest:.*}", self.answer_not_found),
        ]

    def error_body(self, status: int, message: str) -> dict[str, Any]:
        return {"error": {"code": status, "message": message, "status": _ERRORS.get(status, "UNKNOWN")}}

    def is_prompt(self, body: dict[str, Any]) -> bool:
        return not _wanted_schema(body)

    async def _call(self, request: web.Request) -> web.StreamResponse:
        model, _, method = request.match_info["call"].rpartition(":")
        match method:
            case "countTokens":
                return web.json_response({"totalTokens": count_request_tokens(await request.json())})
            case "embedContent":
                return web.json_response({"embedding": {"values": [0.0] * 8}})
        body = await self.note(request)
        messages = _messages(body)
        plan = read(messages) if self.is_prompt(body) else answer(json.dumps(smallest_value(_wanted_schema(body))))
        given = count_request_tokens(body.get("contents", []))
        stream = _Stream(request, model, given) if method == "streamGenerateContent" else None
        return await self.perform(plan, last_user_text(messages), stream, lambda plan: _whole(model, plan, given))

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"models": [{"name": f"models/{name}", "displayName": name} for name in _MODELS]})


def _messages(body: dict[str, Any]) -> list[Message]:
    """Return a request's messages; outputs of tools in one come first."""
    found = []
    for content in body.get("contents", []):
        parts = content.get("parts", [])
        results = [part["functionResponse"].get("response") or {} for part in parts if "functionResponse" in part]
        found += [Message("tool", str(one.get("output") or one.get("error") or json.dumps(one))) for one in results]
        text = _text_of(parts)
        if text or not results:
            found.append(Message(content.get("role", "user"), text))
    return found


def _text_of(parts: list[dict[str, Any]]) -> str:
    """Return the text in a content, without its thoughts and the context that the agent adds by itself."""
    texts = [part["text"] for part in parts if part.get("text") and not part.get("thought")]
    return "\n".join(text for text in texts if not text.lstrip().startswith("<session_context>")).strip()


def _wanted_schema(body: dict[str, Any]) -> Any:
    config = body.get("generationConfig") or {}
    return config.get("responseJsonSchema") or config.get("responseSchema")


def _parts(plan: Answer | Call) -> list[dict[str, Any]]:
    if isinstance(plan, Call):
        return [{"functionCall": {"name": plan.name, "args": json.loads(plan.arguments)}}]
    thoughts = [{"text": plan.thought, "thought": True}] if plan.thought else []
    return [*thoughts, {"text": plan.text}]


def _piece(model: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": parts}, "index": 0}
    return {"candidates": [candidate], "modelVersion": model, "responseId": uuid.uuid4().hex[:12]}


def _last(model: str, parts: list[dict[str, Any]], reason: str, given: int, written: str) -> dict[str, Any]:
    """Return the last piece of an answer, with the reason of the end and the usage."""
    made = _piece(model, parts)
    made["candidates"][0]["finishReason"] = reason
    count = count_tokens(written)
    usage = {"promptTokenCount": given, "candidatesTokenCount": count, "totalTokenCount": given + count}
    return {**made, "usageMetadata": usage}


def _whole(model: str, plan: Answer | Call, given: int) -> dict[str, Any]:
    written = plan.text if isinstance(plan, Answer) else plan.arguments
    return _last(model, _parts(plan), _reason(cut=isinstance(plan, Answer) and plan.cut), given, written)


def _reason(*, cut: bool) -> str:
    return "MAX_TOKENS" if cut else "STOP"


class _Stream(AnswerStream):
    """One streamed answer: each event is a piece of the content."""

    not_utf8 = b'{"candidates": [{"content": {"parts": [{"text": "\xff\xfe\x80"}]}}]}'

    def __init__(self, request: web.Request, model: str, given: int) -> None:
        super().__init__(request)
        self._model = model
        self._given = given

    async def open(self) -> None:
        """Send nothing: the first piece opens the answer."""

    async def think(self, text: str) -> None:
        await self._send(_piece(self._model, [{"text": text, "thought": True}]))

    async def say(self, text: str) -> None:
        await self._send(_piece(self._model, [{"text": text}]))

    async def call(self, call: Call) -> None:
        await self._send(_last(self._model, _parts(call), "STOP", self._given, call.arguments))

    async def end(self, text: str, *, cut: bool = False) -> None:
        await self._send(_last(self._model, [{"text": ""}], _reason(cut=cut), self._given, text))

    async def fail(self, message: str) -> None:
        await self._send({"error": {"code": 503, "message": message, "status": "UNAVAILABLE"}})

    async def write(self, data: bytes) -> None:
        await self.response.write(b"data: " + data + b"\r\n\r\n")

    async def _send(self, piece: dict[str, Any]) -> None:
        await self.write(json.dumps(piece).encode())


def serve_gemini(port: int = 0, log: Path | None = None) -> AbstractAsyncContextManager[ScriptedGemini]:
    """Serve a scripted model on loopback; port 0 means any free port."""
    return serve(ScriptedGemini(log=log), port)


if __name__ == "__main__":
    run_forever(serve_gemini)
