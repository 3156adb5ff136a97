"""Turns the entries of XCClaw's files into those of `POST /api/import`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

#: times in numbers above this one are milliseconds since 1970 UTC, those below it seconds
_FIRST_MILLISECONDS = 100_000_000_000
_STATUSES = {
    "pending": "pending created queued waiting scheduled running executing in_progress started",
    "completed": "completed complete success succeeded done finished ok",
    "failed": "failed failure error timeout",
    "aborted": "aborted cancelled canceled stopped",
}
_STATUS_OF_WORD = {word: status for status, words in _STATUSES.items() for word in words.split()}
_RUNNING_WORDS = ("running", "executing", "in_progress", "started")
_TASK_TYPES = ("ephemeral", "persistent", "scheduled")
_ROLE_OF_WORD = {"user": "user", "human": "user", "assistant": "assistant", "ai": "assistant", "agent": "assistant"}
#: fields that say what the gateway works out by itself
_DERIVED_FIELDS = ("updated_at", "next_run", "next_run_time", "last_run", "last_run_at", "message_count")


class Unusable(Exception):
    """A file or an entry that cannot be imported; the message says why."""


class Fields:
    """The fields of an entry, with names in snake_case. Remembers which ones were read."""

    def __init__(self, fields: Mapping[str, Any], key: str | None) -> None:
        """Args:
        key: the entry's name in an object by id.
        """
        self._fields = fields
        self._read = set(_DERIVED_FIELDS)
        self.key = key
        self.was_running = False

    def list_unread(self) -> tuple[str, ...]:
        return tuple(sorted(self._fields.keys() - self._read))

    def find_value(self, *names: str) -> Any:
        """Return the value of the first of these fields that is there and not null; None if there is none."""
        for name in names:
            if self._fields.get(name) is not None:
                self._read.add(name)
                return self._fields[name]
        self._read.update(names)
        return None

    def read_id(self, *names: str) -> str:
        found = self.find_value(*names)
        if found is None:
            found = self.key
        if found is None:  # the same entry has the same id next time
            text = json.dumps(self._fields, sort_keys=True)
            found = f"xcclaw-{hashlib.sha256(text.encode()).hexdigest()[:32]}"
        return _expect_name(names[0], found)

    def read_text(self, *names: str) -> str | None:
        """Return a text; of another value, its JSON."""
        found = self.find_value(*names)
        return found if found is None or isinstance(found, str) else json.dumps(found, ensure_ascii=False)

    def require_text(self, *names: str) -> str:
        found = self.find_value(*names)
        if not isinstance(found, str) or not found:
            raise Unusable(f"{names[0]}: it has none." if found in (None, "") else f"{names[0]}: it is not a text.")
        return found

    def read_word(self, *names: str) -> str | None:
        """Return a word of an enumeration, also if Python's name of its class comes before it."""
        found = self.find_value(*names)
        if found is not None and not isinstance(found, str):
            raise Unusable(f"{names[0]}: it is not a text.")
        return found.rpartition(".")[2].strip().lower() if found else None

    def read_flag(self, *names: str, default: bool) -> bool:
        found = self.find_value(*names)
        flag = {"true": True, "1": True, "false": False, "0": False, "none": default}.get(str(found).lower())
        if flag is None:
            raise Unusable(f"{names[0]}: it is neither true nor false.")
        return flag

    def read_time(self, *names: str) -> str | None:
        """Return a time as RFC 3339 in UTC; one without a zone is a time of this machine's zone."""
        found = self.find_value(*names)
        return None if found is None else _format_moment(names[0], found)


def read_schedule(of: Fields) -> dict[str, Any]:
    identifier = of.read_id("id", "schedule_id", "job_id")
    of.find_value("created_at")
    return {
        "id": identifier,
        "name": of.read_text("name", "title") or "",
        "cron": of.require_text("cron", "cron_expression", "cron_expr", "expression", "schedule"),
        "prompt": of.require_text("prompt", "message", "text", "input", "task"),
        "enabled": of.read_flag("enabled", "is_enabled", "active", "is_active", default=True),
    }


