"""Judges what a server says about its failure, wherever it says it: in the status, in the body or inside the stream.

Servers have no common form for it. A failure may have an HTTP status as a number or as a text, a name such as
`rate_limit_error`, both, or only a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, NamedTuple

from gateway.backends.openai import refusal, wire
from gateway.errors import AgentError

_KEY_REMEDY = "Check `api_key`, `api_key_file` or `api_key_env`."
#: what to do about an HTTP status
REMEDY_BY_STATUS = {401: _KEY_REMEDY, 403: _KEY_REMEDY, 404: "Check `base_url` and the model's name."}
#: statuses below 500 that another try may get over
_TEMPORARY_STATUSES = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
#: names of failures that another try would meet again
_PERMANENT_NAMES = re.compile(
    r"invalid|bad_?request|validation|unprocessable|unsupported|not_?(found|supported)|authenti|unauthori[sz]ed"
    r"|permission|forbidden|billing|content_?(filter|policy)|moderation|context_?(length|window)|too_?(long|large)"
)
#: an account without credit: OpenAI answers 429 for it, too
_NO_CREDIT = re.compile(r"quota|insufficient (balance|credit|funds)", re.IGNORECASE)
#: a limit of a minute that is called a quota: Google's
_PASSING_QUOTA = re.compile(r"retry in|per[ _]?minute|e\.g\. check quota", re.IGNORECASE)
#: fields that hold a status or a name
_STATUS_FIELDS = ("status_code", "http_status_code", "code", "status", "error_code")
_NAME_FIELDS = ("type", "error_type", *_STATUS_FIELDS)


class TemporaryFailure(AgentError):
    """The model's server failed, but another try may succeed."""

    def __init__(self, message: str, after: float | None = None, status: int | None = None) -> None:
        super().__init__(message)
        #: seconds that the server asks to wait; None if it did not
        self.retry_after = after
        #: the HTTP status that it has or names; None if it has none
        self.server_status = status


class ConnectionCut(TemporaryFailure):
    """The server cut the connection. Some do so in place of refusing what is too large for them."""


class ServerComplaint(NamedTuple):
    """What a server says about a failure."""

    #: its sentence, as it came; empty if it has none
    words: str
    #: the HTTP status that it means; None if it names none
    status: int | None = None
    #: its own names for the failure, in lower case
    names: str = ""
    #: the fields of the error itself
    fields: Mapping[str, Any] = MappingProxyType({})

    @property
    def is_temporary(self) -> bool:
        """Whether another try may succeed. A failure that says nothing about it may have been an accident."""
        if _NO_CREDIT.search(f"{self.words} {self.names}") and not _PASSING_QUOTA.search(self.words):
            return False
        if self.status is not None:
            return self.status in _TEMPORARY_STATUSES or self.status >= 500
        return _PERMANENT_NAMES.search(self.names) is None

    def make_error(self, message: str, *, retry_after: float | None = None, has_files: bool = False) -> AgentError:
        """Return the error to raise: a refusal of the prompt, or a `TemporaryFailure` if another try may succeed.

        Args:
            has_files: whether the request had files, which the server may refuse.
        """
        words = f"{self.words} {self.names}".lower()
        refused = refusal.find_refusal(self.status, words, self.fields, message, has_files=has_files)
        if refused is not None:
            return refused
        if self.is_temporary:
            return TemporaryFailure(message, retry_after, self.status)
        return AgentError(message, remedy=REMEDY_BY_STATUS.get(self.status or 0))


def read_error_body(body: bytes) -> ServerComplaint:
    """Return what the body of an error says, which may be JSON, a text or a page."""
    try:
        return read_complaint(wire.decode_json(body))
    except wire.DECODE_ERRORS:
        return ServerComplaint(words=wire.read_error(body))


def read_complaint(said: Any) -> ServerComplaint:
    """Return what a JSON value says about a failure: its own fields, or those of the error in it."""
    parts = [said]
    while (inner := _find_inner_error(parts[-1])) is not None:
        parts.append(inner)
    fields = [part for part in reversed(parts) if isinstance(part, dict)]
    status = next((found for part in fields if (found := _find_status(part)) is not None), None)
    names = [part[name] for part in fields for name in _NAME_FIELDS if isinstance(part.get(name), str)]
    return ServerComplaint(
        words=wire.find_message(said),
        status=status,
        names=" ".join(names).lower(),
        fields=fields[0] if fields else {},
    )


def _find_inner_error(said: Any) -> Any:
    if isinstance(said, list):
        return said[0] if said else None
    found = said.get("error") if isinstance(said, dict) else None
    return found if isinstance(found, dict | list) and found else None


def _find_status(fields: dict[str, Any]) -> int | None:
    for name in _STATUS_FIELDS:
        value = fields.get(name)
        if isinstance(value, str) and re.fullmatch(r"\d{3}", value):
            value = int(value)
        if isinstance(value, int | float) and 400 <= value < 600:
            return int(value)
    return None
