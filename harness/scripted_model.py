"""A server that speaks OpenAI's protocol and follows directives in the prompt.

It follows one directive in the last user message; without one, it answers `echo: <message>`:

    [[say TEXT]]                  answer TEXT
    [[cut TEXT]]                  answer TEXT, and say that the limit of tokens was reached
    [[think TEXT]]                reason TEXT, then answer
    [[slow N MS]]                 stream N words, MS milliseconds before each
    [[history]]                   answer the number of messages in the request, and their roles
    [[recall]]                    answer the first user message
    [[tool NAME {json}]]          call the tool; when its result comes, answer with it
    [[error CODE TIMES AFTER]]    fail with that HTTP status, the first TIMES times (else always),
                                  asking to retry after AFTER seconds
    [[midfail]]                   stream a piece, then break the connection
    [[stop]]                      stream a piece, then end without a reason and without [DONE]
    [[refuse TEXT]]               stream a piece, then an error in the stream
    [[garbage]]                   stream a piece, then something that is not JSON
    [[bytes]]                     stream a piece, then bytes that are not UTF-8
    [[line MB]]                   stream one line of MB megabytes
    [[flood MB]]                  stream MB megabytes of text
    [[hang]]                      accept, and never answer

`python -m harness.scripted_model PORT [LOG]` serves it on loopback; `GET /state` shows its
counters, and LOG gets one JSON line per request.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

SCRIPTED_MODELS = ("scripted", "scripted-b")

_DIRECTIVE = re.compile(
    r"\[\[(say|cut|think|slow|history|recall|tool|error|midfail|stop|refuse|garbage|bytes|line|flood|hang)"
    r"\b\s*(.*?)\]\]",
    re.DOTALL,
)
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Words to stream, after some reasoning."""

    words: list[str]
    thought: str = ""
    #: seconds before each word
    pause: float = 0.0
    #: why it ends
    reason: str = "stop"

    @property
    def text(self) -> str:
        return "".join(self.words)


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool."""

    name: str
    #: JSON
    arguments: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP error."""

    status: int
    #: how many times, for the same message; None for always
    times: int | None
    #: seconds for the header Retry-After
    after: str | None


@dataclass(frozen=True, slots=True)
class Trouble:
    """A way to misbehave, by the name of its directive."""

    kind: str
    argument: str = ""


Plan = Answer | Call | Refusal | Trouble


@dataclass(slots=True)
class Counters:
    """Counts of what has happened so far."""

    requests: int = 0
    #: answers that are being streamed, or that hang
    active: int = 0
    #: clients that disconnected before the end
    disconnects: int = 0


@dataclass(slots=True)
class ScriptedModel:
    """The server's state; `application` makes the server."""

    #: base URL for clients; empty until it listens
    base_url: str = ""
    counters: Counters = field(default_factory=Counters)
    #: the requests so far, each with `path`, `headers` and `body`
    requests: list[dict[str, Any]] = field(default_factory=list)
    #: file that gets one JSON line per request
    log: Path | None = None
    refused: Counter[str] = field(default_factory=Counter)

    def application(self) -> web.Application:
        app = web.Application(client_max_size=64 << 20)
        app.add_routes(
            [
                web.post("/v1/chat/completions", self._chat),
                web.post("/v1/responses", self._responses),
                web.get("/v1/models", self._models),
                web.get("/api/tags", self._tags),
                web.get("/state", self._state),
            ]
        )
        return app

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"object": "list", "data": [{"id": name, "object": "model", "created": 0} for name in SCRIPTED_MODELS]}
        )

    async def _tags(self, request: web.Request) -> web.Response:
        """Return the list of models as Ollama does."""
        return web.json_response({"models": [{"name": name, "model": name} for name in SCRIPTED_MODELS]})

    async def _state(self, request: web.Request) -> web.Response:
        return web.json_response(asdict(self.counters))

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await self._note(request)
        plan = read(body["messages"])
        refusal = self._refusal(plan, last_user_text(body["messages"]))
        if refusal is not None:
            return refusal
        if isinstance(plan, Refusal):
            plan = Answer(words=["recovered"])
        with self._working():
            if plan == Trouble("hang"):
                await asyncio.Event().wait()
            if body.get("stream"):
                return await _stream_chat(request, body, plan)
            return await _whole_chat(body, plan)

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        body = await self._note(request)
        messages = _messages(body.get("input", ""))
        plan = read(messages)
        refusal = self._refusal(plan, last_user_text(messages))
        if refusal is not None:
            return refusal
        if isinstance(plan, Refusal):
            plan = Answer(words=["recovered"])
        with self._working():
            if plan == Trouble("hang"):
                await asyncio.Event().wait()
            if body.get("stream"):
                return await _stream_response(request, body, plan)
            text = plan.text if isinstance(plan, Answer) else "(only answers are scripted here)"
            return web.json_response(_response(body, [_message(text)], "completed"))

    async def _note(self, request: web.Request) -> dict[str, Any]:
        body: dict[str, Any] = await request.json()
        self.counters.requests += 1
        entry = {"path": request.path, "headers": dict(request.headers), "body": body}
        self.requests.append(entry)
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(json.dumps({"at": time.time(), **entry}) + "\n")
        return body

    def _refusal(self, plan: Plan, text: str) -> web.Response | None:
        if not isinstance(plan, Refusal):
            return None
        self.refused[text] += 1
        if plan.times is not None and self.refused[text] > plan.times:
            return None
        message = f"scripted error {plan.status}"
        return web.json_response(
            {"error": {"message": message, "type": "scripted", "param": None, "code": str(plan.status)}},
            status=plan.status,
            headers={} if plan.after is None else {"Retry-After": plan.after},
        )

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        self.counters.active += 1
        try:
            yield
        except (ConnectionError, asyncio.CancelledError):
            self.counters.disconnects += 1
            raise
        finally:
            self.counters.active -= 1