def read_session(of: Fields) -> dict[str, Any]:
    identifier = of.read_id("id", "session_id")
    messages = of.find_value("messages", "history", "transcript")
    if messages is not None and not isinstance(messages, list):
        raise Unusable("messages: it is not a list.")
    read = [_read_message(number, message) for number, message in enumerate(messages or [], start=1)]
    return _leave_out_none(
        {
            "id": identifier,
            "name": of.read_text("name", "title") or identifier,
            "created_at": of.read_time("created_at", "created"),
            "messages": [message for message in read if message is not None],
        }
    )


def read_open_task(of: Fields) -> dict[str, Any]:
    """Return an entry of `tasks.json`; one without a status has not begun."""
    return _read_task(of, lambda: "pending")


def read_ended_task(of: Fields) -> dict[str, Any]:
    """Return an entry of `task_history.json`; one without a status has failed if it has an error."""
    return _read_task(of, lambda: "completed" if of.find_value("error", "error_message") is None else "failed")


READERS: Mapping[str, Callable[[Fields], dict[str, Any]]] = {
    "schedules.json": read_schedule,
    "persistent_sessions.json": read_session,
    "task_history.json": read_ended_task,
    "tasks.json": read_open_task,
}


def describe_id(fields: Mapping[str, Any], label: str) -> str:
    """Return how people find an entry that cannot be used: its id, or its place in the file."""
    found = fields.get("id")
    return str(found) if isinstance(found, str | int) else label


def _read_task(of: Fields, guess_status: Callable[[], str]) -> dict[str, Any]:
    identifier = of.read_id("id", "task_id")
    kind = of.read_word("type", "task_type", "session_type") or "ephemeral"
    if kind not in _TASK_TYPES:
        raise Unusable(f"type: {kind[:64]!r} is none of {', '.join(_TASK_TYPES)}.")
    word = of.read_word("status", "state") or guess_status()
    if word not in _STATUS_OF_WORD:
        raise Unusable(f"status: {word[:64]!r} is unknown here.")
    of.was_running = word in _RUNNING_WORDS
    session = of.find_value("session_id", "schedule_id", "persistent_session_id")
    return _leave_out_none(
        {
            "id": identifier,
            "type": kind,
            "prompt": of.require_text("prompt", "message", "text", "input"),
            "status": _STATUS_OF_WORD[word],
            "session_id": None if session in (None, "") else _expect_name("session_id", session),
            "result": of.read_text("result", "output", "response", "reply"),
            "error": of.read_text("error", "error_message"),
            "created_at": of.read_time("created_at", "created", "timestamp"),
            "started_at": of.read_time("started_at", "started", "executed_at"),
            "finished_at": of.read_time("finished_at", "completed_at", "ended_at", "finished"),
        }
    )


def _read_message(number: int, message: Any) -> dict[str, Any] | None:
    """Return a message; None for one that nobody has said, such as a system prompt."""
    where = f"messages: #{number}"
    if not isinstance(message, dict):
        raise Unusable(f"{where} is not an object.")
    info = message.get("info")
    role = str((info if isinstance(info, dict) else message).get("role") or "").lower()
    if role in ("system", "tool"):
        return None
    if role not in _ROLE_OF_WORD:
        raise Unusable(f"{where} has the role {role[:64]!r}, which is unknown here.")
    of = Fields(message, None)
    content = of.find_value("content", "text", "parts", "message")
    if isinstance(content, list):
        texts = [part.get("text") if isinstance(part, dict) else part for part in content]
        content = "".join(text for text in texts if isinstance(text, str))
    if not isinstance(content, str):
        raise Unusable(f"{where} has no text.")
    at = of.read_time("at", "created_at", "timestamp", "time")
    return _leave_out_none({"role": _ROLE_OF_WORD[role], "content": content, "at": at})


def _expect_name(name: str, found: Any) -> str:
    if isinstance(found, bool) or not isinstance(found, str | int) or found == "":
        raise Unusable(f"{name}: it is neither a text nor a number.")
    return str(found)


def _format_moment(name: str, found: Any) -> str:
    try:
        if isinstance(found, str):
            moment = datetime.fromisoformat(found).astimezone(UTC)
        elif isinstance(found, int | float) and not isinstance(found, bool):
            moment = datetime.fromtimestamp(found / 1000 if found >= _FIRST_MILLISECONDS else found, UTC)
        else:
            raise ValueError
    except (ValueError, OverflowError, OSError) as error:
        raise Unusable(f"{name}: {str(found)[:64]!r} is not a time.") from error
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _leave_out_none(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
