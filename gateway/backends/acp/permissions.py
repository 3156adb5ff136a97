"""Answers the permission requests of an agent in a turn: by its policy, or by asking people."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import NamedTuple

from acp.schema import PermissionOption, ToolCallUpdate

from gateway.backends.acp.connection import AgentConnection
from gateway.domain.agent import PermissionPolicy
from gateway.domain.event import Permission
from gateway.domain.permission import MAX_ACTION_CHARACTERS, PERMISSION_CHOICES, Answer, PermissionQuestion
from gateway.domain.ports.backend import Turn

#: characters of what people are told about "always"
MAX_ALWAYS_CHARACTERS = 150
#: the protocol's kinds of options for each answer, the best one first
_OPTION_KINDS = {
    Answer.ALLOW: ("allow_once", "allow_always"),
    Answer.ALLOW_ALWAYS: ("allow_always",),
    Answer.DENY: ("reject_once", "reject_always"),
}


class AnsweredRequest(NamedTuple):
    """A request of the turn that has its answer. It stands among the updates, so that it is read in its place."""

    call: ToolCallUpdate
    #: what the agent wanted to do
    action: str
    is_allowed: bool
    #: the answer of the policy; None if people were asked, for they report it themselves
    event: Permission | None


class PermissionResponder:
    """Answers the requests of one turn, and adds each of them and its answer to the updates."""

    def __init__(self, turn: Turn, connection: AgentConnection) -> None:
        self._turn = turn
        self._connection = connection
        #: questions that people have not answered yet
        self._waiting: set[asyncio.Future[Answer]] = set()
        #: whether people have allowed something always
        self.has_allowed_always = False

    async def answer_request(
        self, call: ToolCallUpdate, options: Sequence[PermissionOption]
    ) -> PermissionOption | None:
        """Choose an option by the agent's policy or the people's answer: for this once, unless they allow it always."""
        what = call.title or str(call.kind or "something")
        self._connection.add_update(call)  # some agents tell of a call only here
        if self._turn.agent.permission_policy is PermissionPolicy.ASK:
            answer = await self._ask_people(what, options)
            self.has_allowed_always |= answer is Answer.ALLOW_ALWAYS
            chosen, event = _find_option(answer, options), None
        else:
            allow = self._turn.agent.permission_policy is PermissionPolicy.ALLOW
            chosen = _find_option(Answer.ALLOW if allow else Answer.DENY, options)
            event = Permission(id=call.tool_call_id, action=what, answer=chosen.kind if chosen else "cancelled")
        is_allowed = chosen is not None and chosen.kind.startswith("allow")
        self._connection.add_update(AnsweredRequest(call, what, is_allowed, event))
        return chosen

    async def _ask_people(self, what: str, options: Sequence[PermissionOption]) -> Answer | None:
        """Ask people; return None if the turn has ended in the meantime."""
        kinds = {option.kind for option in options}
        choices = tuple(
            answer for answer in PERMISSION_CHOICES if answer is Answer.DENY or _OPTION_KINDS[answer][0] in kinds
        )
        action = f"{what[: MAX_ACTION_CHARACTERS - MAX_ALWAYS_CHARACTERS]}{_describe_always(options)}"
        asking = asyncio.ensure_future(self._turn.ask_permission(PermissionQuestion(action=action, choices=choices)))
        self._waiting.add(asking)
        asking.add_done_callback(self._waiting.discard)
        await asyncio.wait({asking})
        return None if asking.cancelled() else asking.result()

    def withdraw_questions(self) -> None:
        """Cancel the open questions: the protocol wants them answered as cancelled when a turn ends."""
        for asking in self._waiting:
            asking.cancel()


def _describe_always(options: Sequence[PermissionOption]) -> str:
    """Return what the agent says of "always", if it says more: it may mean a mode in which nothing is asked."""
    option = _find_option(Answer.ALLOW_ALWAYS, options)
    if option is None or re.sub(r"[\W_]", "", option.name.casefold()) in ("always", "alwaysallow", "allowalways"):
        return ""
    return f" (always: {option.name})"[:MAX_ALWAYS_CHARACTERS]


def _find_option(answer: Answer | None, options: Sequence[PermissionOption]) -> PermissionOption | None:
    """Return the option for an answer; None if there is none: the agent then takes the turn as cancelled."""
    kinds = () if answer is None else _OPTION_KINDS[answer]
    return next((one for kind in kinds for one in options if one.kind == kind), None)
