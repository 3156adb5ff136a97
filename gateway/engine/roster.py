"""The agents of this gateway: which there are, which is meant, what they are doing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum

from msgspec import Struct

from gateway.domain.agent import Agent
from gateway.domain.ports import Backend, Health
from gateway.errors import AgentNotFound, InvalidRequest

#: means the default agent where no agent has that id
MAIN = "main"


class Activity(StrEnum):
    IDLE = "idle"
    WORKING = "working"
    DISABLED = "disabled"


class AgentView(Struct, frozen=True, kw_only=True):
    """An agent and what it is doing."""

    agent: Agent
    activity: Activity
    #: runs that it works on
    current: int
    default: bool


class Roster:
    """Looks agents up."""

    def __init__(
        self,
        agents: Iterable[Agent],
        default: str | None,
        backends: Mapping[str, Backend],
        working: Callable[[], Mapping[str, int]],
    ) -> None:
        self.by_id: Mapping[str, Agent] = {agent.id: agent for agent in agents}
        self._backends = backends
        self._working = working
        enabled = [agent.id for agent in self.by_id.values() if agent.enabled]
        self._default = default if default is not None else next(iter(enabled), None)

    @property
    def default(self) -> Agent:
        """The agent that is meant when none is named.

        Raises:
            AgentNotFound: no agent is enabled.
        """
        if self._default is None:
            raise AgentNotFound("no agent is enabled.", remedy="Enable one in agents.list.")
        return self.by_id[self._default]

    def choose(self, name: str | None) -> Agent:
        """Return the agent that a request means.

        Raises:
            AgentNotFound: there is none with that id.
            InvalidRequest: it is disabled.
        """
        agent = self.default if name is None else self.by_id.get(name)
        if agent is None and name == MAIN:
            agent = self.default
        if agent is None:
            raise AgentNotFound(f"there is no agent {name!r}.", remedy=f"There are: {', '.join(self.by_id)}.")
        if not agent.enabled:
            raise InvalidRequest(f"the agent {agent.id!r} is disabled.")
        return agent

    def views(self) -> list[AgentView]:
        return [self._view(agent) for agent in self.by_id.values()]

    def view(self, name: str) -> AgentView:
        """Return one agent by id.

        Raises:
            AgentNotFound: there is none.
        """
        if name not in self.by_id:
            raise AgentNotFound(f"there is no agent {name!r}.", remedy=f"There are: {', '.join(self.by_id)}.")
        return self._view(self.by_id[name])

    async def health(self, agent: Agent) -> Health:
        """Ask an agent's backend whether it could answer now."""
        return await self._backends[agent.backend].health(agent)

    def _view(self, agent: Agent) -> AgentView:
        current = self._working().get(agent.id, 0)
        activity = Activity.WORKING if current else Activity.IDLE
        return AgentView(
            agent=agent,
            activity=activity if agent.enabled else Activity.DISABLED,
            current=current,
            default=agent.id == self._default,
        )
