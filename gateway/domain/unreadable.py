"""Unreadable rows: what is stored, but cannot be decoded. Others of their kind go on without them."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class RowKind(StrEnum):
    """What an unreadable row is about."""

    TASK = "task"
    EVENT = "event"
    PERMISSION = "permission"
    DELIVERY = "delivery"
    SCHEDULE = "schedule"
    FIRE = "fire"
    SESSION = "session"
    MESSAGE = "message"
    AGENT = "agent"
    TOKEN = "token"  # noqa: S105 a word, and no secret
    NOTE = "note"
    PROCESS = "process"
    FILE = "file"
    PROJECT = "project"


class UnreadableRow(Struct, frozen=True, kw_only=True):
    """A row that was set aside, and why."""

    kind: RowKind
    #: its primary key, with a slash between the parts; for an event, a permission or a fire, that of its owner first
    id: str
    reason: str
    #: when it was found, in milliseconds since 1970 UTC
    found: int
