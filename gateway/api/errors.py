"""Errors on the wire, in the seed's shape: `{"error": {"code", "message", "details"?}}`."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from gateway.errors import GatewayError


class Complaint(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong."""

    #: one of the documented codes
    code: str
    #: what was wrong with what, and what to do
    message: str
    details: dict[str, Any] | UnsetType = UNSET


class ErrorAnswer(Struct, frozen=True):
    """The body of every error of a native route."""

    error: Complaint


def answer(error: GatewayError) -> ErrorAnswer:
    return ErrorAnswer(Complaint(code=error.code, message=str(error), details=error.details or UNSET))