def text_of(content: Any) -> str:
    """Return the text of a message's content, which may be a list of parts."""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content or ""


def last_user_text(messages: list[dict[str, Any]]) -> str:
    said = [text_of(message.get("content")) for message in messages if message["role"] == "user"]
    return said[-1] if said else ""


def read(messages: list[dict[str, Any]]) -> Plan:
    """Return what to do for a conversation."""
    asked = last_user_text(messages)
    if _wants_title(messages, asked):
        return Answer(words=["Scripted", " title"])
    found = _DIRECTIVE.search(asked)
    if found is None:
        return Answer(words=_words("echo: " + asked.strip()[-400:]))
    return _obey(found[1], found[2].strip(), messages)


def _wants_title(messages: list[dict[str, Any]], asked: str) -> bool:
    """Return whether an agent asks for a title of the conversation; such a request is not a prompt."""
    system = " ".join(text_of(m.get("content")) for m in messages if m["role"] in ("system", "developer"))
    return "title generator" in system.lower() or "generate a title" in asked[:200].lower()


def _obey(kind: str, argument: str, messages: list[dict[str, Any]]) -> Plan:
    match kind, argument.split():
        case "say", _:
            return Answer(words=_words(argument))
        case "cut", _:
            return Answer(words=_words(argument), reason="length")
        case "think", _:
            return Answer(words=["done", " thinking"], thought=argument)
        case "slow", [count, *pause]:
            seconds = int(pause[0] if pause else 200) / 1000
            return Answer(words=[f"w{number} " for number in range(int(count))], pause=seconds)
        case "history", _:
            roles = ",".join(message["role"] for message in messages)
            return Answer(words=_words(f"{len(messages)} messages: {roles}"))
        case "recall", _:
            first = next(text_of(m.get("content")) for m in messages if m["role"] == "user")
            return Answer(words=_words(first))
        case "tool", _:
            return _call(argument, messages)
        case "error", [status, *rest]:
            return Refusal(int(status), int(rest[0]) if rest else None, rest[1] if rest[1:] else None)
    return Trouble(kind, argument)


def _call(argument: str, messages: list[dict[str, Any]]) -> Plan:
    asked = max(number for number, message in enumerate(messages) if message["role"] == "user")
    results = [text_of(m.get("content")) for m in messages[asked:] if m["role"] == "tool"]
    if results:
        return Answer(words=_words("tool result: " + results[-1][:300]))
    name, _, arguments = argument.partition(" ")
    return Call(name, arguments.strip() or "{}")


def _words(text: str) -> list[str]:
    return re.findall(r"\S+\s*|\s+", text) or [""]


