"""Reads entries of `agents.list`, and writes an agent as such an entry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway import backends, paths, plugins, validation
from gateway.domain.agent import Agent
from gateway.errors import ConfigError
from gateway.process import child
from gateway.validation import suggest_name

_AGENT_FIELDS = frozenset(Agent.__struct_fields__) - {"options"}


def parse_entry(where: str, entry: Mapping[str, Any]) -> Agent:
    """Return the agent of an entry; its backend has checked its options.

    Args:
        where: what an error message calls the entry.

    Raises:
        ConfigError: a field is wrong; the message names it.
    """
    kinds = backends.find_backends()
    name = entry.get("backend")
    if not isinstance(name, str):
        raise ConfigError(f"{where}.backend: is missing{suggest_name('', sorted(kinds))}")
    kind = kinds.get(name)
    if kind is None:
        plugins.refuse_broken_plugin(f"{where}.backend", name, backends.find_registered_backends().broken)
        raise ConfigError(f'{where}.backend: unknown value "{name}"{suggest_name(name, sorted(kinds))}')
    common = {key: value for key, value in entry.items() if key in _AGENT_FIELDS}
    own = {key: value for key, value in entry.items() if key not in _AGENT_FIELDS}
    agent: Agent = validation.convert_options(common, Agent, where, "the agent")
    unknown = next((key for key in own if key not in kind.options.__struct_encode_fields__), None)
    if unknown is not None:
        known = sorted({*_AGENT_FIELDS, *kind.options.__struct_encode_fields__})
        raise ConfigError(f"{where}.{unknown}: unknown field{suggest_name(unknown, known)}")
    try:
        child.child_environment({}, agent.env)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error.message}", remedy=error.remedy) from error
    workspace = agent.workspace and str(paths.expand_path(agent.workspace, f"{where}.workspace"))
    options = validation.convert_options(own, kind.options, where, "the agent")
    return msgspec.structs.replace(agent, workspace=workspace, options=options)


def format_entry(agent: Agent) -> dict[str, Any]:
    """Return the entry that `parse_entry` reads as this agent, without fields that have their default."""
    common = _changed_fields(agent)
    common.pop("options", None)
    return common | _changed_fields(agent.options)


def _changed_fields(struct: msgspec.Struct) -> dict[str, Any]:
    written = msgspec.to_builtins(struct)
    defaults = {
        known.encode_name: known.default_factory() if known.default is msgspec.NODEFAULT else known.default
        for known in msgspec.structs.fields(struct)
        if not known.required
    }
    return {
        name: value
        for name, value in written.items()
        if name not in defaults or value != msgspec.to_builtins(defaults[name])
    }
