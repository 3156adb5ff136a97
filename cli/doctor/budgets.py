"""Checks whether the limits of budgets can hold: a running gateway knows, else what the backends declare."""

from __future__ import annotations

from collections.abc import Iterator

from cli.doctor.finding import Finding, Level
from cli.instance import Instance
from cli.remote.client import GatewayClient
from cli.remote.local_link import LocalLink
from cli.remote.probe import ProbeResult, State
from gateway.agent_setup import idle_limits
from gateway.domain.agent import Agent
from gateway.errors import GatewayError


def examine_budgets(agents: list[Agent], instance: Instance, found: ProbeResult) -> Iterator[Finding]:
    """Report limits of tokens or cost on agents that do not report these."""
    for said in _ask_gateway(instance) if found.state is State.RUNNING else idle_limits.find_idle_limits(agents):
        yield Finding("budgets", Level.WARNING, said)


def _ask_gateway(instance: Instance) -> Iterator[str]:
    """Yield a sentence about each such limit of an agent or a schedule of the running gateway."""
    try:
        budgets = GatewayClient(LocalLink(instance)).get("/api/usage")["budgets"]
    except GatewayError:
        return  # the check of the agents reports it
    for one in budgets:
        for limit in one.get("unknown", []):  # an older gateway does not say it
            yield idle_limits.describe_idle_limit(f"the {one['of']} {one['name'] or one['id']!r}", limit)
