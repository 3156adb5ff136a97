"""The errors that people and programs see: one small tree.

Each class names its code on the wire, its HTTP status and its exit code. The docstring's first
sentence is the default message. A message says what happened, to what, and the cause if known;
`remedy` says how to solve it.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import ClassVar


class GatewayError(Exception):
    """The gateway failed."""

    code: ClassVar[str] = "INTERNAL_ERROR"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        message: str | None = None,
        *,
        remedy: str | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        self.message = message or (type(self).__doc__ or "").partition("\n")[0]
        self.remedy = remedy
        self.details = dict(details or {})
        super().__init__(self.message)

    def __str__(self) -> str:
        remedy = self.remedy or ""
        between = " " if remedy and not remedy.startswith("\n") else ""
        return f"{self.message}{between}{remedy}"


class InternalError(GatewayError):
    """The gateway broke; the log says more, under this request's id."""


class Unreadable(GatewayError):
    """What is stored there cannot be read."""

    code = "UNREADABLE"


class InvalidRequest(GatewayError):
    """The request is not valid."""

    code, status, exit_code = "INVALID_REQUEST", 400, 2


class AgentUnusable(InvalidRequest):
    """The agent is disabled."""

    exit_code = 1  # the command was right
    #: `details.reason` of this error, which has no code of its own
    REASON = "agent_disabled"

    def __init__(self, message: str) -> None:
        super().__init__(message, details={"reason": self.REASON})


class Unauthorized(GatewayError):
    """A bearer token is needed."""

    code, status = "UNAUTHORIZED", 401


class Forbidden(GatewayError):
    """This is not allowed."""

    code, status = "FORBIDDEN", 403


class NotFound(GatewayError):
    """There is no such thing here."""

    code, status = "NOT_FOUND", 404


class ChannelNotFound(NotFound):
    """There is no such channel, or it is not configured."""

    code = "CHANNEL_NOT_FOUND"


class SessionNotFound(NotFound):
    """There is no such session."""

    code = "SESSION_NOT_FOUND"


class AgentNotFound(NotFound):
    """There is no such agent."""

    code = "AGENT_NOT_FOUND"


class RunNotFound(NotFound):
    """There is no such run."""

    code = "RUN_NOT_FOUND"


class ScheduleNotFound(NotFound):
    """There is no such schedule."""

    code = "JOB_NOT_FOUND"


class ProjectNotFound(NotFound):
    """There is no such project."""

    code = "PROJECT_NOT_FOUND"


class DeliveryNotFound(NotFound):
    """There is no such delivery."""


class FileUnknown(NotFound):
    """There is no such file."""

    code = "FILE_NOT_FOUND"


class PermissionNotFound(NotFound):
    """There is no such permission request."""


class MethodNotAllowed(GatewayError):
    """This path does not take that method."""

    code, status = "INVALID_REQUEST", 405


class Conflict(GatewayError):
    """This does not fit the present state."""

    code, status = "CONFLICT", 409


class AgentBusy(Conflict):
    """The agent is busy."""

    code = "AGENT_BUSY"


class TooDeep(Conflict):
    """Agents have asked one another too often."""

    code = "TOO_DEEP"


class AgentDisabled(Conflict):
    """The agent is disabled."""


class TooLarge(GatewayError):
    """The body is too large."""

    code, status = "TOO_LARGE", 413


class UnsupportedCoding(GatewayError):
    """The body has a transfer coding that is not supported."""

    code, status = "UNSUPPORTED_CODING", 501


class UnsupportedMedia(GatewayError):
    """Only application/json bodies are read."""

    code, status = "UNSUPPORTED_MEDIA", 415


class Misdirected(GatewayError):
    """This gateway does not answer for that host."""

    code, status = "FORBIDDEN", 421


class RateLimited(GatewayError):
    """Too many attempts; wait a minute."""

    code, status = "RATE_LIMITED", 429


class OverBudget(GatewayError):
    """The budget of the day is used up."""

    code, status = "OVER_BUDGET", 429


class AgentError(GatewayError):
    """The agent failed."""

    code, status = "AGENT_ERROR", 502


class PromptRefused(AgentError):
    """The model refuses the prompt, and would refuse it again: later turns of its session leave it out."""


class Unavailable(GatewayError):
    """The gateway cannot do this now."""

    code, status, exit_code = "UNAVAILABLE", 503, 75


class NoServiceManager(Unavailable):
    """No service manager can run the gateway here."""

    exit_code = 1  # another try would not help


class Exhausted(GatewayError):
    """The machine has no room for another process."""

    code, status, exit_code = "UNAVAILABLE", 503, 75


class TimedOut(GatewayError):
    """The time is up."""

    code, status = "TIMEOUT", 504


class StorageFull(GatewayError):
    """The disk is full: nothing was accepted."""

    code, status = "STORAGE_FULL", 507


class QuotaFull(StorageFull):
    """All files together would be larger than the quota: nothing was accepted."""


def explain_disk_error(error: OSError, what: str) -> StorageFull | Unavailable:
    """Return the error to raise when the disk refuses.

    Args:
        what: what could not be done, such as `the file cannot be stored`.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(f"{what}: the disk is full. Nothing was accepted.", remedy="Free some space.")
    return Unavailable(f"{what}: {error.strerror or error}.", remedy="Look at the disk and its mount.")


class ConfigError(GatewayError):
    """The configuration cannot be used."""

    code, exit_code = "CONFIG_ERROR", 78


class NotRunning(GatewayError):
    """The gateway is not running."""

    code, exit_code = "NOT_RUNNING", 3


class PortTaken(GatewayError):
    """The port is already in use."""

    code, exit_code = "PORT_TAKEN", 75


class AlreadyRunning(GatewayError):
    """A gateway is already running with this configuration."""

    code, exit_code = "ALREADY_RUNNING", 75
