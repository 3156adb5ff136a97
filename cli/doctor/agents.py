"""Asks the agents whether they could answer: through the running gateway, else their backends directly."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from cli import output
from cli.doctor.finding import Finding, Level
from cli.instance import Instance
from cli.remote.client import GatewayClient, quote_part
from cli.remote.local_link import LocalLink
from cli.remote.probe import ProbeResult, State
from gateway import backends
from gateway.backends import BackendResources
from gateway.config import Config
from gateway.domain.agent import Agent
from gateway.domain.ports.backend import AgentHealth
from gateway.errors import GatewayError
from gateway.process.child import Children
from gateway.process.identity import Identity

#: seconds that an agent may take to report its health
HEALTH_TIMEOUT_SECONDS = 15.0


def examine_agents(settings: Config, agents: list[Agent], instance: Instance, found: ProbeResult) -> list[Finding]:
    enabled = [agent for agent in agents if agent.enabled]
    if found.state is State.RUNNING:
        return _ask_gateway(instance)
    return asyncio.run(_ask_agents(settings, enabled, instance.env))


def _ask_gateway(instance: Instance) -> list[Finding]:
    client = GatewayClient(LocalLink(instance))
    try:
        listed = [agent["id"] for agent in client.get("/api/agents")["agents"] if agent["is_enabled"]]
        answers = {name: client.get(f"/api/agents/{quote_part(name)}")["health"] for name in listed}
        stranded = client.get("/api/work").get("stranded", {})
    except GatewayError as error:
        return [Finding("agents", Level.ERROR, "the gateway does not report them", error.message, error.remedy)]
    return [
        *(_describe_health(name, AgentHealth(**said)) for name, said in answers.items()),
        *_examine_stranded_tasks(stranded),
    ]


def _examine_stranded_tasks(waiting: Mapping[str, int]) -> Iterator[Finding]:
    """Report tasks that wait for an agent that is disabled or gone, so that they never run."""
    for agent, count in waiting.items():
        said = f"{count} {'task waits' if count == 1 else 'tasks wait'} for it, but it is disabled or gone"
        remedy = f"enable or restore it, or cancel the tasks: gateway tasks list --status queued --agent {agent}"
        yield Finding(f"agent {agent}", Level.WARNING, said, remedy=remedy)


def _describe_health(name: str, health: AgentHealth) -> Finding:
    if health.ok and health.missing:
        return Finding(f"agent {name}", Level.WARNING, f"is there ({health.detail})", health.missing)
    if health.ok:
        said = " ".join(filter(None, ["fine", health.version, f"({health.detail})" if health.detail else ""]))
        return Finding(f"agent {name}", Level.OK, said)
    return Finding(
        f"agent {name}",
        Level.ERROR,
        "could not answer now",
        health.detail,
        f"after a fix, check: gateway agents show {name}",
    )


class _NoProcessRecords:
    """Records no processes: those that are started here end with the check."""

    async def record_process(self, who: Identity, run: str | None) -> None: ...

    async def forget_process(self, who: Identity) -> None: ...


async def _ask_agents(settings: Config, agents: list[Agent], environ: Mapping[str, str]) -> list[Finding]:
    """Ask the backends directly, as a gateway would."""
    with tempfile.TemporaryDirectory(prefix="moongate-doctor-") as directory:
        resources = BackendResources(
            children=Children(_NoProcessRecords(), environ), environ=environ, directory=Path(directory)
        )
        return list(await asyncio.gather(*(_ask_agent(agent, resources) for agent in agents)))


async def _ask_agent(agent: Agent, resources: BackendResources) -> Finding:
    try:
        async with (
            asyncio.timeout(HEALTH_TIMEOUT_SECONDS),
            backends.find_backends()[agent.backend].open(resources) as opened,
        ):
            return _describe_health(agent.id, await opened.check_health(agent))
    except TimeoutError:
        return _describe_health(
            agent.id, AgentHealth(ok=False, detail=f"no answer in {output.format_duration(HEALTH_TIMEOUT_SECONDS)}")
        )
    except GatewayError as error:
        return _describe_health(agent.id, AgentHealth(ok=False, detail=str(error)))
