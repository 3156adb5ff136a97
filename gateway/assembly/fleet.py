"""Makes a process a member of the fleet that shares its store."""

from __future__ import annotations

from collections.abc import Sequence

from gateway import __version__
from gateway.api.routing import Control
from gateway.config import Config
from gateway.domain.agent import Agent
from gateway.domain.fleet import AgentLimits, Node, Role
from gateway.domain.ports.store import Store
from gateway.domain.times import Clock
from gateway.engine.execution.owner import Owner
from gateway.engine.fleet.member import FleetSetup
from gateway.errors import ConfigError
from gateway.store import choice
from gateway.store.postgres.jobs import ProcrastinateQueue, find_queues
from gateway.store.postgres.leader_lock import PostgresLeaderLock
from gateway.store.postgres.store import PostgresStore
from gateway.validation import suggest_name


def make_fleet(
    config: Config, agents: Sequence[Agent], owner: Owner, store: Store, control: Control, clock: Clock
) -> FleetSetup:
    """Return what makes this process a member of the fleet that shares its store.

    Raises:
        ConfigError: the settings name an agent that there is not.
    """
    assert isinstance(store, PostgresStore)
    url, host = choice.find_url(config), config.fleet_host
    names = [agent.id for agent in agents if agent.enabled]
    for name in config.fleet.agents:
        if name not in names:
            raise ConfigError(f'fleet.agents: there is no enabled agent "{name}"{suggest_name(name, names)}')
    chosen = config.fleet.agents or names
    slots = config.limits.runs if config.fleet.slots is None else config.fleet.slots
    return FleetSetup(
        store=store.fleet,
        jobs=ProcrastinateQueue(url),
        lock=PostgresLeaderLock(url),
        node=Node(
            name=str(owner),
            host=host,
            role=Role(config.fleet.role),
            version=__version__,
            agents=tuple(chosen) if slots else (),
            slots=slots,
            started=clock(),
            limits=tuple(
                AgentLimits(agent=agent.id, max_concurrent=agent.max_concurrent, budget=agent.budget)
                for agent in agents
            ),
        ),
        queues=find_queues(host, chosen),
        move_after=round(config.fleet.move_after * 1000),
        on_lost=lambda: _begin_again(control),
        on_external_commit=store.on_external_commit,
    )


def _begin_again(control: Control) -> None:
    """Let another process take the place of this one, which led the fleet and does not any more."""
    if control.restart is None:
        control.stop()
    else:
        control.restart("another gateway leads the fleet")
