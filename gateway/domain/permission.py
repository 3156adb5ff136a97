"""Permission requests: what an agent asks permission for, or asks people, and the answers."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct

from gateway.domain.question import AnswerContent, Question

#: longest description of an action
MAX_ACTION_CHARACTERS = 500


class Answer(StrEnum):
    """An answer to a permission request."""

    ALLOW = "allow"
    #: this time and each time that it asks for the same again, as long as the agent itself remembers the answer
    ALLOW_ALWAYS = "allow_always"
    #: of a question: nobody answers it
    DENY = "deny"
    #: the answer to a question, with its content
    ANSWER = "answer"


#: the answers to a permission request, and to a question
PERMISSION_CHOICES = (Answer.ALLOW, Answer.ALLOW_ALWAYS, Answer.DENY)
QUESTION_CHOICES = (Answer.ANSWER, Answer.DENY)


class GivenAnswer(NamedTuple):
    """The answer to a request."""

    answer: Answer
    #: the answers to the fields of a question; None if it was denied, or is no question
    content: AnswerContent | None = None


class DenialReason(StrEnum):
    """Why a request was denied without an answer."""

    #: nobody answered in time
    DEADLINE = "deadline"
    #: the agent no longer waits for an answer
    WITHDRAWN = "withdrawn"


class PermissionQuestion(Struct, frozen=True, kw_only=True):
    """A permission that an agent asks for, before it is stored; or a question."""

    #: description for people
    action: str
    #: the possible answers
    choices: tuple[Answer, ...] = (Answer.ALLOW, Answer.DENY)
    #: what the agent asks if a yes or a no is no answer to it
    question: Question | None = None


class PermissionRequest(Struct, frozen=True, kw_only=True):
    """A stored permission request. Times are milliseconds since 1970 UTC."""

    #: id of the run
    run: str
    #: 1 for the run's first request, counted over all its attempts
    number: int
    #: number of the event that announces it
    event_number: int
    action: str
    choices: tuple[Answer, ...]
    asked: int
    #: when it is denied unless somebody answers before
    expires: int
    answer: Answer | None = None
    answered: int | None = None
    #: who answered: the name of a token, or a channel and its chat
    answered_by: str = ""
    #: why it was denied, if nobody answered
    denial_reason: DenialReason | None = None
    #: what the agent asks, if it is a question; and the content of the answer
    question: Question | None = None
    content: AnswerContent | None = None

    @property
    def id(self) -> str:
        return format_request_id(self.number)


class AskedPermission(Struct, frozen=True, kw_only=True):
    """A stored permission request in the list of all runs."""

    #: order of asking
    seq: int
    request: PermissionRequest
    #: id of the agent that asks
    agent: str
    #: key of the run's session
    session: str


def format_request_id(n: int) -> str:
    """Return the id of a run's n-th request."""
    return f"p{n}"


def parse_request_id(name: str) -> int | None:
    """Return the number in the id of a request, or None if this is not such an id."""
    return int(name[1:]) if re.fullmatch(r"p[1-9][0-9]{0,8}", name, re.ASCII) else None
