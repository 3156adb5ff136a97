"""Which changes the audit log tells of, and what it says of each."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from gateway.domain.actor import Actor, ActorKind
from gateway.domain.agent import AgentDraft, AgentEdit, StoredAgent
from gateway.domain.audit import AuditAction, AuditNote
from gateway.domain.generation import GenerationRecord
from gateway.domain.permission import Answer, PermissionRequest
from gateway.domain.schedule import Schedule
from gateway.domain.token import Token

# Each function gets what the operation returned, and then its arguments.


def describe_token(_: None, token: Token, *more: Any, **named: Any) -> AuditNote:
    reach = {"agents": token.agents, "sessions": token.sessions}
    details = {name: ", ".join(some) for name, some in reach.items() if some is not None}
    return AuditNote(action=AuditAction.TOKEN_CREATED, target=token.name, details={"scope": token.scope, **details})


def describe_revoked(revoked: bool, name: str) -> AuditNote | None:
    return AuditNote(action=AuditAction.TOKEN_REVOKED, target=name) if revoked else None


def describe_sign_in(_: Any, sign_in: Token, *more: Any, **named: Any) -> AuditNote:
    return AuditNote(
        action=AuditAction.BROWSER_SIGNED_IN,
        target=sign_in.name,
        details={"browser": sign_in.browser or "", "scope": sign_in.scope},
    )


def describe_answer(
    _: PermissionRequest, run: str, n: int, answer: Answer, by: str, *more: Any, **others: Any
) -> AuditNote:
    """Outside of a request, a person in a chat has answered."""
    return AuditNote(
        action=AuditAction.PERMISSION_ANSWERED,
        target=f"{run}/p{n}",
        details={"answer": str(answer)},
        actor=Actor(kind=ActorKind.CHAT, name=by),
    )


def describe_made_agent(made: StoredAgent, draft: AgentDraft, base: str, *more: Any, **named: Any) -> AuditNote:
    return AuditNote(action=AuditAction.AGENT_CREATED, target=draft.slug, details={"id": made.id, "base": base})


def describe_changed_agent(now: StoredAgent, agent_id: str, changes: AgentEdit) -> AuditNote:
    names = [name for name in changes.__struct_fields__ if getattr(changes, name) is not UNSET]
    details = {"id": agent_id, "changed": ", ".join(names)}
    return AuditNote(action=AuditAction.AGENT_CHANGED, target=now.slug, details=details)


def describe_deleted_agent(deleted: bool, agent_id: str) -> AuditNote | None:
    return AuditNote(action=AuditAction.AGENT_DELETED, target=agent_id) if deleted else None


def describe_made_schedule(made: Schedule, *more: Any, **named: Any) -> AuditNote:
    return AuditNote(action=AuditAction.SCHEDULE_CREATED, target=made.id, details=_describe_schedule(made))


def describe_changed_schedule(now: Schedule | None, *more: Any, **named: Any) -> AuditNote | None:
    if now is None:
        return None
    return AuditNote(action=AuditAction.SCHEDULE_CHANGED, target=now.id, details=_describe_schedule(now))


def describe_deleted_schedule(_: None, schedule_id: str) -> AuditNote:
    return AuditNote(action=AuditAction.SCHEDULE_DELETED, target=schedule_id)


def describe_deleted_session(_: Any, key: str, **how: Any) -> AuditNote:
    return AuditNote(action=AuditAction.SESSION_DELETED, target=key)


def describe_notes(saved: bool, *_: Any, audited: AuditNote | None = None, **more: Any) -> AuditNote | None:
    return audited if saved else None


def describe_start(_: None, record: GenerationRecord) -> AuditNote:
    details = {"version": record.version, "instance": _name_instance(record.owner)}
    return AuditNote(action=AuditAction.GATEWAY_STARTED, target=_name_generation(record.generation), details=details)


def describe_end(_: None, owner: str, generation: int, reason: str) -> AuditNote:
    details = {"reason": reason, "instance": _name_instance(owner)}
    return AuditNote(action=AuditAction.GATEWAY_ENDED, target=_name_generation(generation), details=details)


def _name_generation(generation: int) -> str:
    return f"generation {generation}"


def _name_instance(owner: str) -> str:
    """Return the instance in the name of a process, which tells apart the gateways of a fleet."""
    return owner.partition("@")[0]


def _describe_schedule(schedule: Schedule) -> dict[str, str]:
    spec = schedule.spec
    about = {"name": spec.name, "times": spec.expression, "agent": spec.agent or ""}
    return {"enabled": "yes" if schedule.enabled else "no", **{key: value for key, value in about.items() if value}}
