"""The agents of this gateway: which exist, which one a request means, what they are doing.

Configured agents come from the config file. Stored agents are created through the API on top of a configured agent,
their base. They are in the store, so that each process sees the changes of the others.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum

from msgspec import UNSET, Struct

from gateway import log
from gateway.domain.agent import Agent, AgentDraft, AgentEdit, StoredAgent
from gateway.domain.budget import Budget
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.offer import Offer
from gateway.domain.ports.backend import Abilities, AgentHealth, Backend, FileKind, Offering, TakesFiles
from gateway.domain.ports.store import Store
from gateway.domain.queue import AgentLoad
from gateway.domain.reach import Reach
from gateway.domain.run import EndedRun
from gateway.errors import AgentNotFound, AgentUnusable, Conflict, InvalidRequest
from gateway.validation import suggest_name

#: a name for the default agent, unless an agent has this id
DEFAULT_AGENT_ALIAS = "main"
#: runs of a deleted agent that are failed in one transaction
ABANDON_BATCH_SIZE = 500
#: scope of the notes that keep the slugs of deleted agents
DELETED_SLUGS_SCOPE = "deleted agents"

_log = log.get()


class Activity(StrEnum):
    IDLE = "idle"
    WORKING = "working"
    DISABLED = "disabled"


class AgentView(Struct, frozen=True, kw_only=True):
    """An agent and what it is doing."""

    agent: Agent
    #: how it was created through the API; None for an agent of the config file
    stored: StoredAgent | None
    activity: Activity
    load: AgentLoad
    abilities: Abilities
    #: the kinds of files that it takes with a prompt; None if only a task shows that
    accepts: frozenset[FileKind] | None
    default: bool

    @property
    def slug(self) -> str:
        return self.stored.slug if self.stored else self.agent.id


class Agents:
    """Finds agents, and changes those that were created through the API."""

    def __init__(
        self,
        store: Store,
        configured: Iterable[Agent],
        default: str | None,
        backends: Mapping[str, Backend],
        changed: Callable[[], None],
        describe: Callable[[Agent], Abilities] = lambda _: Abilities(),
    ) -> None:
        """Args:
        default: id of the agent that is used when a request names none; if None, the first enabled one.
        changed: called after the agents have changed.
        describe: returns what is known of an agent before its first turn.
        """
        self._store = store
        self._configured = {agent.id: agent for agent in configured}
        self._stored: dict[str, StoredAgent] = {}
        #: slugs of the agents that were deleted, by id: their runs and their usage are kept
        self._deleted_slugs: Mapping[str, str] = {}
        self._agents: Mapping[str, Agent] = self._configured
        self._backends = backends
        self._changed = changed
        self.describe_agent = describe
        #: whether these are only the agents that a limited caller reaches
        self.is_limited = False
        #: ids and slugs of the agents that a limited caller does not reach
        self._hidden_names: frozenset[str] = frozenset()
        #: whether the default agent may be meant by its alias
        self._has_alias = True
        enabled = [agent.id for agent in self._configured.values() if agent.enabled]
        self._default = default if default is not None else next(iter(enabled), None)

    @property
    def default_agent(self) -> Agent:
        """The agent that is used when a request names none.

        Raises:
            AgentNotFound: no agent is enabled.
        """
        if self._default is None:
            raise AgentNotFound("no agent is enabled.", remedy="Enable one in agents.list.")
        return self._agents[self._default]

    @property
    def concurrency_limits(self) -> Mapping[str, int]:
        """How many runs each enabled agent may work on at the same time."""
        return {agent.id: agent.max_concurrent for agent in self._agents.values() if agent.enabled}

    @property
    def daily_budgets(self) -> Mapping[str, Budget]:
        """The daily budget of each enabled agent. Agents without one are left out."""
        found = {agent.id: agent.budget for agent in self._agents.values() if agent.enabled}
        return {id_: budget for id_, budget in found.items() if budget is not None and budget != Budget()}

    @property
    def agent_ids(self) -> Sequence[str]:
        return list(self._agents)

    def list_pack_names(self, default: str) -> Sequence[str]:
        """Return the names of the enabled agents, after the name that stands for the default agent."""
        slugs = {agent.id: agent.slug for agent in self._stored.values()}
        names = [slugs.get(agent.id, agent.id) for agent in self._agents.values() if agent.enabled]
        return [default, *(name for name in names if name != default)]

    def display_name(self, agent_id: str) -> str:
        """Return the name of an agent for people: its slug, if it has or had one."""
        if agent_id in self._stored:
            return self._stored[agent_id].slug
        return self._deleted_slugs.get(agent_id, agent_id)

    @property
    def deleted_slugs(self) -> Mapping[str, str]:
        """The slugs of the agents that were deleted, by their ids."""
        return {id_: slug for id_, slug in self._deleted_slugs.items() if id_ not in self._stored}

    def find_by_id(self, agent_id: str) -> Agent | None:
        return self._agents.get(agent_id)

    def find_by_name(self, name: str) -> Agent | None:
        """Return the agent with that id or slug, or None."""
        found = self._agents.get(name)
        if found is None:
            found = next((self._agents[agent.id] for agent in self._stored.values() if agent.slug == name), None)
        return found

    def knows_name(self, name: str) -> bool:
        """Return whether an agent has that id or slug, also one that a limited caller does not reach."""
        return name in self._hidden_names or self.find_by_name(name) is not None

    def get_by_name(self, name: str) -> Agent:
        """Return the agent with that id or slug.

        Raises:
            AgentNotFound: there is none.
        """
        found = self.find_by_name(name)
        if found is None:
            names = [*self._configured, *(agent.slug for agent in self._stored.values())]
            shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
            raise AgentNotFound(f"there is no agent {name[:200]!r}.", remedy=f"There are: {shown}.")
        return found

    def choose_agent(self, name: str | None) -> Agent:
        """Return the agent that a request names by id or slug; without a name, the default agent.

        Raises:
            AgentNotFound: there is none.
            AgentUnusable: it is disabled.
        """
        if name == DEFAULT_AGENT_ALIAS and self._has_alias and self.find_by_name(DEFAULT_AGENT_ALIAS) is None:
            name = None
        agent = self.default_agent if name is None else self.get_by_name(name)
        if not agent.enabled:
            reason = self._explain_disabled(agent)
            raise AgentUnusable(f"the agent {name or agent.id!r} is disabled{reason}.")
        return agent

    def limit_to(self, reach: Reach, store: Store) -> Agents:
        """Return the agents as a limited caller sees them: others do not exist for it.

        If it does not reach the default agent, the first enabled one that it reaches takes its place.

        Args:
            store: as the caller reaches it.
        """
        reached = {id_: one for id_, one in self._agents.items() if reach.covers_agent(id_)}
        enabled = (agent.id for agent in reached.values() if agent.enabled)
        configured = [one for id_, one in self._configured.items() if reach.covers_agent(id_)]
        default = self._default if self._default in reached else next(enabled, None)
        limited = Agents(store, configured, default, self._backends, _change_nothing, self.describe_agent)
        limited.is_limited = True
        limited._stored = {id_: one for id_, one in self._stored.items() if id_ in reached}
        limited._agents = reached
        limited._deleted_slugs = {id_: one for id_, one in self._deleted_slugs.items() if reach.covers_agent(id_)}
        limited._has_alias = self._has_alias and default == self._default and not self.knows_name(DEFAULT_AGENT_ALIAS)
        slugs = {agent.slug for id_, agent in self._stored.items() if id_ not in reached}
        limited._hidden_names = frozenset(slugs.union(self._agents.keys() - reached))
        return limited

    def is_stored(self, agent_id: str) -> bool:
        """Return whether an agent was created through the API, so that another process may change it."""
        return agent_id in self._stored

    async def list_views(self) -> list[AgentView]:
        loads = await self._store.agents.count_loads()
        return [self._make_view(agent, loads) for agent in self._agents.values()]

    async def list_ended_runs(self, each: int) -> Mapping[str, Sequence[EndedRun]]:
        """Return how the last runs of each agent ended, the earliest end first."""
        return await self._store.runs.list_ended(self.agent_ids, each)

    async def get_view(self, name: str) -> AgentView:
        """Return one agent by its id or slug.

        Raises:
            AgentNotFound: there is none.
        """
        agent = self.get_by_name(name)
        return self._make_view(agent, await self._store.agents.count_loads())

    async def check_health(self, agent: Agent) -> AgentHealth:
        """Ask an agent's backend whether the agent is able to answer now."""
        if agent.backend not in self._backends:
            reason = self._explain_disabled(agent)
            return AgentHealth(ok=False, detail=f"it is disabled{reason}")
        return await self._backends[agent.backend].check_health(agent)

    def find_offer(self, agent: Agent) -> Offer | None:
        """Return which models and modes an agent offers, as it told its backend at last; None if that is not known."""
        backend: object = self._backends.get(agent.backend)
        return backend.find_offer(agent) if isinstance(backend, Offering) else None

    def find_accepted_files(self, agent: Agent) -> frozenset[FileKind] | None:
        """Return the kinds of files that an agent takes with a prompt; None if only a task shows that.

        All others are put into its workspace, if it has one, and named to it.
        """
        backend: object = self._backends.get(agent.backend)
        if backend is None:  # it is disabled
            return None
        return backend.accepts(agent) if isinstance(backend, TakesFiles) else frozenset()

    def explain_wrong_model(self, name: str, model: str | None) -> InvalidRequest | None:
        """Return the error about a model that an agent certainly does not take; None if it may take the model.

        Raises:
            AgentNotFound, AgentUnusable: there is no such agent, or it is disabled.
        """
        if model is None:
            return None
        agent = self.choose_agent(name)
        offer = self.find_offer(agent)
        if offer is None or offer.takes_model(model):
            return None
        near = ", ".join(offer.find_near_models(model))
        return InvalidRequest(
            f"model: the agent {self.display_name(agent.id)!r} does not offer {model!r}.",
            remedy=f"It offers {near}; all of them: gateway agents show {self.display_name(agent.id)}",
        )

    # --- changes ----------------------------------------------------------------------------

    async def create_agent(self, draft: AgentDraft, key: IdempotencyKey | None = None) -> AgentView:
        """Create an agent on top of a configured one.

        Raises:
            InvalidRequest: its base is not a configured agent.
            Conflict: its slug is taken, there are too many, or the key was used with another body.
        """
        base = self._check_base(self.default_agent.id if draft.base is None else draft.base)
        self._check_slug(draft.slug)
        made = await self._store.agents.create(draft, base, key)
        await self.reload_stored_agents()
        return await self.get_view(made.id)

    async def edit_agent(self, name: str, changes: AgentEdit) -> AgentView:
        """Change an agent. Its new limits apply from the next claim on.

        Raises:
            AgentNotFound: there is none with that id or slug.
            InvalidRequest: its new base is not a configured agent.
            Conflict: it is an agent of the config file, or its new slug is taken.
        """
        agent = self._get_stored(name)
        if changes.base is not UNSET:
            self._check_base(changes.base)
        if changes.slug is not UNSET:
            self._check_slug(changes.slug)
        await self._store.agents.edit(agent.id, changes)
        await self.reload_stored_agents()
        return await self.get_view(agent.id)

    async def delete_agent(self, name: str) -> int:
        """Delete an agent. Its running runs continue to their end; its queued runs fail.

        Returns:
            the number of runs that failed.

        Raises:
            AgentNotFound: there is none with that id or slug.
            Conflict: it is an agent of the config file.
        """
        agent = self._get_stored(name)
        await self._store.notes.save(DELETED_SLUGS_SCOPE, {agent.id: agent.slug})
        await self._store.agents.delete(agent.id)
        await self.reload_stored_agents()
        return await self._fail_queued_runs(agent.id)

    async def reload_stored_agents(self) -> None:
        """Read the stored agents again: another process may have changed them."""
        self._deleted_slugs = await self._store.notes.list(DELETED_SLUGS_SCOPE, "")
        stored = {agent.id: agent for agent in await self._store.agents.list()}
        if stored == self._stored:
            return
        self._stored = stored
        over = {agent.id: agent.apply_to_base(self._configured.get(agent.base)) for agent in stored.values()}
        self._agents = self._configured | over
        self._changed()

    async def fail_orphaned_runs(self, *, configured: bool) -> None:
        """Fail the queued runs of agents that no longer exist: nobody would ever claim them.

        Args:
            configured: also those of agents that were removed from the config file. Only a process that has just
                begun to lead may ask for this: later, a process with a newer config file may have accepted runs for
                agents that are not in the config file of this process.
        """
        waiting = [agent for agent, load in (await self._store.agents.count_loads()).items() if load.queued]
        await self.reload_stored_agents()
        for agent in waiting:
            if agent not in self._agents and (configured or _is_generated_id(agent)):
                failed = await self._fail_queued_runs(agent)
                _log.warning("agent.gone", agent=agent, failed=failed)

    async def _fail_queued_runs(self, agent: str) -> int:
        failed = 0
        while some := await self._store.runs.abandon(agent, ABANDON_BATCH_SIZE, self.display_name(agent)):
            failed += len(some)
        return failed

    def _make_view(self, agent: Agent, loads: Mapping[str, AgentLoad]) -> AgentView:
        load = loads.get(agent.id, AgentLoad())
        activity = Activity.WORKING if load.running or load.slots else Activity.IDLE
        return AgentView(
            agent=agent,
            stored=self._stored.get(agent.id),
            activity=activity if agent.enabled else Activity.DISABLED,
            load=load,
            abilities=self.describe_agent(agent),
            accepts=self.find_accepted_files(agent),
            default=agent.id == self._default,
        )

    def _get_stored(self, name: str) -> StoredAgent:
        agent = self.get_by_name(name)
        if agent.id not in self._stored:
            raise Conflict(
                f"the agent {agent.id!r} is in the config file, and cannot be changed here.",
                remedy="Edit agents.list there and restart the gateway, or create another agent on top of it.",
            )
        return self._stored[agent.id]

    def _check_base(self, name: str) -> str:
        if name not in self._configured:
            raise InvalidRequest(
                f"base: there is no agent {name[:64]!r} in the config file{suggest_name(name, self._configured)}"
            )
        return name

    def _check_slug(self, slug: str) -> None:
        if slug in self._configured:
            raise Conflict(f"there is already an agent {slug!r} in the config file.", remedy="Choose another slug.")

    def _explain_disabled(self, agent: Agent) -> str:
        """Return the end of an error message if a stored agent is disabled because of its base agent; otherwise ""."""
        stored = self._stored.get(agent.id)
        if stored is None or not stored.enabled:
            return ""
        state = "disabled" if stored.base in self._configured else "no longer in the config file"
        return f": its base agent, {stored.base!r}, is {state}"


def _change_nothing() -> None:
    """A limited caller changes no agents."""


def _is_generated_id(agent_id: str) -> bool:
    """Return whether a store generated this agent id."""
    try:
        return str(uuid.UUID(agent_id)) == agent_id
    except ValueError:
        return False
