"""The body of an error, in the seed's shape: `{"error": {"code", "message", "details"?}}`."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from gateway.errors import GatewayError


class Complaint(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong."""

    #: one of the documented codes
    code: str
    #: which field was wrong, how, and what to do
    message: str
    details: dict[str, Any] | UnsetType = UNSET


class ErrorAnswer(Struct, frozen=True):
    """The body of every error of a native route."""

    error: Complaint


#: what a browser may do with an answer that is no page, such as an error that it shows: nothing
ANSWER_POLICY = "default-src 'none'; frame-ancestors 'none'"


def build_common_headers(request: str) -> dict[str, str]:
    """Return the headers of every answer to the request with that id."""
    return {
        "X-Request-Id": request,
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
        "Content-Security-Policy": ANSWER_POLICY,
        "Server": "moongate",
    }


def render_error(error: GatewayError) -> ErrorAnswer:
    """Return the body of an error."""
    return ErrorAnswer(Complaint(code=error.code, message=str(error), details=error.details or UNSET))
