"""An agent: a named configuration of a backend."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from gateway.domain.budget import Budget
from gateway.domain.ids import AGENT_SLUG_PATTERN, MODEL_PATTERN, SLUG_PATTERN
from gateway.domain.run import OnInterrupt
from gateway.security.unsafe_text import name_pattern


class PermissionPolicy(StrEnum):
    """How the permission requests of an agent are answered."""

    DENY = "deny"
    ALLOW = "allow"
    #: people answer
    ASK = "ask"


class SessionMode(StrEnum):
    """What happens to a message for a session that is busy."""

    QUEUE = "queue"
    REJECT = "reject"
    INTERRUPT = "interrupt"


class Agent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of `agents.list`. The file has the backend's options next to these fields."""

    #: name of the agent, in session keys and requests
    id: Annotated[str, Meta(pattern=SLUG_PATTERN)]
    #: name of the backend that drives it
    backend: str
    enabled: bool = True
    #: the model, by the name that the backend knows
    model: Annotated[str, Meta(pattern=MODEL_PATTERN)] | None = None
    system_prompt: str | None = None
    #: working directory, `~` is expanded; when not set, each session has its own below `workspaces/`
    workspace: str | None = None
    #: longest time that a run may take, in seconds
    timeout: Annotated[float, Meta(gt=0, le=604_800)] = 1800.0
    #: how many runs it works on at the same time
    max_concurrent: Annotated[int, Meta(ge=1, le=1024)] = 2
    #: what happens to a message for a session that is busy: `queue` lets it wait, `interrupt` cancels what is running,
    #: `reject` refuses it
    session_mode: SessionMode = SessionMode.QUEUE
    #: how permission requests are answered: `deny`, `allow`, or `ask` (people answer). When not set, they are denied,
    #: and agents of the backend `opencode` ask only where opencode's own configuration says so
    permissions: PermissionPolicy | None = None
    #: seconds that people have to answer; after that, the request is denied
    permission_timeout: Annotated[float, Meta(gt=0, le=604_800)] = 300.0
    #: environment variables for the agent's process, in addition to the few that it inherits
    env: dict[str, str] = field(default_factory=dict)
    #: what happens to a run that a crash or a stop interrupted: `retry` tries it again, at most three times in all;
    #: `fail` ends it as failed, so that it runs at most once
    on_interrupt: OnInterrupt = OnInterrupt.RETRY
    #: daily limits: `runs`, `tokens`, `cost` in US dollars
    budget: Budget | None = None
    #: the backend's own options: a dict as the file has it, and the backend's struct once validated
    options: Any = field(default_factory=dict)

    @property
    def permission_policy(self) -> PermissionPolicy:
        """How its permission requests are answered."""
        return self.permissions or PermissionPolicy.DENY

    @property
    def must_ask(self) -> bool:
        """Whether its entry says that nothing may run without a question, even if its program would not ask."""
        return self.permissions in (PermissionPolicy.DENY, PermissionPolicy.ASK)


#: the name of an agent that people see
DisplayName = Annotated[str, Meta(pattern=name_pattern(100))]
#: fits into one command-line argument, and cannot be mistaken for an option
SystemPrompt = Annotated[str, Meta(max_length=30_000, pattern=r"^([^\-\x00][^\x00]*)?$(?!\n)")]
#: the name of a model
ModelName = Annotated[str, Meta(pattern=MODEL_PATTERN)]
#: a unique short name of an agent
AgentSlug = Annotated[str, Meta(pattern=AGENT_SLUG_PATTERN)]
#: how many tasks at the same time
MaxConcurrent = Annotated[int, Meta(ge=1, le=1024)]


class AgentDraft(Struct, frozen=True, kw_only=True):
    """A request to create an agent. Commands and environment variables always come from its base."""

    #: unique short name; requests may use it in place of the id
    slug: AgentSlug
    #: the name that people see; the slug when left out
    name: DisplayName | None = None
    #: id of the configured agent that backend, command, environment, workspace and permissions come from
    base: str | None = None
    #: the model; the base's own when null
    model: ModelName | None = None
    #: the base's own when null
    system_prompt: SystemPrompt | None = None
    #: how many runs at the same time, and how many assigned tasks
    max_concurrent: MaxConcurrent = 1
    #: daily limits; the base's limits when null, no limits when empty
    budget: Budget | None = None
    #: whether it takes new runs
    enabled: bool = field(default=True, name="is_enabled")


class AgentEdit(Struct, frozen=True, kw_only=True):
    """A request to change an agent; a field that is left out stays as it is."""

    #: unique short name; requests may use it in place of the id
    slug: AgentSlug | UnsetType = UNSET
    #: the name that people see
    name: DisplayName | UnsetType = UNSET
    #: id of the configured agent that backend, command, environment, workspace and permissions come from
    base: str | UnsetType = UNSET
    model: ModelName | UnsetType | None = UNSET
    system_prompt: SystemPrompt | UnsetType | None = UNSET
    max_concurrent: MaxConcurrent | UnsetType = UNSET
    #: daily limits; the base's limits when null, no limits when empty
    budget: Budget | UnsetType | None = UNSET
    #: whether it takes new runs
    enabled: bool | UnsetType = field(default=UNSET, name="is_enabled")


class StoredAgent(Struct, frozen=True, kw_only=True):
    """An agent that was created through the API. Times are milliseconds since 1970 UTC."""

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

    def apply_to_base(self, base: Agent | None) -> Agent:
        """Return the effective agent: its base with its own values. Without a base it is disabled."""
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
