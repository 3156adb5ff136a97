"""Tasks that other systems assign to agents."""

from __future__ import annotations

from gateway.domain.delivery import Target
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.run import AcceptedRun, RunSpec, Source
from gateway.domain.session import SessionKey
from gateway.engine.resources.agents import Agents
from gateway.engine.resources.runs import Runs
from gateway.errors import AgentDisabled


class Assignments:
    """Assigns tasks to agents that have a free slot."""

    def __init__(self, agents: Agents, runs: Runs) -> None:
        self._agents = agents
        self._runs = runs

    async def assign_task(
        self,
        name: str,
        task: str,
        text: str,
        key: IdempotencyKey | None = None,
        *,
        deliver: tuple[Target, ...] = (),
    ) -> AcceptedRun:
        """Submit a task to an agent, in a session of the task. The run holds one of the agent's slots until it ends.

        Raises:
            AgentNotFound: there is no agent with that id or slug.
            AgentDisabled: it is disabled.
            AgentBusy: all its slots are taken.
        """
        agent = self._agents.get_by_name(name)
        if not agent.enabled:
            raise AgentDisabled(f"the agent {name!r} is disabled.")
        session = str(SessionKey.from_parts(agent.id, "task", f"task:{task}"))
        spec = RunSpec(
            source=Source.ASSIGN,
            agent=agent.id,
            session=session,
            input=text,
            deliver=deliver,
            labels={"task": task, "agentId": name},
        )
        return await self._runs.submit_run(spec, key)