def _tokens(text: str) -> int:
    return max(1, len(text) // 4)


def _usage(body: dict[str, Any], written: str) -> dict[str, Any]:
    given = sum(_tokens(text_of(message.get("content"))) for message in body["messages"])
    return {
        "prompt_tokens": given,
        "completion_tokens": _tokens(written),
        "total_tokens": given + _tokens(written),
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


async def _whole_chat(body: dict[str, Any], plan: Plan) -> web.Response:
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    reason = "stop"
    match plan:
        case Answer():
            await asyncio.sleep(plan.pause * len(plan.words))
            message["content"] = plan.text
            reason = plan.reason
            if plan.thought:
                message["reasoning_content"] = plan.thought
        case Call(name, arguments):
            reason = "tool_calls"
            function = {"name": name, "arguments": arguments}
            message["tool_calls"] = [{"id": _call_id(), "type": "function", "function": function}]
        case _:
            message["content"] = "(this trouble is for streams only)"
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    usage = _usage(body, message["content"] or "")
    return web.json_response({**_head(body, "chat.completion"), "choices": [choice], "usage": usage})


def _call_id() -> str:
    return "call_" + uuid.uuid4().hex[:12]


class _Chat:
    """One streamed completion."""

    def __init__(self, request: web.Request, body: dict[str, Any]) -> None:
        self._request = request
        self._head = _head(body, "chat.completion.chunk")
        self.response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})

    async def open(self) -> None:
        await self.response.prepare(self._request)
        await self.delta({"role": "assistant", "content": ""})

    async def raw(self, data: bytes) -> None:
        await self.response.write(b"data: " + data + b"\n\n")

    async def delta(self, delta: dict[str, Any], finish: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        await self.raw(json.dumps({**self._head, "choices": [choice]}).encode())

    async def usage(self, usage: dict[str, Any]) -> None:
        await self.raw(json.dumps({**self._head, "choices": [], "usage": usage}).encode())

    def cut(self) -> None:
        assert self._request.transport is not None
        self._request.transport.close()


async def _stream_chat(request: web.Request, body: dict[str, Any], plan: Plan) -> web.StreamResponse:
    chat = _Chat(request, body)
    await chat.open()
    match plan:
        case Answer():
            await _stream_answer(chat, plan)
            written = plan.text
        case Call(name, arguments):
            await _stream_call(chat, name, arguments)
            written = arguments
        case Trouble():
            await _stream_trouble(chat, plan)
            return chat.response
    if (body.get("stream_options") or {}).get("include_usage"):
        await chat.usage(_usage(body, written))
    await chat.raw(b"[DONE]")
    return chat.response


async def _stream_answer(chat: _Chat, answer: Answer) -> None:
    if answer.thought:
        await chat.delta({"reasoning_content": answer.thought})
    for word in answer.words:
        await asyncio.sleep(answer.pause)
        await chat.delta({"content": word})
    await chat.delta({}, answer.reason)


async def _stream_call(chat: _Chat, name: str, arguments: str) -> None:
    half = len(arguments) // 2
    function = {"name": name, "arguments": arguments[:half]}
    first = {"index": 0, "id": _call_id(), "type": "function", "function": function}
    await chat.delta({"tool_calls": [first]})
    await chat.delta({"tool_calls": [{"index": 0, "function": {"arguments": arguments[half:]}}]})
    await chat.delta({}, "tool_calls")


async def _stream_trouble(chat: _Chat, trouble: Trouble) -> None:
    await chat.delta({"content": "a piece "})
    match trouble.kind:
        case "midfail":
            chat.cut()
        case "refuse":
            await chat.raw(json.dumps({"error": {"message": trouble.argument, "code": 500}}).encode())
        case "garbage":
            await chat.raw(b"{this is not JSON")
        case "bytes":
            await chat.raw(b'{"choices": [{"delta": {"content": "\xff\xfe\x80"}}]}')
        case "line":
            await chat.delta({"content": "x" * (int(trouble.argument) * _MEGABYTE)})
            await chat.delta({}, "stop")
        case "flood":
            for _ in range(int(trouble.argument) * 16):
                await chat.delta({"content": "x" * (_MEGABYTE // 16)})
            await chat.delta({}, "stop")


def _messages(given: Any) -> list[dict[str, Any]]:
    """Return the input of the Responses API as chat messages."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    results = {"function_call_output": "tool", "custom_tool_call_output": "tool"}
    messages = [{"role": results.get(item.get("type")), "content": item.get("output"), **item} for item in given]
    return [message for message in messages if message["role"]]


def _message(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"id": "msg_scripted", "type": "message", "role": "assistant", "status": "completed", "content": [part]}


def _response(body: dict[str, Any], output: list[dict[str, Any]], status: str) -> dict[str, Any]:
    """Return a complete response object of the Responses API."""
    written = sum(_tokens(json.dumps(item)) for item in output)
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


class _Response:
    """One streamed response, in the order of OpenAI's reference."""

    def __init__(self, request: web.Request, body: dict[str, Any]) -> None:
        self._request = request
        self._body = body
        self._number = 0
        self.response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})

    async def open(self) -> None:
        await self.response.prepare(self._request)
        started = _response(self._body, [], "in_progress")
        await self.event("response.created", response=started)
        await self.event("response.in_progress", response=started)

    async def raw(self, kind: str, data: bytes) -> None:
        await self.response.write(f"event: {kind}\ndata: ".encode() + data + b"\n\n")

    async def event(self, kind: str, **about: Any) -> None:
        await self.raw(kind, json.dumps({"type": kind, **about, "sequence_number": self._number}).encode())
        self._number += 1

    async def begin_text(self) -> None:
        item = _message("")
        place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
        empty = {**item, "status": "in_progress", "content": []}
        await self.event("response.output_item.added", output_index=0, item=empty)
        await self.event("response.content_part.added", **place, part=item["content"][0])

    async def delta(self, text: str) -> None:
        place = {"item_id": "msg_scripted", "output_index": 0, "content_index": 0}
        await self.event("response.output_text.delta", **place, delta=text, logprobs=[])

    async def end_text(self, text: str) -> None:
        item = _message(text)
        place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
        await self.event("response.output_text.done", **place, text=text, logprobs=[])
        await self.event("response.content_part.done", **place, part=item["content"][0])
        await self.end(item)

    async def end(self, item: dict[str, Any]) -> None:
        await self.event("response.output_item.done", output_index=0, item=item)
        await self.event("response.completed", response=_response(self._body, [item], "completed"))

    def cut(self) -> None:
        assert self._request.transport is not None
        self._request.transport.close()


async def _stream_response(request: web.Request, body: dict[str, Any], plan: Plan) -> web.StreamResponse:
    stream = _Response(request, body)
    await stream.open()
    match plan:
        case Call(name, arguments):
            call = {"type": "function_call", "id": "fc_scripted", "call_id": _call_id(), "status": "completed"}
            await stream.end({**call, "name": name, "arguments": arguments})
        case Answer():
            await stream.begin_text()
            for word in plan.words:
                await asyncio.sleep(plan.pause)
                await stream.delta(word)
            await stream.end_text(plan.text)
        case Trouble():
            await stream.begin_text()
            await stream.delta("a piece ")
            await _trouble_response(stream, plan)
    return stream.response


async def _trouble_response(stream: _Response, trouble: Trouble) -> None:
    match trouble.kind:
        case "midfail":
            stream.cut()
        case "refuse":
            error = {"code": "server_error", "message": trouble.argument}
            await stream.event("response.failed", response={"id": "resp_scripted", "status": "failed", "error": error})
        case "garbage":
            await stream.raw("response.output_text.delta", b"{this is not JSON")
        case "bytes":
            await stream.raw("response.output_text.delta", b'{"delta": "\xff\xfe\x80"}')
        case "line":
            await stream.delta("x" * (int(trouble.argument) * _MEGABYTE))
            await stream.end_text("")
        case "flood":
            for _ in range(int(trouble.argument) * 16):
                await stream.delta("x" * (_MEGABYTE // 16))
            await stream.end_text("")


@contextlib.asynccontextmanager
async def serve_model(port: int = 0, log: Path | None = None) -> AsyncIterator[ScriptedModel]:
    """Serve a scripted model on loopback; port 0 means any free port."""
    model = ScriptedModel(log=log)
    # Without handler_cancellation, the server would not notice that a client has disconnected.
    runner = web.AppRunner(model.application(), handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        host, bound = runner.addresses[0][:2]
        model.base_url = f"http://{host}:{bound}/v1"
        yield model
    finally:
        await runner.cleanup()


async def _serve_for_ever(port: int, log: Path | None) -> None:
    async with serve_model(port, log) as model:
        print(f"listening on {model.base_url}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve_for_ever(int(sys.argv[1]), Path(sys.argv[2]) if sys.argv[2:] else None))
