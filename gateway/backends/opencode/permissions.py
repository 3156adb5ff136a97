"""Answers what an opencode agent asks during one turn: by the agent's policy, or by asking people."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from typing import Any

from gateway.backends.opencode import wire
from gateway.backends.opencode.calls import RequestRefused
from gateway.backends.opencode.driven_server import DrivenServer
from gateway.backends.opencode.questions import make_question
from gateway.domain.agent import PermissionPolicy
from gateway.domain.event import BackendEvent, Log, Permission
from gateway.domain.permission import PERMISSION_CHOICES, Answer, PermissionQuestion
from gateway.domain.ports.backend import Turn
from gateway.domain.question import AnswerContent
from gateway.errors import AgentError

#: seconds after which an answer that the server has not taken is sent again
ANSWER_RETRY_SECONDS = (0.2, 1.0, 4.0)

#: what the model reads with a denial, so that it can go on by other means; without a message its turn would end
_DENIED_BY_POLICY = "Denied by policy, and nobody can be asked: go on without it, or say that it is needed."
_DENIED_BY_PEOPLE = "Denied by the user, or nobody answered: go on without it, or say that it is needed."
#: opencode's words for the answers
_REPLY_WORDS = {Answer.ALLOW: "once", Answer.ALLOW_ALWAYS: "always", Answer.DENY: "reject"}
#: the permission that a model needs to go on when it repeats itself; a denial must end the turn
_REPETITION = "doom_loop"


class PermissionResponder:
    """Answers the requests of one turn, each once."""

    def __init__(self, api: DrivenServer, session: wire.Session, turn: Turn) -> None:
        self._api = api
        self._session = session
        self._turn = turn
        self._seen: set[str] = set()
        #: questions that people have not answered yet, by opencode's ids of the requests
        self._open_questions: dict[str, asyncio.Task[None]] = {}
        self._remarks: list[BackendEvent] = []
        self._failure: BaseException | None = None
        #: the action that was denied last; None if none was
        self.denied: str | None = None
        #: whether that denial came without a message to the model, which ends the turn
        self.ends_turn = False

    @property
    def is_waiting(self) -> bool:
        """Whether people still have to answer something."""
        return bool(self._open_questions)

    async def answer_request(self, asked: wire.PermissionAsked) -> Sequence[BackendEvent]:
        """Answer a request, or start to ask people about it; return the events of the answer."""
        if asked.id in self._seen:
            return []
        self._seen.add(asked.id)
        action = f"{asked.permission}: {', '.join(asked.patterns)}"[:500]
        policy = self._turn.agent.permission_policy
        if policy is PermissionPolicy.ASK:
            self._start_asking(asked.id, self._ask_people(asked, action))
            return []
        answer = Answer.ALLOW if policy is PermissionPolicy.ALLOW else Answer.DENY
        await self._send_answer(asked, action, answer, _DENIED_BY_POLICY)
        return [Permission(id=asked.id, action=action, answer=str(policy))]

    def answer_question(self, asked: wire.QuestionAsked) -> None:
        """Start to ask people a question of the agent."""
        if asked.id not in self._seen:
            self._seen.add(asked.id)
            self._start_asking(asked.id, self._pass_on_question(asked))

    def take_remarks(self) -> Sequence[BackendEvent]:
        """Return what there is to say about answers that people have given, once."""
        remarks, self._remarks = self._remarks, []
        return remarks

    def raise_failure(self) -> None:
        """Check that the agent gets its answers; it would wait for a lost one for ever.

        Raises:
            GatewayError: one could not be found out, or not be given to it.
        """
        if self._failure is not None:
            raise self._failure

    def withdraw_question(self, request: str) -> None:
        """Stop asking people: the request was answered with another one, or by another client."""
        if (question := self._open_questions.get(request)) is not None:
            question.cancel()

    def withdraw_all_except(self, requests: Collection[str]) -> None:
        """Stop asking people about requests that are not in the given ones."""
        for gone in self._open_questions.keys() - set(requests):
            self.withdraw_question(gone)

    def withdraw_all(self) -> Sequence[asyncio.Task[None]]:
        """Stop asking people; return the tasks that are about to end."""
        questions = [*self._open_questions.values()]
        for question in questions:
            question.cancel()
        return questions

    def denial_error(self) -> AgentError:
        """Return the error of a turn that ended because of a denial."""
        if self._turn.agent.permission_policy is PermissionPolicy.ASK:
            return AgentError(f"the agent ended without an answer when it was not allowed: {self.denied}.")
        return AgentError(
            f"the agent ended without an answer: permission was denied by policy ({self.denied}).",
            remedy="Allow it by `permission` in the agent's `config`, or set its `permissions` to `allow`.",
        )

    def _start_asking(self, request: str, asking: Coroutine[Any, Any, None]) -> None:
        """Ask people, in a task: the turn must hear meanwhile when the server ends."""
        question = asyncio.create_task(asking, name="opencode-ask")
        self._open_questions[request] = question
        question.add_done_callback(lambda done: self._end_asking(request, done))

    def _end_asking(self, request: str, done: asyncio.Task[None]) -> None:
        del self._open_questions[request]
        if not done.cancelled() and self._failure is None:
            self._failure = done.exception()

    async def _pass_on_question(self, asked: wire.QuestionAsked) -> None:
        question = make_question(asked.questions) if asked.questions else asked.form
        # Of a form that people cannot be asked, the agent hears that nobody answers.
        content = None if question is None else await self._turn.ask_question(question)
        try:
            await self._send_question_answer(asked, content)
        except RequestRefused as error:
            if content is None or error.http_status != 400:
                raise
            said = f"the agent hears that nobody answers, because its server did not take the answer: {error}"
            self._remarks.append(Log(level="warning", message=said))
            await self._send_question_answer(asked, None)

    async def _send_question_answer(self, asked: wire.QuestionAsked, content: AnswerContent | None) -> None:
        await _send_until_taken(
            lambda: self._api.answer_question(asked, self._session, content),
            lambda: self._api.list_questions(self._session, [asked.session]),
            asked.id,
        )

    async def _ask_people(self, asked: wire.PermissionAsked, action: str) -> None:
        answer = await self._turn.ask_permission(PermissionQuestion(action=action, choices=PERMISSION_CHOICES))
        await self._send_answer(asked, action, answer, _DENIED_BY_PEOPLE)

    async def _send_answer(self, asked: wire.PermissionAsked, action: str, answer: Answer, why: str) -> None:
        body = {"reply": _REPLY_WORDS[answer]}
        if answer is Answer.DENY:
            self.denied = action
            self.ends_turn = asked.permission == _REPETITION
            body |= {} if self.ends_turn else {"message": why}
        await _send_until_taken(
            lambda: self._api.answer_permission(asked, self._session, body),
            lambda: self._api.list_permission_requests(self._session, [asked.session]),
            asked.id,
        )


async def _send_until_taken(
    send: Callable[[], Awaitable[None]],
    list_open: Callable[[], Awaitable[Sequence[wire.PermissionAsked | wire.QuestionAsked]]],
    request: str,
) -> None:
    """Send an answer, and again if it does not arrive, unless its request is gone.

    A request may be gone because another client has answered it, or because it ended with its tool.

    Raises:
        AgentError: the server does not take the answer.
    """
    for pause in (*ANSWER_RETRY_SECONDS, None):
        try:
            await send()
            return
        except AgentError as error:
            with contextlib.suppress(AgentError):  # whether it is gone is not known
                if request not in [one.id for one in await list_open()]:
                    return
            if pause is None or (isinstance(error, RequestRefused) and error.http_status == 400):
                raise
        await asyncio.sleep(pause)
