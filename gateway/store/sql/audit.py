"""The audit log. An entry is written in the transaction of the change that it tells of: neither is there alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from gateway.domain.actor import Actor, ActorKind
from gateway.domain.audit import (
    MAX_AUDIT_DETAILS,
    MAX_AUDIT_TEXT_CHARACTERS,
    AuditEntry,
    AuditFilter,
    AuditNote,
)
from gateway.domain.page import Page
from gateway.security.unsafe_text import escape_unsafe
from gateway.store.sql.pieces import delete_some
from gateway.store.sql.transaction import Reader, Transaction

_AUDIT_COLUMNS = "seq, at, who_kind, who, address, action, target, outcome, details"
_details = msgspec.json.Decoder(dict[str, str]).decode


def add_entry(tx: Transaction, actor: Actor, note: AuditNote) -> None:
    is_known = actor.kind not in (ActorKind.SYSTEM, ActorKind.STRANGER)
    who = actor if is_known or note.actor is None else note.actor
    details = {key: clean_text(value) for key, value in list(note.details.items())[:MAX_AUDIT_DETAILS]}
    tx.insert(
        "INSERT INTO audit (at, who_kind, who, address, action, target, outcome, details)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            tx.now,
            who.kind,
            clean_text(who.name),
            clean_text(who.address),
            note.action,
            clean_text(note.target),
            note.outcome,
            json.dumps(details, ensure_ascii=False),
        ),
    )


def add_entries(tx: Transaction, actor: Actor, notes: Sequence[AuditNote]) -> None:
    for note in notes:
        add_entry(tx, actor, note)


def add_entry_of_change(
    tx: Transaction, actor: Actor, change: Callable[[Transaction], Any], describe: Callable[[Any], AuditNote | None]
) -> Any:
    """Make a change, and write its entry if it has written anything: a repeated request changes nothing."""
    before = tx.count_writes()
    result = change(tx)
    if tx.count_writes() != before and (note := describe(result)) is not None:
        add_entry(tx, actor, note)
    return result


def clean_text(text: str) -> str:
    r"""Return a text that is safe to show: cut, and with its control characters as `\u` escapes."""
    cut = text.encode("utf-8", "replace").decode()[: MAX_AUDIT_TEXT_CHARACTERS + 1]
    if len(cut) > MAX_AUDIT_TEXT_CHARACTERS:
        cut = cut[: MAX_AUDIT_TEXT_CHARACTERS - 1] + "…"
    return escape_unsafe(cut.replace("\t", "\\u0009").replace("\n", "\\u000a"))


def list_entries(reader: Reader, which: AuditFilter, page: Page) -> list[AuditEntry]:
    conditions: list[str] = ["seq < ?"]
    values: list[Any] = [1 << 62 if page.before is None else page.before]
    if which.after is not None:
        conditions.append("seq > ?")
        values.append(which.after)
    if which.since is not None:
        conditions.append("at >= ?")
        values.append(which.since)
    if which.who is not None:
        conditions.append("who = ?")
        values.append(which.who)
    if which.action is not None:
        conditions.append("action = ?" if "." in which.action else "action >= ? AND action < ?")
        values += [which.action] if "." in which.action else [which.action + ".", which.action + "/"]
    order = "DESC" if which.after is None else "ASC"
    rows = reader.execute(
        f"SELECT {_AUDIT_COLUMNS} FROM audit WHERE {' AND '.join(conditions)} ORDER BY seq {order} LIMIT ?",
        (*values, page.limit),
    )
    return [_decode_entry(row) for row in rows]


def prune_entries(tx: Transaction, before: int) -> bool:
    return delete_some(
        tx,
        "DELETE FROM audit WHERE seq IN (SELECT seq FROM audit WHERE at < :before ORDER BY at LIMIT :rows)",
        {"before": before},
    )


def _decode_entry(row: Sequence[Any]) -> AuditEntry:
    seq, at, who_kind, who, address, action, target, outcome, details = row
    return AuditEntry(
        seq=seq,
        at=at,
        who_kind=_read_kind(who_kind),
        who=who,
        address=address,
        action=action,
        target=target,
        outcome=outcome,
        details=_read_details(details),
    )


def _read_kind(text: str) -> ActorKind:
    try:
        return ActorKind(text)
    except ValueError:  # a newer version wrote it
        return ActorKind.SYSTEM


def _read_details(text: str) -> dict[str, str]:
    found: Mapping[str, str]
    try:
        found = _details(text)
    except msgspec.DecodeError:
        return {"unreadable": clean_text(text)}
    return dict(found)
