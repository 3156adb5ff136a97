"""An agent: a named configuration of a backend."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from msgspec import Meta, Struct, field

from gateway.domain.ids import MODEL, SLUG
from gateway.domain.run import OnInterrupt


class Permissions(StrEnum):
    """How an agent that asks to be allowed something is answered."""

    DENY = "deny"
    ALLOW = "allow"


class SessionMode(StrEnum):
    """What happens to a message that meets a busy session."""

    QUEUE = "queue"
    REJECT = "reject"
    INTERRUPT = "interrupt"


class Agent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of `agents.list`. Backend options stand beside these fields in the file."""

    #: name of the agent, in session keys and requests
    id: Annotated[str, Meta(pattern=SLUG)]
    #: what drives it: the name of a backend
    backend: str
    enabled: bool = True
    #: the model to ask for, in the backend's own words
    model: Annotated[str, Meta(pattern=MODEL)] | None = None
    system_prompt: str | None = None
    #: working directory; each session has its own below `workspaces/` when not set
    workspace: str | None = None
    #: seconds that a run may take
    timeout: Annotated[float, Meta(gt=0, le=604_800)] = 1800.0
    #: runs at the same time
    max_concurrent: Annotated[int, Meta(ge=1, le=1024)] = 2
    #: what happens to a message that meets a busy session
    session_mode: SessionMode = SessionMode.QUEUE
    #: how requests for permission are answered
    permissions: Permissions = Permissions.DENY
    #: environment for the agent's process, beyond the few names that are passed on
    env: dict[str, str] = field(default_factory=dict)
    #: what becomes of a run that a crash or a stop cut short
    on_interrupt: OnInterrupt = OnInterrupt.RETRY
    #: the backend's own options: a dict as read, the backend's struct once checked
    options: Any = field(default_factory=dict)
