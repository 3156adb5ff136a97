"""An agent: a named configuration of a backend."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from gateway.domain.budget import Budget
from gateway.domain.ids import AGENT_SLUG, MODEL, SLUG
from gateway.domain.run import OnInterrupt


class Permissions(StrEnum):
    """How an agent that asks to be allowed something is answered."""

    DENY = "deny"
    ALLOW = "allow"
    #: by whoever may, in time
    ASK = "ask"


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
    #: how requests for permission are answered: `deny`, `allow`, or by people: `ask`
    permissions: Permissions = Permissions.DENY
    #: seconds that people have to answer; then it is denied
    permission_timeout: Annotated[float, Meta(gt=0, le=604_800)] = 300.0
    #: environment for the agent's process, beyond the few names that are passed on
    env: dict[str, str] = field(default_factory=dict)
    #: what becomes of a run that a crash or a stop cut short
    on_interrupt: OnInterrupt = OnInterrupt.RETRY
    #: what it may use in a day: `runs`, `tokens`, `cost` in US dollars
    budget: Budget | None = None
    #: the backend's own options: a dict as read, the backend's struct once checked
    options: Any = field(default_factory=dict)


#: what people call an agent
Name = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{1,100}$(?!\n)")]
#: fits into one argument of a program, and can never pass for an option of it
SystemPrompt = Annotated[str, Meta(max_length=30_000, pattern=r"^([^\-\x00][^\x00]*)?$(?!\n)")]
#: the model to ask for
Model = Annotated[str, Meta(pattern=MODEL)]
#: a unique word for an agent
Slug = Annotated[str, Meta(pattern=AGENT_SLUG)]
#: tasks at the same time
MaxConcurrent = Annotated[int, Meta(ge=1, le=1024)]


class AgentDraft(Struct, frozen=True, kw_only=True):
    """An agent to be made. What can set a command or an environment comes from its base alone."""

    #: what requests may call it beside its id; unique
    slug: Slug
    #: what people call it; the slug when left out
    name: Name | None = None
    #: id of the configured agent underneath: backend, command, environment, workspace, permissions come from it
    base: str | None = None
    #: the model to ask for; the base's own when null
    model: Model | None = None
    #: the base's own when null
    system_prompt: SystemPrompt | None = None
    #: runs at the same time, and tasks that it may have assigned
    max_concurrent: MaxConcurrent = 1
    #: what it may use in a day; the base's limits when null, none when empty
    budget: Budget | None = None
    enabled: bool = field(default=True, name="is_enabled")


class AgentEdit(Struct, frozen=True, kw_only=True):
    """What is to change about an agent; what is left out stays."""

    slug: Slug | UnsetType = UNSET
    name: Name | UnsetType = UNSET
    base: str | UnsetType = UNSET
    model: Model | UnsetType | None = UNSET
    system_prompt: SystemPrompt | UnsetType | None = UNSET
    max_concurrent: MaxConcurrent | UnsetType = UNSET
    budget: Budget | UnsetType | None = UNSET
    enabled: bool | UnsetType = field(default=UNSET, name="is_enabled")


class StoredAgent(Struct, frozen=True, kw_only=True):
    """An agent that was made through the API. Times are milliseconds since 1970 UTC."""

    #: a UUID
    id: str
    slug: str
    name: str
    base: str
    model: str | None
    system_prompt: str | None
    max_concurrent: int
    enabled: bool
    created: int
    updated: int
    budget: Budget | None = None

    def over(self, base: Agent | None) -> Agent:
        """Return the agent in force: its base with its own words. Without a base it is disabled."""
        if base is None:
            return Agent(id=self.id, backend="", enabled=False, model=self.model, max_concurrent=self.max_concurrent)
        return msgspec.structs.replace(
            base,
            id=self.id,
            enabled=self.enabled and base.enabled,
            model=self.model or base.model,
            system_prompt=base.system_prompt if self.system_prompt is None else self.system_prompt,
            max_concurrent=self.max_concurrent,
            budget=base.budget if self.budget is None else self.budget,
        )
