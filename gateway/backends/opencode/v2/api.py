"""The HTTP calls to an opencode server of version 2; see `DrivenServer` and `wire`.

A prompt has an id that we choose, so it is never taken twice: it is made from the run, the attempt and the round. It is
told to wait for its turn; the server would otherwise put it into the work of the turn that is running.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

import aiohttp

from gateway.backends.opencode import wire
from gateway.backends.opencode.calls import (
    MAX_OPENCODE_ANSWER_BYTES,
    ConnectionCut,
    RequestRefused,
    RouteMissing,
    ServerCalls,
    quote_segment,
)
from gateway.backends.opencode.driven_server import DISABLED_AGENT, Mark, Prompt
from gateway.backends.opencode.prompt_files import TakenFiles
from gateway.backends.opencode.questions import render_answers
from gateway.backends.opencode.v2.events import EventTranslator
from gateway.backends.opencode.v2.forms import Form, read_form
from gateway.backends.opencode.v2.wire import (
    AgentInfo,
    Data,
    ListedSession,
    Message,
    ModelRef,
    Page,
    PermissionRequest,
    SessionInfo,
    read_resources,
    translate_message,
)
from gateway.domain.ports.backend import FileKind
from gateway.domain.question import AnswerContent
from gateway.errors import AgentError

T = TypeVar("T")

#: messages in one page: with the output of tools, each may be large, and an answer has a limit
MESSAGES_PER_PAGE_2 = 8
#: the newest sessions, among which those of helpers are looked for
LISTED_SESSIONS = 50
#: seconds for a directory to have its models and agents: before that, a prompt ends without an answer
MODEL_LIST_TIMEOUT_SECONDS = 30.0
#: seconds between two looks at them
MODEL_LIST_PAUSE_SECONDS = 0.1
#: directories that are known to have models, at most
MAX_KNOWN_DIRECTORIES = 256
#: seconds between tries of a prompt whose connection was cut
PROMPT_RETRY_SECONDS = (0.2, 1.0)


class OpencodeApi2(ServerCalls):
    """The calls to one server, with its password."""

    stores_before_idle = True
    #: 1.18 fails a turn with others, at least with models that speak OpenAI's protocol
    taken_files = TakenFiles(frozenset({FileKind.IMAGE}), texts=False)

    def __init__(self, base: str, password: str | None, own_directory: str | None = None) -> None:
        """Args:
        own_directory: where a server of ours was started.
        """
        super().__init__(base, password)
        #: where it is found out whether the server reads our configuration: no file of a workspace counts there
        self._own_directory = own_directory
        self._events = EventTranslator()
        #: whether the server wants the text of a prompt inside of an object, as 1.18 does
        self._nests_prompt = False
        self.ignores_config = False
        #: directories whose models the server has found
        self._with_models: set[str] = set()

    async def has_needed_routes(self, within: float) -> bool:
        """Tell whether the server has the routes that we need; an early one may not."""
        try:
            await self.send_request(Data[dict[str, Any]], "GET", "/api/session/active", within=within)
            await self.send_request(Data[list[Any]], "GET", "/api/session", query={"limit": "1"}, within=within)
        except RouteMissing:
            return False
        except RequestRefused as error:
            if error.http_status != 404:
                raise
            return False
        return True

    async def read_version(self, within: float) -> str:
        try:
            return (await self.send_request(wire.Health, "GET", "/api/info", within=within)).version
        except RouteMissing:  # of the early form
            return (await self.send_request(wire.Health, "GET", "/api/health", within=within)).version

    def open_events(self, silence: float) -> aiohttp.client._RequestContextManager:
        return self.open_stream("/api/event", silence)

    def read_event(self, data: bytes) -> wire.WireEvent | None:
        return self._events.translate_event(data)

    # --- directories and sessions -------------------------------------------------------------

    async def prepare_directory(self, directory: str) -> None:
        """Wait until a directory has its agents and models: the server finds them in the background."""
        try:
            async with asyncio.timeout(MODEL_LIST_TIMEOUT_SECONDS):
                if self._own_directory is not None:
                    self.ignores_config = DISABLED_AGENT in await self._await_agents(self._own_directory)
                await self._await_agents(directory)
                while True:
                    if directory in self._with_models or await self._list_models(directory):
                        break
                    await asyncio.sleep(MODEL_LIST_PAUSE_SECONDS)
                self._with_models = {directory, *list(self._with_models)[:MAX_KNOWN_DIRECTORIES]}
        except TimeoutError:
            raise AgentError(
                f"opencode has no model in {directory}.",
                remedy="Sign in with `opencode auth login`, or add a provider to opencode's configuration.",
            ) from None

    async def _await_agents(self, directory: str) -> Collection[str]:
        """Return the ids of a directory's agents, when it has some."""
        while True:
            found = await self.send_request(Data[list[AgentInfo]], "GET", "/api/agent", query=_in(directory))
            if found.data:
                return {agent.id for agent in found.data}
            await asyncio.sleep(MODEL_LIST_PAUSE_SECONDS)

    async def _list_models(self, directory: str) -> Sequence[ModelRef]:
        return (await self.send_request(Data[list[ModelRef]], "GET", "/api/model", query=_in(directory))).data

    async def dispose_directory(self, directory: str) -> None:
        """Do nothing: the server decides what it holds."""

    async def create_session(self, directory: str, title: str, *, may_ask_questions: bool) -> wire.Session:
        # Without a title, opencode asks the model for one: an extra call that costs money.
        body = {"location": {"directory": directory}, "title": title}
        created = await self.send_request(Data[SessionInfo], "POST", "/api/session", body=body)
        return wire.Session(created.data.id, created.data.location.directory)

    async def read_session(self, session: str) -> wire.Session:
        info = await self._read_info(session)
        return wire.Session(info.id, info.location.directory)

    async def allow_questions(self, session: wire.Session, *, may_ask_questions: bool) -> None:
        """Do nothing: a question that nobody may answer is told to be unanswered."""

    async def list_helper_sessions(self, session: wire.Session) -> Sequence[wire.Session]:
        """Return those among the newest sessions; the events tell of them, too, but may have been lost."""
        query = {"limit": str(LISTED_SESSIONS)}
        newest = (await self.send_request(Data[list[ListedSession]], "GET", "/api/session", query=query)).data
        family = {session.id}
        for one in reversed(newest):  # a helper may have helpers, which are younger
            if isinstance(one.parent, str) and one.parent in family:
                family.add(one.id)
        return [wire.Session(id_) for id_ in family - {session.id}]

    async def is_busy(self, session: wire.Session) -> bool:
        active = await self.send_request(Data[dict[str, Any]], "GET", "/api/session/active")
        return session.id in active.data

    async def abort_session(self, session: wire.Session, within: float) -> None:
        await self.send_request(None, "POST", f"{_session_path(session)}/interrupt", within=within)

    async def _read_info(self, session: str) -> SessionInfo:
        path = f"/api/session/{quote_segment(session)}"
        return (await self.send_request(Data[SessionInfo], "GET", path)).data

    # --- prompts ------------------------------------------------------------------------------

    async def find_earlier_attempt(self, session: wire.Session, prompt: Prompt) -> None:
        """Take over the prompt of an earlier attempt, unless its work has failed or was interrupted.

        The server may also have one that it has not begun: it then takes the same id as the same prompt. A refused one
        may have been repeated without files, in this session, after it was refused in another one.
        """
        for attempt in () if prompt.begins_session else range(1, prompt.attempt):
            for is_repeated in (True, False):
                prompt.id = _name_prompt(prompt, attempt, is_repeated=is_repeated)
                found = await self._read_turn(session, Mark(None, prompt.id))
                if found is not None:
                    break
            if _has_failed(found):  # then a busy session works on the prompt of a later attempt
                continue
            if await self.is_busy(session) or _has_succeeded(found):
                prompt.is_sent = True
                if is_repeated:
                    prompt.files, prompt.is_repeated = (), True
                return
            if found is None:
                return
        prompt.id = _name_prompt(prompt, prompt.attempt, is_repeated=prompt.is_repeated)

    async def find_mark(self, session: wire.Session, prompt: Prompt) -> Mark:
        if prompt.is_sent and await self._read_turn(session, Mark(None, prompt.id)) is not None:
            return Mark(None, prompt.id)
        page = await self._read_page(session, {"limit": "1", "order": "desc"})
        return Mark(page.data[0].id if page.data else None, prompt.id)

    def is_earlier(self, info: wire.MessageInfo, mark: Mark) -> bool:
        """Return False: only messages after the prompt are read, and an earlier turn was stopped."""
        return False

    async def send_prompt(self, session: wire.Session, prompt: Prompt) -> None:
        await self._choose_model_and_agent(session, prompt)
        text = prompt.text
        if prompt.system_prompt and (prompt.begins_session or not await self._has_prompt(session)):
            # The API has no place for a system prompt.
            text = f"<instructions>\n{prompt.system_prompt}\n</instructions>\n\n{text}"
        content: dict[str, Any] = {"text": text}
        if prompt.files:
            content["files"] = [{"uri": file.url, "name": file.name} for file in prompt.files]
        for pause in (*PROMPT_RETRY_SECONDS, None):
            try:
                await self._post_prompt(session, prompt, content)
                return
            except ConnectionCut:  # the server may have it, and takes the same id only once
                if pause is None:
                    raise
                await asyncio.sleep(pause)
            except RequestRefused as error:
                if error.http_status != 409 or prompt.attempt == 1:
                    raise
                return  # the server has it, with other words: those of an earlier attempt

    async def take_back_prompt(self, session: wire.Session, mark: Mark) -> bool:
        """Return False: after a revert, 1.18 still gives the model the prompt."""
        return False

    async def read_files(self, session: wire.Session, message: str) -> Sequence[wire.FilePart]:
        """Return nothing: an assistant has no files; those of its tools are not for people."""
        return ()

    async def _has_prompt(self, session: wire.Session) -> bool:
        """Tell whether a session has a prompt: one may have failed before its first."""
        page = await self._read_page(session, {"limit": str(MESSAGES_PER_PAGE_2), "order": "asc"})
        return any(message.type == "user" for message in page.data)

    async def _post_prompt(self, session: wire.Session, prompt: Prompt, content: Mapping[str, Any]) -> None:
        """Post a prompt in the form that the server takes: flat in 2.x, its content inside of an object in 1.18."""
        path = f"{_session_path(session)}/prompt"
        common = {"id": prompt.id, "delivery": "queue"}
        forms: dict[bool, Mapping[str, Any]] = {True: {"prompt": content}, False: content}
        within = prompt.send_timeout
        try:
            await self.send_request(None, "POST", path, body={**common, **forms[self._nests_prompt]}, within=within)
        except RequestRefused as error:
            if error.http_status != 400:
                raise
            try:
                await self.send_request(
                    None, "POST", path, body={**common, **forms[not self._nests_prompt]}, within=within
                )
            except RequestRefused as second:
                raise (error if second.http_status == 400 else second) from None
            self._nests_prompt = not self._nests_prompt

    async def _choose_model_and_agent(self, session: wire.Session, prompt: Prompt) -> None:
        """Set the model and the agent of the session, if they are others."""
        info = await self._read_info(session.id)
        if (model := prompt.model) is not None and (
            info.model is None or (info.model.provider, info.model.id) != (model.provider, model.model)
        ):
            known = {(one.provider, one.id) for one in await self._list_models(session.directory)}
            if (model.provider, model.model) not in known:
                raise AgentError(
                    f"opencode has no model {model.provider}/{model.model}.", remedy="`opencode models` lists them."
                )
            body = {"model": {"providerID": model.provider, "id": model.model}}
            await self.send_request(None, "POST", f"{_session_path(session)}/model", body=body)
        if prompt.agent is not None and prompt.agent != info.agent:
            await self.send_request(None, "POST", f"{_session_path(session)}/agent", body={"agent": prompt.agent})

    # --- messages -----------------------------------------------------------------------------

    async def read_messages_after(self, session: wire.Session, mark: Mark) -> Sequence[wire.Message]:
        found = await self._read_turn(session, mark) or []
        told = [translate_message(message, session.id) for message in found]
        return [message for message in told if message is not None]

    async def _read_turn(self, session: wire.Session, mark: Mark) -> Sequence[Message] | None:
        """Return what follows a prompt until the next prompt, oldest first; None if it did not begin yet.

        Raises:
            AgentError: it is too large to be read.
        """
        newer: list[Message] = []
        query = {"limit": str(MESSAGES_PER_PAGE_2), "order": "desc"}
        size = 0
        while True:
            page = await self._read_page(session, query)
            for message in page.data:
                if message.id == mark.prompt:
                    return newer[::-1]
                if message.id == mark.newest:
                    return None
                newer, size = ([], 0) if message.type == "user" else ([*newer, message], size + _count_text(message))
            if size > MAX_OPENCODE_ANSWER_BYTES:
                raise AgentError("opencode's answer is too large.")
            if len(page.data) < MESSAGES_PER_PAGE_2 or not page.cursor.next:
                return None
            query = {"limit": str(MESSAGES_PER_PAGE_2), "cursor": page.cursor.next}

    async def _read_page(self, session: wire.Session, query: Mapping[str, str]) -> Page[Message]:
        return await self.send_request(Page[Message], "GET", f"{_session_path(session)}/message", query=query)

    # --- requests -----------------------------------------------------------------------------

    async def list_permission_requests(
        self, session: wire.Session, sessions: Collection[str]
    ) -> Sequence[wire.PermissionAsked]:
        found: list[wire.PermissionAsked] = []
        for name in sessions:
            open_ = await self._list_if_possible(
                list[PermissionRequest], f"/api/session/{quote_segment(name)}/permission"
            )
            found += [wire.PermissionAsked(one.id, name, one.action, read_resources(one.resources)) for one in open_]
        return found

    async def answer_permission(
        self, asked: wire.PermissionAsked, session: wire.Session, body: Mapping[str, str]
    ) -> None:
        path = f"/api/session/{quote_segment(asked.session)}/permission/{quote_segment(asked.id)}/reply"
        await self.send_request(None, "POST", path, body=body)

    async def list_questions(self, session: wire.Session, sessions: Collection[str]) -> Sequence[wire.QuestionAsked]:
        found: list[wire.QuestionAsked] = []
        for name in sessions:
            path = f"/api/session/{quote_segment(name)}"
            found += await self._list_if_possible(list[wire.QuestionAsked], f"{path}/question")
            found += [read_form(form) for form in await self._list_if_possible(list[Form], f"{path}/form")]
        return found

    async def _list_if_possible(self, kind: type[list[T]], path: str) -> Sequence[T]:
        """Return what a session has; nothing if it is gone, or if the server has no such list: only 2 has forms."""
        try:
            return (await self.send_request(Data[kind], "GET", path)).data  # type: ignore[valid-type]
        except RouteMissing:
            return []
        except RequestRefused as error:
            if error.http_status != 404:
                raise
            return []

    async def answer_question(
        self, asked: wire.QuestionAsked, session: wire.Session, content: AnswerContent | None
    ) -> None:
        path = f"/api/session/{quote_segment(asked.session)}"
        if not asked.is_form:
            body: dict[str, Any] = {"answers": render_answers(asked.questions, content)}
            await self.send_request(None, "POST", f"{path}/question/{quote_segment(asked.id)}/reply", body=body)
        elif content is None:
            await self.send_request(None, "POST", f"{path}/form/{quote_segment(asked.id)}/cancel")
        else:
            body = {"answer": content}
            await self.send_request(None, "POST", f"{path}/form/{quote_segment(asked.id)}/reply", body=body)


