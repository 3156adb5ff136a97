"""The composition root: puts store, backends, engine and doors together for one serving process."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec

from gateway import backends, plugins, process, token_file
from gateway.api.routing import Control, Surroundings
from gateway.backends import BackendType, Tools
from gateway.config import Config
from gateway.domain.agent import Agent
from gateway.domain.times import Clock, wall_clock
from gateway.engine.engine import Engine
from gateway.engine.latch import Latch
from gateway.engine.owner import Owner
from gateway.engine.rescuer import StoreLedger
from gateway.errors import ConfigError
from gateway.process import Children
from gateway.store.sqlite import opening
from gateway.store.sqlite.store import SqliteStore
from gateway.validation import explain, suggest

_AGENT_FIELDS = frozenset(Agent.__struct_fields__) - {"options"}


def check(config: Config, environ: Mapping[str, str]) -> list[Agent]:
    """Return the agents in force, their options checked by their backends.

    With none configured, the first kind that is found on this machine makes one.

    Raises:
        ConfigError: something is wrong; the message names the setting.
    """
    kinds = backends.kinds()
    agents = [_agent(config, number, entry, kinds) for number, entry in enumerate(config.agents.entries)]
    if not agents:
        agents = [_complete(config, detect(config, environ), kinds)]
    ids = [agent.id for agent in agents]
    twice = next((name for name in ids if ids.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f'agents.list: two agents have the id "{twice}".')
    default = config.agents.default
    if default is not None and default not in ids:
        raise ConfigError(f'agents.default: there is no agent "{default}"{suggest(default, ids)}')
    if default is not None and not next(agent for agent in agents if agent.id == default).enabled:
        raise ConfigError(f'agents.default: the agent "{default}" is disabled.')
    return agents


def detect(config: Config, environ: Mapping[str, str]) -> Agent:
    """Return the agent to use when none is configured: the first kind that is found here."""
    for kind in sorted(backends.kinds().values(), key=lambda kind: kind.rank):
        found = kind.detect(environ, config) if kind.detect else None
        if found is not None:
            return found
    raise AssertionError("the echo agent is always there")


def _agent(config: Config, number: int, entry: Mapping[str, Any], kinds: Mapping[str, BackendType]) -> Agent:
    where = f"{config.path}: agents.list[{number}]"
    name = entry.get("backend")
    if not isinstance(name, str):
        raise ConfigError(f"{where}.backend: is missing{suggest('', sorted(kinds))}")
    kind = kinds.get(name)
    if kind is None:
        raise ConfigError(f'{where}.backend: unknown value "{name}"{suggest(name, sorted(kinds))}')
    common = {key: value for key, value in entry.items() if key in _AGENT_FIELDS}
    own = {key: value for key, value in entry.items() if key not in _AGENT_FIELDS}
    agent = _converted(common, Agent, where)
    unknown = next((key for key in own if key not in kind.options.__struct_encode_fields__), None)
    if unknown is not None:
        known = sorted({*_AGENT_FIELDS, *kind.options.__struct_encode_fields__})
        raise ConfigError(f"{where}.{unknown}: unknown field{suggest(unknown, known)}")
    process.environment({}, agent.env)
    agent = msgspec.structs.replace(agent, options=_converted(own, kind.options, where))
    return _complete(config, agent, kinds)


def _converted(raw: Mapping[str, Any], kind: type[Any], where: str) -> Any:
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}.{explain(error, kind, 'the agent')}") from error


def _complete(config: Config, agent: Agent, kinds: Mapping[str, BackendType]) -> Agent:
    """Fill in what the agent leaves to the settings."""
    adapt = kinds[agent.backend].adapt
    return msgspec.structs.replace(
        agent,
        model=agent.model or config.agents.model,
        options=adapt(agent.options, config) if adapt else agent.options,
    )


def secrets(config: Config, agents: Iterable[Agent]) -> list[str]:
    """Return all values that must not be written to a log."""
    found = [config.gateway.auth.token, token(config)]
    for agent in agents:
        found += [getattr(agent.options, name) for name in backends.kinds()[agent.backend].secrets]
    return [secret for secret in found if secret]


@asynccontextmanager
async def opened(
    config: Config,
    agents: Sequence[Agent],
    owner: Owner,
    *,
    control: Control,
    generation: int = 1,
    environ: Mapping[str, str] = os.environ,
    clock: Clock = wall_clock,
) -> AsyncIterator[Surroundings]:
    """Open everything that serves requests, and close it in the reverse order.

    Args:
        agents: as `check` returned them.

    Raises:
        ConfigError: the database cannot be used.
    """
    async with AsyncExitStack() as stack:
        store = SqliteStore(config.database, queue_limit=config.limits.queue, clock=clock)
        stack.push_async_callback(store.close)
        children = Children(StoreLedger(store, owner), environ)
        used = {name: kind for name, kind in backends.kinds().items() if name in {agent.backend for agent in agents}}
        opened_backends = {}
        for name, kind in used.items():
            tools = Tools(children=children, environ=environ, directory=config.home / "backends" / name)
            opened_backends[name] = await stack.enter_async_context(kind.open(tools))
        engine = Engine(
            store,
            agents,
            opened_backends,
            owner=owner,
            directory=config.home,
            default=config.agents.default,
            token=token(config),
            max_runs=config.limits.runs,
            output_limit=config.limits.output,
            clock=clock,
        )
        channels = plugins.discover("gateway.channels", "CHANNEL") | plugins.registered("moongate.channels")
        await stack.enter_async_context(engine)
        yield Surroundings(
            engine=engine,
            config=config,
            channels=frozenset(channels),
            unconfigured=frozenset(),
            instance=owner.instance,
            generation=generation,
            started=clock(),
            clock=clock,
            closing=Latch(),
            control=control,
        )


def migration_pending(config: Config) -> bool:
    """Tell whether opening the database would change its schema, for which nobody else may use it."""
    return opening.pending(config.database)


def token(config: Config) -> str | None:
    """Return the gateway's own token, generated if there is none yet; None when none is asked for."""
    if config.gateway.auth.mode == "none":
        return None
    return config.gateway.auth.token or token_file.read_or_create(config.home / "token")
