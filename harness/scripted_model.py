"""A server that speaks OpenAI's protocols and follows directives in the prompt (`harness.directives`).

`python -m harness.scripted_model PORT [LOG]` serves it on loopback. In the Responses API,
`[[tool image_generation {"result": BASE64}]]` answers with a picture.
"""

from __future__ import annotations

import base64
import json
import time
import uuid
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from aiohttp import web

from harness.directives import Answer, Call, Message, Plan, answer, count_tokens, last_user_text, read
from harness.scripted_server import AnswerStream, ScriptedServer, run_forever, serve

SCRIPTED_MODELS = ("scripted", "scripted-b")


class ScriptedModel(ScriptedServer):
    """The server: OpenAI's chat completions and responses, and the list of models of OpenAI and Ollama."""

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/chat/completions", self._chat),
            web.post("/v1/responses", self._responses),
            web.get("/v1/models", self._models),
            web.get("/api/tags", self._tags),
        ]

    def error_body(self, status: int, message: str) -> dict[str, Any]:
        return {"error": {"message": message, "type": "scripted", "param": None, "code": str(status)}}

    def is_prompt(self, body: dict[str, Any]) -> bool:
        messages = _messages(body)
        system = " ".join(message.text for message in messages if message.role in ("system", "developer"))
        asks_for_title = "generate a title" in last_user_text(messages)[:200].lower()
        return not asks_for_title and "title generator" not in system.lower()

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"object": "list", "data": [{"id": name, "object": "model", "created": 0} for name in SCRIPTED_MODELS]}
        )

    async def _tags(self, request: web.Request) -> web.Response:
        """Return the list of models as Ollama does."""
        return web.json_response({"models": [{"name": name, "model": name} for name in SCRIPTED_MODELS]})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await self.note(request)
        messages = _messages(body)
        plan = self._read(body, messages)
        given = sum(count_tokens(message.text) for message in messages)
        stream = _Chat(request, body, given) if body.get("stream") else None
        return await self.perform(plan, last_user_text(messages), stream, lambda plan: _completion(body, plan, given))

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        body = await self.note(request)
        messages = _messages(body)
        plan = self._read(body, messages)
        stream = _Response(request, body) if body.get("stream") else None
        return await self.perform(
            plan, last_user_text(messages), stream, lambda plan: _response(body, [_item(plan)], "completed")
        )

    def _read(self, body: dict[str, Any], messages: list[Message]) -> Plan:
        return read(messages) if self.is_prompt(body) else answer("Scripted title")


def _messages(body: dict[str, Any]) -> list[Message]:
    if "messages" in body:
        return [Message(given["role"], _text_of(given.get("content"))) for given in body["messages"]]
    return _read_items(body.get("input", ""))


def _text_of(content: Any) -> str:
    """Return the text of a message's content; of a list of parts, without the reminders that the agent adds itself."""
    if isinstance(content, list):
        texts = [part.get("text", "") for part in content if isinstance(part, dict)]
        return "".join(text for text in texts if not text.startswith("<system-reminder>"))
    return content or ""


# --- chat completions -------------------------------------------------------------------------


