"""What the known agents tell of failed tries, as they were seen to write it."""

from __future__ import annotations

from typing import Any

import pytest
from acp.exceptions import RequestError

from gateway.backends.acp.failures import (
    FailedTry,
    RetryWatch,
    SignInNeeded,
    explain_refusal,
    find_status,
    parse_claude_message,
    parse_codex_meta,
    parse_error_line,
)
from gateway.errors import AgentError

GOOGLE_ERROR = '{"error":{"code":503,"message":"scripted UNAVAILABLE","status":"UNAVAILABLE"}}'
CODEX_0_LINE = (
    "codex_acp::thread: Handled error during turn: Reconnecting... 1/5 Some(ResponseStreamDisconnected "
    '{ http_status_code: %s }) Some("%s")'
)


@pytest.mark.parametrize(
    ("line", "failed"),
    [
        (
            f"Attempt 1 failed with status 503. Retrying with backoff... _ApiError: {GOOGLE_ERROR}",
            FailedTry(503, "scripted UNAVAILABLE (503)"),
        ),
        (
            "Attempt 2 failed: quota exceeded. Retrying after 9000ms...",
            FailedTry(None, "quota exceeded. Retrying after 9000ms"),
        ),
        (
            CODEX_0_LINE % ("Some(401)", "unexpected status 401 Unauthorized: no, url: http://x"),
            FailedTry(401, "unexpected status 401 Unauthorized: no, url: http://x"),
        ),
        (CODEX_0_LINE % ("None", "stream disconnected"), FailedTry(None, "stream disconnected")),
        (
            'timestamp=2026-11-29T06:20:01.270Z level=ERROR run=7e message="stream error" modelID=m small=false '
            'error.error="AI_APICallError: scripted error 429"',
            FailedTry(429, "AI_APICallError: scripted error 429"),
        ),
        ("Attempt to open a file failed", None),
        ("", None),
    ],
)
def test_a_failed_try_is_found_in_a_line_of_standard_error(line: str, failed: FailedTry | None) -> None:
    assert parse_error_line(line) == failed


@pytest.mark.parametrize(
    "pieces",
    [
        ("Handled error during turn: a 1/1 Some(", "http_status_code: None", ') Some("'),
        ('message="stream error"', ' error.error="', "x"),
    ],
)
def test_a_line_that_only_repeats_parts_of_a_failed_try_costs_little(pieces: tuple[str, ...]) -> None:
    """It would take minutes to try all ways to read it."""
    assert parse_error_line("".join(2000 * piece for piece in pieces)) is None


@pytest.mark.parametrize(
    ("message", "failed"),
    [
        (
            {"subtype": "api_retry", "error_status": 401, "error": "authentication_failed", "retry_delay_ms": 500},
            FailedTry(401, "authentication_failed", 0.5),
        ),
        ({"subtype": "api_retry", "error_status": None, "error": "unknown"}, FailedTry(None, "unknown")),
        ({"subtype": "api_retry", "error_status": "x", "retry_delay_ms": float("inf")}, FailedTry(None, "")),
        ({"subtype": "init"}, None),
        (None, None),
        ([], None),
    ],
)
def test_a_failed_try_is_found_in_what_claude_tells(message: Any, failed: FailedTry | None) -> None:
    assert parse_claude_message({"message": message}) == failed


@pytest.mark.parametrize(
    ("told", "failed"),
    [
        (
            {
                "willRetry": True,
                "message": "Reconnecting... 1/5",
                "codexErrorInfo": {"responseStreamDisconnected": {"httpStatusCode": 503}},
                "additionalDetails": "unexpected status 503",
            },
            FailedTry(503, "unexpected status 503"),
        ),
        ({"willRetry": True, "message": "lost", "codexErrorInfo": "other"}, FailedTry(None, "lost")),
        ({"willRetry": False, "message": "lost"}, None),
        ("text", None),
    ],
)
def test_a_failed_try_is_found_in_what_codex_tells(told: Any, failed: FailedTry | None) -> None:
    assert parse_codex_meta({"codex": {"error": told}}) == failed


def test_a_failed_try_is_told_in_words() -> None:
    assert str(FailedTry(503, "busy")) == "the model's server answers 503: busy"
    assert str(FailedTry(None, "")) == "the model cannot be reached"


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ("401 scripted error 401", 401),
        ("unexpected status 503 Service Unavailable", 503),
        ("Internal error: API Error: Request rejected (429) · slow down", 429),
        ("exceeded retry limit, last status: 429 Too Many Requests", 429),
        ("no such file: report-401.txt", None),
        ("4012", None),
    ],
)
def test_a_status_is_found_where_an_error_names_one(told: str, status: int | None) -> None:
    assert find_status(told) == status


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (RequestError(-32000, "Authentication required"), SignInNeeded, "sign in: Authentication required"),
        (RequestError(401, '{"error":{"code":401,"message":"no key"}}'), SignInNeeded, r"sign in: no key \(401\)"),
        (RequestError(-32603, "Internal error", {"details": "401 no key"}), SignInNeeded, "sign in: Internal error"),
        (RequestError(-32603, "Internal error: (429) slow down"), AgentError, "limits the requests: Internal"),
        (RequestError(500, "terminated"), AgentError, "the agent refused: terminated"),
    ],
)
def test_a_refusal_is_explained(error: RequestError, kind: type[AgentError], message: str) -> None:
    explained = explain_refusal(error)

    assert type(explained) is kind
    with pytest.raises(kind, match=message):
        raise explained


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_model_may_fail_for_a_while() -> None:
    clock = Clock()
    watch = RetryWatch(100.0, clock)
    assert watch.note_failure(FailedTry(503, "busy")) is None

    clock.now += 101
    error = watch.note_failure(FailedTry(503, "busy"))

    assert error is not None
    assert error.message == "the model's server answers 503: busy (it has only failed for 101 s)."


def test_an_answer_ends_the_failures() -> None:
    clock = Clock()
    watch = RetryWatch(100.0, clock)
    watch.note_failure(FailedTry(503, "busy"))
    clock.now += 101
    watch.note_answer()

    assert watch.note_failure(FailedTry(503, "busy")) is None
    assert watch.count == 1


def test_a_credential_may_be_refused_until_it_is_renewed() -> None:
    watch = RetryWatch(100.0, Clock())

    told = [watch.note_failure(FailedTry(status, "no")) for status in (401, 401, 503, 401, 401, 401)]

    assert told[:5] == [None] * 5
    assert isinstance(told[5], SignInNeeded)
