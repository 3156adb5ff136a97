"""Finds the agent to use when none is configured: what a setting names, what was found before, what is here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import msgspec

from gateway import backends, log
from gateway.agent_setup import entries, memory
from gateway.backends import BackendType
from gateway.config import Config
from gateway.domain.agent import Agent
from gateway.errors import ConfigError
from gateway.paths import display_path, found_agent_file

#: the backend that answers where nothing was ever found
FALLBACK_BACKEND = "echo"

_log = log.get()

_Look = Callable[[Mapping[str, str], Config], Agent | None] | None


def choose_agent(config: Config, environ: Mapping[str, str], *, remember: bool) -> Agent:
    """Return the agent to use, without values of the settings that it may take.

    A server that a setting names comes first. Then comes the agent that an earlier start found, even if it is
    gone: another one in its place would be a surprise. Then comes what is found on this machine. Where nothing
    is found, the built-in echo agent answers, and each of its answers says what it is.

    Args:
        remember: whether the next starts use what is found now; serving processes say so.

    Raises:
        ConfigError: what an earlier start found cannot be read.
    """
    if (named := _ask_backends(lambda kind: kind.named, {}, config)) is not None:
        return named
    remembered = _read_memory(config)
    found = look_around(config, environ) if remembered is None else _refresh_agent(remembered, config, environ)
    if found is None:
        options = msgspec.convert({"mark": True}, backends.find_backends()[FALLBACK_BACKEND].options)
        return Agent(id="main", backend=FALLBACK_BACKEND, options=options)
    if remember and found != remembered:
        _store_memory(config, found)
    return found


def look_around(config: Config, environ: Mapping[str, str]) -> Agent | None:
    """Return an agent that works on this machine: first one that a setting or a variable names; None without any."""
    named = _ask_backends(lambda kind: kind.named, environ, config)
    return named or _ask_backends(lambda kind: kind.detect, environ, config)


def _read_memory(config: Config) -> Agent | None:
    entry = memory.read_remembered_agent(config.home)
    if entry is None:
        return None
    where = display_path(found_agent_file(config.home))
    try:
        return entries.parse_entry(where, entry)
    except ConfigError as error:
        raise ConfigError(f"{error.message}", remedy="Look for an agent again: gateway agents detect") from error


def _refresh_agent(remembered: Agent, config: Config, environ: Mapping[str, str]) -> Agent:
    """Return an agent of the same backend that a variable names now, such as another server; else the same agent."""
    kind = backends.find_backends()[remembered.backend]
    return (kind.named(environ, config) if kind.named else None) or remembered


def _store_memory(config: Config, found: Agent) -> None:
    try:
        memory.remember_agent(config.home, entries.format_entry(found))
    except OSError as error:  # a full disk: the next start looks again
        _log.warning("agent.not_remembered", agent=found.backend, error=str(error))


def _ask_backends(choose: Callable[[BackendType], _Look], environ: Mapping[str, str], config: Config) -> Agent | None:
    answers = (_ask_backend(name, choose(kind), environ, config) for name, kind in _sort_by_rank())
    return next((found for found in answers if found is not None), None)


def _sort_by_rank() -> Iterator[tuple[str, BackendType]]:
    yield from sorted(backends.find_backends().items(), key=lambda entry: entry[1].rank)


def _ask_backend(name: str, look: _Look, environ: Mapping[str, str], config: Config) -> Agent | None:
    try:
        return look(environ, config) if look else None
    except Exception as error:  # as in plugins: foreign code may raise anything
        if name not in backends.find_registered_backends().usable:
            raise
        origin = backends.find_registered_backends().origins[name]
        _log.warning("plugin.broken", plugin=name, origin=origin, why=f"its look around raises {error!r}")
        return None