def _name_prompt(prompt: Prompt, attempt: int, *, is_repeated: bool) -> str:
    """Return the id that the prompt has in an attempt."""
    which = (f"_{prompt.round}" if prompt.round > 1 else "") + ("_again" if is_repeated else "")
    return f"msg_{prompt.run}_{attempt}{which}"


def _count_text(message: Message) -> int:
    return sum(len(content.text) for content in message.content)


def _has_succeeded(turn: Sequence[Message] | None) -> bool:
    last = _find_last_answer(turn)
    return last is not None and not _has_failed(turn) and last.finish != "tool-calls"


def _has_failed(turn: Sequence[Message] | None) -> bool:
    """Tell whether the last answer has failed, or was stopped, which leaves it without a reason for its end."""
    last = _find_last_answer(turn)
    return last is not None and (last.error is not None or last.finish in ("", "error"))


def _find_last_answer(turn: Sequence[Message] | None) -> Message | None:
    """Return the last answer of a turn; None if it is not complete, or there is none."""
    answers = [message for message in turn or () if message.type == "assistant"]
    return answers[-1] if answers and answers[-1].time.completed is not None else None


def _in(directory: str) -> Mapping[str, str]:
    return {"location[directory]": directory}


def _session_path(session: wire.Session) -> str:
    return f"/api/session/{quote_segment(session.id)}"
