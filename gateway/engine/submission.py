"""The only way to a run: requests, triggers and the times of schedules all come through here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from gateway.domain.agent import Agent
from gateway.domain.queue import AdmissionRules
from gateway.domain.run import AcceptedRun, RunSpec
from gateway.engine.execution import caller


class AgentRules(Protocol):
    """The agents, as far as the acceptance of a run depends on them."""

    def choose_agent(self, name: str) -> Agent:
        """Return the enabled agent with that id; raise an error if there is none."""
        ...

    def is_stored(self, agent_id: str) -> bool:
        """Return whether the agent with that id was made through the API."""
        ...


class Submitter:
    """Prepares runs for the store by the rules of their agents, and tells those who begin runs what was accepted."""

    def __init__(
        self,
        agents: AgentRules,
        *,
        note_due: Callable[[int | None], None],
        stop: Callable[[str], None],
        max_depth: int,
    ) -> None:
        """Args:
        note_due: called with the time at which an accepted run may begin; None for now.
        stop: called with the id of each running run that another one takes the place of.
        max_depth: how deep agents may ask one another.
        """
        self._agents = agents
        self._note_due = note_due
        self._stop = stop
        self._max_depth = max_depth

    def with_agents(self, agents: AgentRules) -> Submitter:
        """Return one that does the same for other agents."""
        return Submitter(agents, note_due=self._note_due, stop=self._stop, max_depth=self._max_depth)

    def prepare_run(self, spec: RunSpec, *, coalesce: bool = False) -> tuple[RunSpec, AdmissionRules]:
        """Return a run with the policy of its agent and its caller, and the rules for its acceptance.

        Args:
            coalesce: if a run with the same input already waits in the session, that run takes the place of this one.

        Raises:
            AgentNotFound, InvalidRequest: its agent does not exist, or is disabled.
            TooDeep: agents have asked one another too often.
        """
        agent = self._agents.choose_agent(spec.agent)
        spec = caller.apply_caller(spec, self._max_depth)
        if spec.on_interrupt is not agent.on_interrupt:
            spec = msgspec.structs.replace(spec, on_interrupt=agent.on_interrupt)
        admission = AdmissionRules(
            slots=agent.max_concurrent,
            stored=self._agents.is_stored(agent.id),
            coalesce=coalesce,
            session_mode=agent.session_mode,
        )
        return spec, admission

    async def await_acceptance(self, spec: RunSpec, accepting: Awaitable[AcceptedRun]) -> AcceptedRun:
        """Wait until the store has accepted a run, and tell the worker when it may begin.

        The worker is also told if the caller is cancelled before the store answers: the run may still be on disk.
        """
        try:
            accepted = await accepting
        finally:
            self._note_due(spec.run_at)
        self._interrupt_others(accepted)
        return accepted

    def announce_run(self, accepted: AcceptedRun) -> None:
        """Tell the worker about a run that the store has accepted."""
        self._note_due(accepted.run.spec.run_at)
        self._interrupt_others(accepted)

    def _interrupt_others(self, accepted: AcceptedRun) -> None:
        """Interrupt the runs that the session mode of the agent ended in favour of this one."""
        for run in accepted.interrupted_runs:
            self._stop(run)
