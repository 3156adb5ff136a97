"""Failures of an agent's model: what the agent tells of them while it tries again, and in the end.

The protocol has no word for "the model refused, I try again", so an agent may be silent for minutes. But each tells it
in a way of its own, as seen of claude-agent-acp 0.101, codex-acp 0.16 and 2.6, Gemini CLI 0.61 and opencode 1.18:

- claude-agent-acp: the notification `_claude/sdkMessage` with an `api_retry`, if the session asked for it
- codex-acp 2: `_meta.codex.error` of a `session_info_update`
- codex-acp 0, Gemini CLI and opencode: lines on standard error, the last two if their environment says so

Qwen Code 0.24 tells nothing.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.errors import AgentError

if TYPE_CHECKING:
    from acp.exceptions import RequestError

#: the protocol's error code for a missing sign-in
AUTH_REQUIRED_CODE = -32000
#: failures in a row with a refused credential until the turn fails: an agent may renew a credential once
MAX_REFUSED_CREDENTIALS = 3
#: characters of a reason that a message shows, at most
MAX_SHOWN_REASON_CHARACTERS = 500

_RATE_LIMIT_REMEDY = "Try again later, or lower `max_concurrent`."
#: an HTTP status where an error names one: `401 Unauthorized`, `status 503`, `API Error: 429`, `(529)`
_STATUS = re.compile(r"(?:\b(?:status|error|code|rejected|http)\b\D{0,12}|^|\()\b([45]\d\d)\b", re.IGNORECASE)

#: a line of standard error that tells of a try that failed; atomic groups keep a hostile line from costing much time
_FAILED_TRIES = (
    re.compile(  # Gemini CLI
        r"Attempt \d+ failed(?: with status (?P<status>\d{3})|: )(?:\. Retrying with backoff\.\.\.\s*)?(?P<why>.*)"
    ),
    re.compile(  # codex-acp 0
        r"(?>.*?Handled error during turn: )\S+ \d+/\d+ Some\("
        r"(?>.*?http_status_code: )(?:Some\((?P<status>\d+)\)|None)(?>.*?\) Some\(\")(?P<why>.*)\"\)"
    ),
    re.compile(r'(?>.*?\bmessage="stream error")(?>.*?\berror\.error=")(?P<why>.*)"'),  # opencode
)


class SignInNeeded(AgentError):
    """The model's server refuses the agent's credential, or there is none."""


class PromptFailed(AgentError):
    """The agent has answered a prompt with an error before it did anything: its model may refuse a file."""

    def __init__(self, message: str, *, has_files: bool) -> None:
        super().__init__(message)
        #: whether the prompt had files in its blocks
        self.has_files = has_files


class FailedTry(NamedTuple):
    """A try of the model that failed; the agent tries again."""

    #: HTTP status of the answer; None without an answer
    status: int | None
    why: str
    #: seconds until the next try
    pause: float = 0.0

    def __str__(self) -> str:
        what = "the model cannot be reached" if self.status is None else f"the model's server answers {self.status}"
        return f"{what}: {self.why}" if self.why else what


class RetryWatch:
    """Counts the failed tries of one turn, and says when they are too many."""

    def __init__(self, limit: float, clock: Callable[[], float] | None = None) -> None:
        """Args: limit: seconds in which the model only fails until the turn fails, too."""
        self._limit = limit
        self._clock = clock or asyncio.get_running_loop().time
        self._failing_since: float | None = None
        self._refused = 0
        #: failed tries since the model last answered
        self.count = 0

    def note_answer(self) -> None:
        """Note that the model answers."""
        self._failing_since = None
        self._refused = self.count = 0

    def note_failure(self, failed: FailedTry) -> AgentError | None:
        """Note a failed try; return the error of the turn if there is no hope."""
        now = self._clock()
        if self._failing_since is None:
            self._failing_since = now
        self.count += 1
        self._refused = self._refused + 1 if failed.status == 401 else 0
        if self._refused >= MAX_REFUSED_CREDENTIALS:
            return SignInNeeded(f"the agent wants its user to sign in: {failed}.")
        failing = now - self._failing_since
        if failing + failed.pause <= self._limit:
            return None
        is_late = failed.pause > failing
        how = f"the next try is in {failed.pause:.0f} s" if is_late else f"it has only failed for {failing:.0f} s"
        return AgentError(f"{failed} ({how}).", remedy="The agent's `retry_timeout` lets it try longer.")


def parse_error_line(line: str) -> FailedTry | None:
    """Return the failed try that a line of standard error tells; None if it tells none."""
    for pattern in _FAILED_TRIES:
        if (found := pattern.fullmatch(line)) is not None:
            why, status = _shorten(found["why"]), found.groupdict().get("status")
            return FailedTry(int(status) if status else find_status(why), why)
    return None


def parse_claude_message(params: Mapping[str, Any]) -> FailedTry | None:
    """Return the failed try that a `_claude/sdkMessage` tells."""
    told = params.get("message")
    if not isinstance(told, dict) or told.get("subtype") != "api_retry":
        return None
    status, pause = told.get("error_status"), told.get("retry_delay_ms")
    return FailedTry(
        status if isinstance(status, int) else None,
        _shorten(str(told.get("error") or "")),
        pause / 1000 if isinstance(pause, int | float) and 0 <= pause < 1e9 else 0.0,
    )


def parse_codex_meta(meta: Mapping[str, Any] | None) -> FailedTry | None:
    """Return the failed try that the `_meta` of a `session_info_update` tells."""
    told = _get(_get(meta, "codex"), "error")
    if _get(told, "willRetry") is not True:
        return None
    kinds = _get(told, "codexErrorInfo")
    statuses = [_get(about, "httpStatusCode") for about in kinds.values()] if isinstance(kinds, dict) else []
    status = next((one for one in statuses if isinstance(one, int)), None)
    return FailedTry(status, _shorten(str(_get(told, "additionalDetails") or _get(told, "message") or "")))


def has_codex_failed(meta: Mapping[str, Any] | None) -> bool:
    """Return whether the `_meta` of an update tells that the turn has failed: its answer is then the error."""
    return bool(_get(_get(_get(meta, "codex"), "threadStatus"), "type") == "systemError")


def _get(told: Any, name: str) -> Any:
    return told.get(name) if isinstance(told, dict) else None


def explain_refusal(error: RequestError) -> AgentError:
    """Return the AgentError for an error of the protocol."""
    told = _read_reason(str(error))
    if isinstance(error.data, dict) and isinstance(error.data.get("details") or error.data.get("message"), str):
        told = f"{told}: {error.data.get('details') or error.data['message']}"
    if error.code == AUTH_REQUIRED_CODE:
        return SignInNeeded(f"the agent wants its user to sign in: {_shorten(told)}")
    return explain_model_error(told, error.code if 400 <= error.code < 600 else None)


def explain_model_error(told: str, status: int | None = None) -> AgentError:
    """Return the AgentError for what an agent tells in the end, with what helps against it."""
    match status or find_status(told):
        case 401:
            return SignInNeeded(f"the agent wants its user to sign in: {_shorten(told)}")
        case 429:
            return AgentError(f"the model's server limits the requests: {_shorten(told)}", remedy=_RATE_LIMIT_REMEDY)
    return AgentError(f"the agent refused: {_shorten(told)}")


def may_concern_files(error: AgentError) -> bool:
    """Return whether the files of a conversation may be why the agent has answered a prompt with this error."""
    is_other = isinstance(error, SignInNeeded) or error.remedy is not None
    return not is_other and find_status(error.message) in (None, 400, 413, 415, 422)


def find_status(told: str) -> int | None:
    """Return the HTTP status that an error names; None if it names none."""
    found = _STATUS.search(told)
    return int(found[1]) if found else None


def _read_reason(told: str) -> str:
    """Return the message in an error of Google's API, which is JSON: `{"error": {"code": …, "message": …}}`."""
    try:
        inner = json.loads(told)["error"]
        return f"{inner['message']} ({inner['code']})"
    except (ValueError, KeyError, TypeError, RecursionError):
        return told


def _shorten(told: str) -> str:
    told = re.sub(r"^_?\w*Error: (?=\{)", "", told.strip())
    return _read_reason(told)[:MAX_SHOWN_REASON_CHARACTERS].rstrip(". ")
