"""Makes the engine that a limited caller uses for one request."""

from __future__ import annotations

from typing import Any, cast

from gateway.domain.ports.store import Store
from gateway.domain.reach import Reach
from gateway.engine.engine import Engine
from gateway.engine.hub import Hub
from gateway.engine.limited.channels import LimitedChannels
from gateway.engine.limited.hub import LimitedHub
from gateway.engine.limited.refusal import Opened, make_refusal
from gateway.engine.limited.store import LimitedStore
from gateway.engine.resources.assignments import Assignments
from gateway.engine.resources.run_batches import RunBatches
from gateway.engine.resources.run_lists import RunLists

#: what it may do with its own token
_TOKEN_NAMES = ("anonymous_principal", "issue_code", "issue_ticket", "sign_out")


class LimitedEngine:
    """The engine for a caller who reaches only some agents and sessions. What it does not have is refused."""

    def __init__(self, engine: Engine, reach: Reach) -> None:
        store = cast("Store", LimitedStore(engine._store, reach, engine.schedules.find_session))
        hub = cast("Hub", LimitedHub(engine._hub, store, reach))
        agents = engine.agents.limit_to(reach, store)
        submitter = engine._submitter.with_agents(agents)
        self.runs = engine.runs.with_store(store, hub, agents, submitter)
        self.agents = agents
        self.permissions = engine.permissions.with_store(store, hub)
        self.files = engine.files.with_store(store)
        self.sessions = engine.sessions.with_store(store, agents)
        self.schedules = engine.schedules.with_store(store, agents, self.sessions, submitter)
        self.deliveries = engine.deliveries.with_store(store)
        self.queue_status = engine.queue_status.with_store(store, agents)
        self.timelines = engine.timelines.with_store(store)
        self.run_lists = RunLists(store)
        self.run_batches = RunBatches(store, self.runs)
        self.assignments = Assignments(agents, self.runs)
        self.channels = LimitedChannels(engine.channels, agents)
        self.tokens = Opened(engine.tokens, _TOKEN_NAMES)
        self.is_in_fleet = engine.is_in_fleet

    def __getattr__(self, name: str) -> Any:
        raise make_refusal()


def limit_engine(engine: Engine, reach: Reach) -> Engine:
    """Return the engine as a limited caller uses it; it refuses what it does not have."""
    return cast("Engine", LimitedEngine(engine, reach))
