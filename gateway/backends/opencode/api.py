"""The HTTP calls to an opencode server of version 1."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import aiohttp
import msgspec

from gateway.backends.opencode import wire
from gateway.backends.opencode.calls import (
    MAX_OPENCODE_ANSWER_BYTES,
    RequestRefused,
    ServerCalls,
    quote_segment,
)
from gateway.backends.opencode.driven_server import Mark, Prompt
from gateway.backends.opencode.prompt_files import TakenFiles
from gateway.backends.opencode.questions import render_answers
from gateway.domain.ports.backend import FileKind
from gateway.domain.question import AnswerContent
from gateway.errors import AgentError

#: messages in the page with the newest ones, and in each page before: with their files, messages may be large, and the
#: newest page of a short turn has no messages of earlier ones but the last
NEWEST_MESSAGES, MESSAGES_PER_PAGE = 3, 8

#: permissions denied in every session: with them an agent would wait for a person who switches modes
_MODE_PERMISSIONS = ("plan_enter", "plan_exit")


class OpencodeApi(ServerCalls):
    """The calls to one server, with its password; see `DrivenServer`."""

    #: after an error, a session is idle before its last message is stored
    stores_before_idle = False
    taken_files = TakenFiles(frozenset({FileKind.IMAGE, FileKind.PDF}), texts=True)
    ignores_config = False

    async def read_version(self, within: float) -> str:
        return (await self.send_request(wire.Health, "GET", "/global/health", within=within)).version

    async def list_providers(self, directory: str, within: float) -> Sequence[wire.Provider]:
        """Return the providers that can be used in a directory, with their models."""
        path = "/config/providers"
        return (await self.send_request(wire.Providers, "GET", path, query=_in(directory), within=within)).providers

    def open_events(self, silence: float) -> aiohttp.client._RequestContextManager:
        return self.open_stream("/global/event", silence)

    def read_event(self, data: bytes) -> wire.WireEvent | None:
        return wire.read_event(data)

    async def prepare_directory(self, directory: str) -> None:
        """Do nothing: the server prepares a directory during the first call that needs it."""

    async def create_session(self, directory: str, title: str, *, may_ask_questions: bool) -> wire.Session:
        denied = [wire.PermissionRule(name, "*", "deny") for name in _MODE_PERMISSIONS]
        rules = [*denied, _make_question_rule(may_ask_questions)]
        # Without a title, opencode asks the model for one: an extra call that costs money.
        body = {"title": title, "permission": msgspec.to_builtins(rules)}
        return await self.send_request(wire.Session, "POST", "/session", query=_in(directory), body=body)

    async def read_session(self, session: str) -> wire.Session:
        if not session.startswith("ses"):
            # opencode answers 500 to an id of another form
            raise RequestRefused(f"{session[:40]!r} is not an id of an opencode session.", 404)
        return await self.send_request(wire.Session, "GET", f"/session/{quote_segment(session)}")

    async def allow_questions(self, session: wire.Session, *, may_ask_questions: bool) -> None:
        if session.may_ask_questions != may_ask_questions:
            body = {"permission": msgspec.to_builtins([_make_question_rule(may_ask_questions)])}
            with contextlib.suppress(RequestRefused):
                await self.send_request(None, "PATCH", _session_path(session), body=body)

    async def list_helper_sessions(self, session: wire.Session) -> Sequence[wire.Session]:
        return await self.send_request(list[wire.Session], "GET", f"{_session_path(session)}/children")

    async def is_busy(self, session: wire.Session) -> bool:
        # The server knows that only with the session's directory.
        query = _in(session.directory)
        states = await self.send_request(dict[str, wire.SessionStatus], "GET", "/session/status", query=query)
        return session.id in states and states[session.id].type != "idle"

    async def find_earlier_attempt(self, session: wire.Session, prompt: Prompt) -> None:
        """Do nothing: the server takes no ids, so a prompt of an earlier attempt cannot be told apart."""

    async def send_prompt(self, session: wire.Session, prompt: Prompt) -> None:
        files = [
            {"type": "file", "mime": file.url.media_type, "filename": file.name, "url": file.url}
            for file in prompt.files
        ]
        body: dict[str, Any] = {"parts": [{"type": "text", "text": prompt.text}, *files]}
        if prompt.model is not None:
            body["model"] = {"providerID": prompt.model.provider, "modelID": prompt.model.model}
        if prompt.system_prompt is not None:
            body["system"] = prompt.system_prompt
        if prompt.agent is not None:
            body["agent"] = prompt.agent
        await self.send_request(
            None, "POST", f"{_session_path(session)}/prompt_async", body=body, within=prompt.send_timeout
        )

    async def take_back_prompt(self, session: wire.Session, mark: Mark) -> bool:
        for message in reversed(await self.read_messages_after(session, mark)):
            await self.send_request(
                None, "DELETE", f"{_session_path(session)}/message/{quote_segment(message.info.id)}"
            )
        return True

    async def read_files(self, session: wire.Session, message: str) -> Sequence[wire.FilePart]:
        path = f"{_session_path(session)}/message/{quote_segment(message)}"
        found = await self.send_request(wire.MessageWithFiles, "GET", path, with_files=True)
        return [part for part in found.parts if part.type == "file"]

    async def abort_session(self, session: wire.Session, within: float) -> None:
        await self.send_request(None, "POST", f"{_session_path(session)}/abort", within=within)

    async def find_mark(self, session: wire.Session, prompt: Prompt) -> Mark:
        found, _ = await self._read_messages(session, 1, None)
        return Mark(found[-1].info.id if found else None)

    def is_earlier(self, info: wire.MessageInfo, mark: Mark) -> bool:
        # Ids grow with time.
        newest = mark.newest
        return newest is not None and (info.id <= newest or (info.parent != "" and info.parent <= newest))

    async def read_messages_after(self, session: wire.Session, mark: Mark) -> Sequence[wire.Message]:
        """Return the messages after the mark, oldest first.

        Raises:
            AgentError: they are too large to be read.
        """
        found: list[wire.Message] = []
        cursor = None
        size = 0
        while True:
            limit = MESSAGES_PER_PAGE if cursor else NEWEST_MESSAGES
            page, cursor = await self._read_messages(session, limit, cursor)
            # Ids grow with time, so the marked message itself need not exist any more.
            fresh = [message for message in page if mark.newest is None or message.info.id > mark.newest]
            found = [*fresh, *found]
            size += sum(len(part.text) for message in fresh for part in message.parts)
            if size > MAX_OPENCODE_ANSWER_BYTES:
                raise AgentError("opencode's answer is too large.")
            if len(fresh) < len(page) or not cursor:
                return found

    async def _read_messages(
        self, session: wire.Session, limit: int, cursor: str | None
    ) -> tuple[list[wire.Message], str | None]:
        """Return the newest messages before a cursor, oldest first, and the cursor of the page before."""
        query = {"limit": str(limit)} | ({"before": cursor} if cursor else {})
        path = f"{_session_path(session)}/message"
        answer = await self.fetch_answer("GET", path, query=query)
        return answer.read_as(list[wire.Message], path), answer.headers.get("X-Next-Cursor")

    async def list_permission_requests(
        self, session: wire.Session, sessions: Collection[str]
    ) -> Sequence[wire.PermissionAsked]:
        query = _in(session.directory)
        return await self.send_request(list[wire.PermissionAsked], "GET", "/permission", query=query)

    async def answer_permission(
        self, asked: wire.PermissionAsked, session: wire.Session, body: Mapping[str, str]
    ) -> None:
        path = f"/permission/{quote_segment(asked.id)}/reply"
        await self.send_request(None, "POST", path, query=_in(session.directory), body=body)

    async def list_questions(self, session: wire.Session, sessions: Collection[str]) -> Sequence[wire.QuestionAsked]:
        query = _in(session.directory)
        return await self.send_request(list[wire.QuestionAsked], "GET", "/question", query=query)

    async def answer_question(
        self, asked: wire.QuestionAsked, session: wire.Session, content: AnswerContent | None
    ) -> None:
        path = f"/question/{quote_segment(asked.id)}/reply"
        body = {"answers": render_answers(asked.questions, content)}
        await self.send_request(None, "POST", path, query=_in(session.directory), body=body)

    async def dispose_directory(self, directory: str) -> None:
        await self.send_request(None, "POST", "/instance/dispose", query=_in(directory), within=5.0)


def _in(directory: str) -> Mapping[str, str]:
    """Return the query that names a directory: the server serves many."""
    return {"directory": directory}


def _session_path(session: wire.Session) -> str:
    return f"/session/{quote_segment(session.id)}"


def _make_question_rule(may_ask_questions: bool) -> wire.PermissionRule:
    return wire.PermissionRule(wire.QUESTION_PERMISSION, "*", "allow" if may_ask_questions else "deny")
