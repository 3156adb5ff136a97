"""A scripted server of opencode 2, for what only 2.x has: no opencode 2 can be installed here.

Its routes, bodies and events are those of the sources of opencode 2 (`packages/protocol`, `packages/schema`). A prompt
says what the work is; anything else is echoed:

    [[ask]]      ask for a permission, and answer what came
    [[form]]     show a form, and answer what came; the test may give another one
    [[quiet]]    as [[form]], without an event
    [[helper]]   cut the events while a helper begins; it asks for a permission, answer what came
    [[tool]]     use a tool
    [[fail]]     fail in the model
    [[retry]]    wait for another try of the model, in an hour
    [[hang]]     work until interrupted
    [[stop]]     end without a reason, as an answer that was stopped
    [[cut]]      close all streams of events, then answer
    [[gap]]      close them in the middle of a first text and of a tool call, then answer
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import encode_basic_auth, web

SERVER_PASSWORD = "of the server"
_TOKENS = {"input": 10, "output": 2, "reasoning": 1, "cache": {"read": 3, "write": 4}}

_FIELDS = [
    {"key": "color", "type": "string", "title": "Color", "options": [{"value": "red", "label": "Red"}]},
    {"key": "count", "type": "integer", "title": "How many", "required": True},
]
_PERMISSION = {"action": "shell", "resources": ["touch made"]}


@dataclass
class ScriptedServer2:
    """The server's state."""

    url: str = ""
    #: bodies of the prompts, of the replies to permissions, and of the answers to forms
    prompts: list[dict[str, Any]] = field(default_factory=list)
    replies: list[dict[str, Any]] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    #: what the form has
    form: dict[str, Any] = field(default_factory=lambda: {"title": "Which?", "fields": _FIELDS})
    #: statuses with which the next replies and answers are refused; 0 cuts the connection instead
    refusals: list[int] = field(default_factory=list)
    #: how many of the next lists of open requests fail
    failing_lists: int = 0
    #: whether the model fails a prompt with files
    refuses_files: bool = False
    interrupts: int = 0
    sessions: dict[str, dict[str, Any]] = field(default_factory=dict)
    messages: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    #: the session and the body of each prompt, by its id: as in 1.18, the ids of all sessions are different
    _taken: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    _work: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _asked: dict[str, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    #: how often messages were read
    _reads: int = 0
    #: id of the session that asked last
    _asking: str = ""
    _forms: dict[str, dict[str, Any]] = field(default_factory=dict)
    _streams: list[web.StreamResponse] = field(default_factory=list)

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._authorize])
        session = "/api/session/{session}"
        app.add_routes(
            [
                web.get("/api/info", self._info),
                web.get("/api/event", self._events),
                web.get("/api/agent", self._agents),
                web.get("/api/model", self._models),
                web.get("/api/session/active", self._active),
                web.get("/api/session", self._list),
                web.post("/api/session", self._create),
                web.get(session, self._get),
                web.post(f"{session}/model", self._choose),
                web.post(f"{session}/agent", self._choose),
                web.post(f"{session}/prompt", self._prompt),
                web.get(f"{session}/message", self._messages),
                web.post(f"{session}/interrupt", self._interrupt),
                web.get(f"{session}/permission", self._list_permissions),
                web.post(f"{session}/permission/{{request}}/reply", self._reply),
                web.get(f"{session}/form", self._list_forms),
                web.post(f"{session}/form/{{request}}/reply", self._answer),
                web.post(f"{session}/form/{{request}}/cancel", self._answer),
                web.route("*", "/{rest:.*}", self._page),
            ]
        )
        return app

    # --- routes -------------------------------------------------------------------------------

    @web.middleware
    async def _authorize(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.headers.get("Authorization") != encode_basic_auth("opencode", SERVER_PASSWORD):
            return web.Response(status=401)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _page(self, request: web.Request) -> web.Response:
        return web.Response(text="<!doctype html>", content_type="text/html")

    async def _info(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "2.1.0", "pid": 1, "urls": [], "paths": {"tmp": "/tmp"}})

    async def _agents(self, request: web.Request) -> web.Response:
        return web.json_response({"location": {}, "data": [{"id": "build"}]})

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"location": {}, "data": [{"id": "scripted", "providerID": "scripted"}]})

    async def _active(self, request: web.Request) -> web.Response:
        return web.json_response({"data": {name: {"type": "running"} for name in self._work}})

    async def _list_permissions(self, request: web.Request) -> web.Response:
        self._fail_list()
        waiting = {"id": "per_1", "sessionID": self._asking, **_PERMISSION}
        is_open = "per_1" in self._asked and self._asking == request.match_info["session"]
        return web.json_response({"data": [waiting] if is_open else []})

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response({"data": list(self.sessions.values())[::-1], "cursor": {}})

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        name = f"ses_{len(self.sessions)}"
        self.sessions[name] = {"id": name, "location": body["location"], "title": body["title"]}
        self.messages[name] = []
        return web.json_response({"data": self.sessions[name]})

    async def _get(self, request: web.Request) -> web.Response:
        known = self.sessions.get(request.match_info["session"])
        if known is None:
            return web.json_response({"_tag": "SessionNotFoundError", "message": "Session not found"}, status=404)
        return web.json_response({"data": known})

    async def _choose(self, request: web.Request) -> web.Response:
        self.sessions[request.match_info["session"]] |= await request.json()
        return web.Response(status=204)

    async def _prompt(self, request: web.Request) -> web.Response:
        body, session = await request.json(), request.match_info["session"]
        if "text" not in body:
            told = {"_tag": "InvalidRequestError", "message": 'Missing key\n  at ["text"]'}
            return web.json_response(told, status=400)
        if (known := self._taken.setdefault(body["id"], (session, body))) != (session, body):
            told = {"_tag": "ConflictError", "message": "Prompt message ID conflicts with an existing record"}
            return web.json_response(told, status=409)
        if known[1] is body:
            self.prompts.append(body)
            self._work[session] = asyncio.create_task(self._work_on(session, body))
        return web.Response(status=204)

    async def _messages(self, request: web.Request) -> web.Response:
        self._reads += 1
        found = self.messages[request.match_info["session"]]
        found = found if request.query.get("order") == "asc" else found[::-1]
        begin = int(request.query.get("cursor", 0))
        end = begin + int(request.query["limit"])
        return web.json_response({"data": found[begin:end], "cursor": {"next": str(end)}})

    async def _interrupt(self, request: web.Request) -> web.Response:
        self.interrupts += 1
        if (work := self._work.get(request.match_info["session"])) is not None:
            work.cancel()
            await asyncio.wait([work])
        return web.json_response({"interrupted": True})

    def _refuse(self, request: web.Request) -> web.Response | None:
        """Return the refusal of an answer, if the test wants one."""
        status = self.refusals.pop(0) if self.refusals else None
        if status == 0:
            assert request.transport is not None
            request.transport.close()
        return None if status is None else web.json_response({"message": "not so"}, status=status or 500)

    def _fail_list(self) -> None:
        if self.failing_lists:
            self.failing_lists -= 1
            raise web.HTTPServiceUnavailable

    async def _reply(self, request: web.Request) -> web.Response:
        if (refusal := self._refuse(request)) is not None:
            return refusal
        self.replies.append(await request.json())
        self._asked.pop(request.match_info["request"]).set_result(self.replies[-1])
        return web.Response(status=204)

    async def _list_forms(self, request: web.Request) -> web.Response:
        self._fail_list()
        return web.json_response({"data": list(self._forms.values())})

    async def _answer(self, request: web.Request) -> web.Response:
        if (refusal := self._refuse(request)) is not None:
            return refusal
        self.answers.append(await request.json() if request.path.endswith("reply") else {"cancelled": True})
        del self._forms[request.match_info["request"]]
        self._asked.pop(request.match_info["request"]).set_result(self.answers[-1])
        return web.Response(status=204)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        self._streams.append(stream)
        await self._tell(stream, {"id": "evt_0", "type": "server.connected", "data": {}})
        while stream in self._streams:
            await asyncio.sleep(0.05)
        return stream

    # --- work ---------------------------------------------------------------------------------

    async def _work_on(self, session: str, prompt: dict[str, Any]) -> None:
        outcome, error = "succeeded", None
        self.messages[session].append({"id": prompt["id"], "type": "user", "text": prompt["text"], "time": {}})
        await self._say(session, "session.execution.started")
        answer = {"id": f"msg_answer_{len(self.prompts)}", "type": "assistant", "content": [], "time": {"created": 1}}
        self.messages[session].append(answer)
        await self._say(session, "session.step.started", assistantMessageID=answer["id"])
        try:
            if self.refuses_files and "files" in prompt:
                raise RuntimeError("the model takes no files")
            if "[[gap]]" in prompt["text"]:
                await self._leave_gap(session, answer)
            text = await self._find_answer(session, prompt["text"], answer)
            ordinal = [content["type"] for content in answer["content"]].count("text")
            at = {"assistantMessageID": answer["id"], "ordinal": ordinal}
            await self._say(session, "session.text.started", **at)
            for piece in (text[:2], text[2:]):
                await self._say(session, "session.text.delta", **at, delta=piece)
            answer["content"].append({"type": "text", "text": text})
            await self._say(session, "session.text.ended", **at, text=text)
            answer |= {"finish": "" if "[[stop]]" in text else "stop", "tokens": _TOKENS, "cost": 0.5}
        except asyncio.CancelledError:
            outcome, error = "interrupted", {"type": "aborted", "message": "interrupted"}
        except RuntimeError as failure:
            outcome, error = "failed", {"type": "provider.error", "message": str(failure)}
        answer["time"]["completed"] = 2
        if error is not None:
            answer |= {"finish": "error", "error": error}
        self.messages[session].append({"id": f"{answer['id']}_idle", "type": "idle", "outcome": outcome, "time": {}})
        del self._work[session]
        more = {"error": error} if outcome == "failed" else {}
        await self._say(session, f"session.execution.{outcome}", **more)

    async def _leave_gap(self, session: str, answer: dict[str, Any]) -> None:
        """Say a text and use a tool; the events of the end of the text and of the beginning of the call are lost."""
        at = {"assistantMessageID": answer["id"]}
        await self._say(session, "session.text.started", **at, ordinal=0)
        await self._say(session, "session.text.delta", **at, ordinal=0, delta="one ")
        self._streams.clear()
        tool = {"type": "tool", "id": "call_1", "name": "shell", "state": {"status": "running", "input": {}}}
        answer["content"] += [{"type": "text", "text": "one two "}, tool]
        seen = self._reads
        while self._reads == seen:  # the client connects again, and looks at the messages
            await asyncio.sleep(0.01)
        await self._say(session, "session.tool.success", **at, id="call_1", content=[])

    async def _find_answer(self, session: str, text: str, answer: dict[str, Any]) -> str:
        at = {"assistantMessageID": answer["id"]}
        if "[[ask]]" in text:
            return str((await self._ask(session, "permission.asked", {"id": "per_1", **_PERMISSION}))["reply"])
        if "[[helper]]" in text:
            self._streams.clear()
            for child, parent in (("ses_helper", session), ("ses_helper_of_it", "ses_helper")):
                self.sessions[child] = {"id": child, "parentID": parent, "location": {"directory": "/"}}
            asked = {"id": "per_1", **_PERMISSION}
            return str((await self._ask("ses_helper_of_it", "permission.asked", asked))["reply"])
        if "[[form]]" in text or "[[quiet]]" in text:
            form = {"id": "frm_1", "sessionID": session, "mode": "form", **self.form}
            self._forms["frm_1"] = form
            kind = "form.created" if "[[form]]" in text else "form.unheard"
            return json.dumps(await self._ask(session, kind, {"form": form}, "frm_1"))
        if "[[tool]]" in text:
            tool = {"type": "tool", "id": "call_1", "name": "shell", "time": {}, "state": {"status": "running"}}
            answer["content"].append(tool)
            await self._say(session, "session.tool.input.started", **at, id="call_1", name="shell")
            await self._say(session, "session.tool.called", **at, id="call_1", input={"command": "pwd"})
            content = [{"type": "text", "text": "/here"}]
            tool["state"] = {"status": "completed", "input": {"command": "pwd"}, "content": content}
            await self._say(session, "session.tool.success", **at, id="call_1", content=content)
        if "[[fail]]" in text:
            raise RuntimeError("the model is out of order")
        if "[[retry]]" in text:
            error = {"type": "provider.rate-limit", "message": "too many requests"}
            await self._say(session, "session.retry.scheduled", **at, attempt=1, at=4e12, error=error)
        if "[[cut]]" in text:
            self._streams.clear()
            await asyncio.sleep(0.1)
        if "[[hang]]" in text or "[[retry]]" in text:
            await asyncio.Event().wait()
        return f"echo: {text}"

    async def _ask(self, session: str, kind: str, data: dict[str, Any], name: str = "per_1") -> dict[str, Any]:
        self._asking = session
        self._asked[name] = asyncio.get_running_loop().create_future()
        answered = self._asked[name]
        await self._say(session, kind, **data)
        return await answered

    async def _say(self, session: str, kind: str, **data: Any) -> None:
        for stream in [*self._streams]:
            await self._tell(stream, {"id": "evt_1", "type": kind, "data": {"sessionID": session, **data}})

    async def _tell(self, stream: web.StreamResponse, event: dict[str, Any]) -> None:
        with contextlib.suppress(ConnectionError):
            await stream.write(f"data: {json.dumps(event)}\n\n".encode())

    def end_work(self) -> None:
        self._streams.clear()
        for work in self._work.values():
            work.cancel()


@contextlib.asynccontextmanager
async def serve_opencode2(port: int = 0) -> AsyncIterator[ScriptedServer2]:
    """Serve it on a port of loopback; 0 means a free one."""
    server = ScriptedServer2()
    runner = web.AppRunner(server.application(), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        server.end_work()
        await runner.cleanup()
