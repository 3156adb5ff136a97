"""Tells which agent answers a request that names none, where it comes from, and whether it is able to answer."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from gateway.api.routing import ServerContext
from gateway.config import Config
from gateway.domain.agent import Agent
from gateway.domain.ports.backend import AgentHealth
from gateway.errors import AgentNotFound

#: what to do about an agent that was found on this machine, and that the gateway does not find
_GONE_REMEDY = (
    "No agent is configured, and this one was found earlier. If it is installed, the gateway was started with another "
    "PATH: stop it, and start it again. If not, look for another: gateway agents detect, then gateway restart."
)


class DefaultAgent(Struct, frozen=True, kw_only=True):
    """The agent that answers a request that names none."""

    #: its id
    id: str
    #: name of its backend
    backend: str
    #: `config`: the config names it; `found`: it was found on this machine; `fallback`: none was found
    origin: Literal["config", "found", "fallback"]
    #: whether it is able to answer; null while that is not known yet
    ok: bool | None
    #: all of this for people; if it cannot answer, also why
    introduction: str


async def describe_default_agent(server: ServerContext) -> DefaultAgent | None:
    """Return the default agent; None if no agent is enabled."""
    try:
        agent = server.engine.agents.default_agent
    except AgentNotFound:
        return None
    health = await server.agent_check.check_agent(server.engine, agent)
    return DefaultAgent(
        id=agent.id,
        backend=agent.backend,
        origin=_find_origin(agent, server.config),
        ok=None if health is None else health.ok,
        introduction=introduce_agent(agent, health, server.config),
    )


def introduce_agent(agent: Agent, health: AgentHealth | None, config: Config) -> str:
    """Return what people should know about the default agent, in one line."""
    origin = _find_origin(agent, config)
    if origin == "fallback":
        return f"{agent.backend}, which only repeats messages: no agent was found. Look again: gateway agents detect"
    if health is None:
        return f"{agent.backend} (does not answer yet)"
    if not health.ok:
        why = health.detail if health.detail.endswith(".") else f"{health.detail}."
        return f"{agent.backend}, which cannot answer: {why}" + (f" {_GONE_REMEDY}" if origin == "found" else "")
    said = f"{agent.backend} {health.version}".strip() + (f" ({health.detail})" if health.detail else "")
    return said + (", found on this machine" if origin == "found" else "")


def _find_origin(agent: Agent, config: Config) -> Literal["config", "found", "fallback"]:
    if config.agents.entries:
        return "config"
    return "fallback" if getattr(agent.options, "mark", False) else "found"
