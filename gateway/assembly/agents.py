"""Makes the agents of the settings."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway import backends
from gateway.agent_setup import detection, entries
from gateway.config import Config
from gateway.domain.agent import Agent
from gateway.errors import ConfigError
from gateway.validation import suggest_name


def make_agents(config: Config, environ: Mapping[str, str], *, remember: bool) -> list[Agent]:
    """Return the agents in force; their backends have checked their options.

    Without a configured agent, it is the one that was found on this machine.

    Args:
        remember: whether the next starts use an agent that is found now.

    Raises:
        ConfigError: a setting is wrong; the message names it.
    """
    listed = [
        entries.parse_entry(f"agents.list[{number}]", entry) for number, entry in enumerate(config.agents.entries)
    ]
    agents = [
        _fill_defaults(config, agent)
        for agent in listed or [detection.choose_agent(config, environ, remember=remember)]
    ]
    ids = [agent.id for agent in agents]
    twice = next((name for name in ids if ids.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f'agents.list: two agents have the id "{twice}".')
    default = config.agents.default
    if default is not None and default not in ids:
        raise ConfigError(f'agents.default: there is no agent "{default}"{suggest_name(default, ids)}')
    if default is not None and not next(agent for agent in agents if agent.id == default).enabled:
        raise ConfigError(f'agents.default: the agent "{default}" is disabled.')
    return agents


def _fill_defaults(config: Config, agent: Agent) -> Agent:
    """Return the agent with its missing values taken from the settings."""
    adapt = backends.find_backends()[agent.backend].adapt
    return msgspec.structs.replace(
        agent,
        model=agent.model or config.agents.model,
        options=adapt(agent.options, config) if adapt else agent.options,
    )
