"""The audit log: `GET /api/audit`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from gateway.api import fields, paging
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain import times
from gateway.domain.audit import AuditEntry, AuditFilter
from gateway.domain.token import Scope

ROUTES = Routes("audit")


class WhichEntries(paging.Paging, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which entries to list."""

    #: only what this token, or `channel:chat`, did
    who: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    #: only this action, such as `token.created`, or the word before the dot for all of its kind
    action: Annotated[str, Meta(pattern=r"^[a-z_]+(\.[a-z_]+)?$(?!\n)", max_length=64)] | None = None
    #: only entries of this time or later; RFC 3339 with a time zone
    since: fields.Moment | None = None
    #: only entries with greater numbers, oldest first; the last `id` continues
    after: Annotated[int, Meta(ge=0, le=fields.MAX_LOG_POSITION)] | None = None


class AuditEntryShown(Struct, frozen=True, kw_only=True):
    """Who did what."""

    #: its number, from 1
    id: int
    at: str
    #: `token`, `browser`, `chat`, `stranger`, or `system` for the gateway itself
    who_kind: str
    #: name of the token, or `channel:chat`; empty for strangers and the gateway itself
    who: str
    #: where the request came from; empty if there was none
    address: str
    #: what was done, such as `token.created`
    action: str
    #: name or id of what was acted on
    target: str
    #: `done` or `refused`
    outcome: str
    #: more about it, by name
    details: dict[str, str]


class AuditList(Struct, frozen=True, kw_only=True):
    #: newest first; with `after`, oldest first
    entries: list[AuditEntryShown]
    #: send it as `cursor` to get the next page; null on the last page, and with `after`
    next_cursor: str | None


@ROUTES.add("GET", "/api/audit", scope=Scope.ADMIN, query=WhichEntries, answer=AuditList)
async def list_audit(call: Call[Nothing, WhichEntries]) -> AuditList:
    """List who did what, newest first: sign-ins, refused tokens, answers to agents, changes, starts and stops."""
    asked = call.query
    which = AuditFilter(
        who=asked.who,
        action=asked.action,
        since=None if asked.since is None else fields.parse_moment("since", asked.since),
        after=asked.after,
    )
    found = await call.engine.audit.list_entries(which, paging.page_to_fetch(asked))
    entries, cursor = paging.render_page(asked, found, lambda entry: entry.seq, _render_entry)
    return AuditList(entries=entries, next_cursor=cursor if asked.after is None else None)


def _render_entry(entry: AuditEntry) -> AuditEntryShown:
    return AuditEntryShown(
        id=entry.seq,
        at=times.format_rfc3339(entry.at),
        who_kind=entry.who_kind,
        who=entry.who,
        address=entry.address,
        action=entry.action,
        target=entry.target,
        outcome=entry.outcome,
        details=entry.details,
    )
