"""What clients see of a permission request or a question."""

from __future__ import annotations

from msgspec import Struct

from gateway.api.views.time import render_time
from gateway.domain import times
from gateway.domain.permission import PermissionRequest
from gateway.domain.question import AnswerContent, Question


class PermissionShown(Struct, frozen=True, kw_only=True):
    """A permission request or a question of an agent, as the HTTP API shows it."""

    #: `p1` for the first request of the task
    id: str
    #: id of the task whose agent asks
    task: str
    #: what the agent wants to do, or its question in short
    action: str
    #: the possible answers: allow, allow_always, deny; to a question answer, deny
    choices: list[str]
    asked_at: str
    #: when it is denied if nobody has answered
    expires_at: str
    #: the answer; null while it waits
    answer: str | None
    #: when it was answered; null while it waits
    answered_at: str | None
    #: who answered: a token's name, or a channel and its chat; null if nobody did
    answered_by: str | None
    #: why it was denied without an answer: deadline or withdrawn
    reason: str | None
    #: what the agent asks; null if it asks for permission, and for nothing else
    question: Question | None
    #: the answers to the fields of the question, by their names; null while it waits
    content: AnswerContent | None


def render_permission(of: PermissionRequest) -> PermissionShown:
    return PermissionShown(
        id=of.id,
        task=of.run,
        action=of.action,
        choices=list(of.choices),
        asked_at=times.format_rfc3339(of.asked),
        expires_at=times.format_rfc3339(of.expires),
        answer=of.answer,
        answered_at=render_time(of.answered),
        answered_by=of.answered_by or None,
        reason=of.denial_reason,
        question=of.question,
        content=of.content,
    )