def _usage(given: int, written: str) -> dict[str, Any]:
    return {
        "prompt_tokens": given,
        "completion_tokens": count_tokens(written),
        "total_tokens": given + count_tokens(written),
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def _head(body: dict[str, Any], kind: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-" + uuid.uuid4().hex[:20],
        "object": kind,
        "created": int(time.time()),
        "model": body.get("model", SCRIPTED_MODELS[0]),
    }


def _completion(body: dict[str, Any], plan: Answer | Call, given: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    match plan:
        case Answer():
            message["content"] = plan.text
            reason = "length" if plan.cut else "stop"
            if plan.thought:
                message["reasoning_content"] = plan.thought
            if plan.picture:
                message["images"] = [_image(plan.picture)]
        case Call(name, arguments):
            reason = "tool_calls"
            function = {"name": name, "arguments": arguments}
            message["tool_calls"] = [{"id": _call_id(), "type": "function", "function": function}]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    usage = _usage(given, message["content"] or "")
    return {**_head(body, "chat.completion"), "choices": [choice], "usage": usage}


def _image(picture: bytes) -> dict[str, Any]:
    """Return a picture as OpenRouter does."""
    url = "data:image/png;base64," + base64.b64encode(picture).decode()
    return {"type": "image_url", "image_url": {"url": url}, "index": 0}


def _call_id() -> str:
    return "call_" + uuid.uuid4().hex[:12]


class _Chat(AnswerStream):
    """One streamed completion."""

    not_utf8 = b'{"choices": [{"delta": {"content": "\xff\xfe\x80"}}]}'

    def __init__(self, request: web.Request, body: dict[str, Any], given: int) -> None:
        super().__init__(request)
        self._head = _head(body, "chat.completion.chunk")
        self._counts = bool((body.get("stream_options") or {}).get("include_usage"))
        self._given = given

    async def open(self) -> None:
        await self._delta({"role": "assistant", "content": ""})

    async def think(self, text: str) -> None:
        await self._delta({"reasoning_content": text})

    async def say(self, text: str) -> None:
        await self._delta({"content": text})

    async def draw(self, picture: bytes) -> None:
        await self._delta({"images": [_image(picture)]})

    async def call(self, call: Call) -> None:
        half = len(call.arguments) // 2
        function = {"name": call.name, "arguments": call.arguments[:half]}
        first = {"index": 0, "id": _call_id(), "type": "function", "function": function}
        await self._delta({"tool_calls": [first]})
        await self._delta({"tool_calls": [{"index": 0, "function": {"arguments": call.arguments[half:]}}]})
        await self._finish("tool_calls", call.arguments)

    async def end(self, text: str, *, cut: bool = False) -> None:
        await self._finish("length" if cut else "stop", text)

    async def fail(self, message: str) -> None:
        await self.write(json.dumps({"error": {"message": message, "code": 500}}).encode())

    async def write(self, data: bytes) -> None:
        await self.response.write(b"data: " + data + b"\n\n")

    async def _delta(self, delta: dict[str, Any], finish: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        await self.write(json.dumps({**self._head, "choices": [choice]}).encode())

    async def _finish(self, reason: str, written: str) -> None:
        await self._delta({}, reason)
        if self._counts:
            usage = _usage(self._given, written)
            await self.write(json.dumps({**self._head, "choices": [], "usage": usage}).encode())
        await self.write(b"[DONE]")


# --- responses --------------------------------------------------------------------------------


def _read_items(given: Any) -> list[Message]:
    """Return the input of the Responses API as messages."""
    if isinstance(given, str):
        return [Message("user", given)]
    results = {"function_call_output": "tool", "custom_tool_call_output": "tool"}
    messages = [{"role": results.get(item.get("type")), "content": item.get("output"), **item} for item in given]
    found = [Message(one["role"], _text_of(one["content"])) for one in messages if one["role"]]
    # codex tells about its surroundings in the name of the user.
    return [Message("developer", one.text) if one.text.startswith("<environment_context>") else one for one in found]


def _message(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"id": "msg_scripted", "type": "message", "role": "assistant", "status": "completed", "content": [part]}


def _item(plan: Answer | Call) -> dict[str, Any]:
    """Return the item of a response's output."""
    if isinstance(plan, Answer):
        return _message(plan.text)
    if plan.name == "image_generation":  # a tool of the model's server, which has done its work
        made = {"status": "completed", "revised_prompt": "a scripted picture", **json.loads(plan.arguments)}
        return {"type": "image_generation_call", "id": "ig_scripted", **made}
    call = {"type": "function_call", "id": "fc_scripted", "call_id": _call_id(), "status": "completed"}
    return {**call, "name": plan.name, "arguments": plan.arguments}


def _response(body: dict[str, Any], output: list[dict[str, Any]], status: str) -> dict[str, Any]:
    """Return a complete response object of the Responses API."""
    written = sum(count_tokens(json.dumps(item)) for item in output)
    usage = {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 5 + written,
    }
    return {
        "id": "resp_scripted",
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "model": body.get("model"),
        "output": output,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "metadata": body.get("metadata") or {},
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "temperature": 1.0,
        "top_p": 1.0,
        "previous_response_id": body.get("previous_response_id"),
        "usage": usage if status == "completed" else None,
    }


class _Response(AnswerStream):
    """One streamed response, in the order of OpenAI's reference."""

    not_utf8 = b'{"delta": "\xff\xfe\x80"}'

    def __init__(self, request: web.Request, body: dict[str, Any]) -> None:
        super().__init__(request)
        self._body = body
        self._number = 0
        self._begun = False

    async def open(self) -> None:
        started = _response(self._body, [], "in_progress")
        await self._event("response.created", response=started)
        await self._event("response.in_progress", response=started)

    async def think(self, text: str) -> None:
        """Leave reasoning out: the agents that use this protocol do not show it."""

    async def say(self, text: str) -> None:
        place = {"item_id": "msg_scripted", "output_index": 0, "content_index": 0}
        if not self._begun:
            self._begun = True
            item = _message("")
            empty = {**item, "status": "in_progress", "content": []}
            await self._event("response.output_item.added", output_index=0, item=empty)
            await self._event("response.content_part.added", **place, part=item["content"][0])
        await self._event("response.output_text.delta", **place, delta=text, logprobs=[])

    async def call(self, call: Call) -> None:
        await self._end(_item(call))

    async def end(self, text: str, *, cut: bool = False) -> None:
        item = _message(text)
        place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
        await self._event("response.output_text.done", **place, text=text, logprobs=[])
        await self._event("response.content_part.done", **place, part=item["content"][0])
        await self._end(item)

    async def fail(self, message: str) -> None:
        error = {"code": "server_error", "message": message}
        await self._event("response.failed", response={"id": "resp_scripted", "status": "failed", "error": error})

    async def write(self, data: bytes) -> None:
        await self.write_named("response.output_text.delta", data)

    async def _event(self, kind: str, **about: Any) -> None:
        await self.write_named(kind, json.dumps({"type": kind, **about, "sequence_number": self._number}).encode())
        self._number += 1

    async def _end(self, item: dict[str, Any]) -> None:
        await self._event("response.output_item.done", output_index=0, item=item)
        await self._event("response.completed", response=_response(self._body, [item], "completed"))


def serve_model(port: int = 0, log: Path | None = None) -> AbstractAsyncContextManager[ScriptedModel]:
    """Serve a scripted model on loopback; port 0 means any free port."""
    return serve(ScriptedModel(log=log), port, "/v1")


if __name__ == "__main__":
    run_forever(serve_model)
