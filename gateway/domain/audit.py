"""The audit log: who did what, and when. Entries are added and pruned, and never changed."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from gateway.domain.actor import Actor, ActorKind

#: characters of a name, target or value in an entry, and values in its details
MAX_AUDIT_TEXT_CHARACTERS, MAX_AUDIT_DETAILS = 200, 20


class AuditAction(StrEnum):
    """What was done. Words are added, and never change their meaning."""

    BROWSER_SIGNED_IN = "browser.signed_in"
    TOKEN_CREATED = "token.created"  # noqa: S105 a word, and no secret
    TOKEN_REVOKED = "token.revoked"  # noqa: S105 a word, and no secret
    #: wrong tokens, codes, cookies or signatures, and tokens whose scope is too low: one entry for each caller and
    #: minute
    ACCESS_REFUSED = "access.refused"
    PERMISSION_ANSWERED = "permission.answered"
    AGENT_CREATED = "agent.created"
    AGENT_CHANGED = "agent.changed"
    AGENT_DELETED = "agent.deleted"
    SCHEDULE_CREATED = "schedule.created"
    SCHEDULE_CHANGED = "schedule.changed"
    SCHEDULE_DELETED = "schedule.deleted"
    SESSION_DELETED = "session.deleted"
    CHANNEL_CODE_MADE = "channel.code_made"
    CHANNEL_CHAT_PAIRED = "channel.chat_paired"
    CHANNEL_CHAT_REMOVED = "channel.chat_removed"
    #: the settings of a start differ from those of the start before
    SETTINGS_CHANGED = "settings.changed"
    GATEWAY_STARTED = "gateway.started"
    GATEWAY_ENDED = "gateway.ended"
    RESTART_ASKED = "gateway.restart_asked"
    STOP_ASKED = "gateway.stop_asked"
    DATA_IMPORTED = "data.imported"
    DATA_RESTORED = "data.restored"


class AuditOutcome(StrEnum):
    """How it went."""

    DONE = "done"
    REFUSED = "refused"


class AuditNote(Struct, frozen=True, kw_only=True):
    """What an entry says beyond who and when."""

    action: AuditAction
    #: name or id of what was acted on; empty if there is nothing of that kind
    target: str = ""
    outcome: AuditOutcome = AuditOutcome.DONE
    details: Mapping[str, str] = {}
    #: who did it, where no token says that
    actor: Actor | None = None


class AuditEntry(Struct, frozen=True, kw_only=True):
    """One entry."""

    #: order of the entries, from 1
    seq: int
    #: milliseconds since 1970 UTC
    at: int
    who_kind: ActorKind
    who: str
    #: where the request came from; empty if there was none
    address: str
    action: str
    target: str
    outcome: str
    details: dict[str, str]


class AuditFilter(Struct, frozen=True, kw_only=True):
    """Which entries to list; None matches all."""

    #: name of a token, or `channel:chat`
    who: str | None = None
    #: an action, or the word before its dot
    action: str | None = None
    #: entries of this time or later, in milliseconds since 1970 UTC
    since: int | None = None
    #: entries with greater numbers
    after: int | None = None
