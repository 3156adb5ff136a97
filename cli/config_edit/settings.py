"""Sets, removes and reads one setting by its key, and finds what else counts for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from msgspec import to_builtins

from cli.config_edit import changes, keys, values
from cli.config_edit.changes import Change, get_at
from cli.config_edit.keys import Key
from cli.instance import Instance
from gateway import config
from gateway.errors import ConfigError, InvalidRequest


class KeyChange(NamedTuple):
    """A change of one setting."""

    key: Key
    change: Change
    #: its value in the file before; None if it had none
    before: Any
    #: its value in the file now
    after: Any


def set_setting(env: Mapping[str, str], name: str, text: str, *, is_json: bool = True) -> KeyChange:
    """Set a setting to the value that a text means.

    Raises:
        InvalidRequest: there is no such setting.
        ConfigError: it cannot have the value.
    """
    return _set_found(env, name, lambda key: values.parse_value(key, text, is_json=is_json))


def set_setting_value(env: Mapping[str, str], name: str, value: Any) -> KeyChange:
    """Set a setting to a value as JSON has it."""
    return _set_found(env, name, lambda _: value)


def _set_found(env: Mapping[str, str], name: str, read: Any) -> KeyChange:
    told: dict[str, Any] = {}

    def find(content: dict[str, Any]) -> tuple[tuple[str | int, ...], Any]:
        key = keys.find_key(name, content)
        value = read(key)
        told.update(key=key, before=get_at(content, key.path)[1], after=value)
        return _include_id(key, value, content)

    change = changes.set_in_config(env, find)
    return KeyChange(change=change, **told)


def _include_id(key: Key, value: Any, content: dict[str, Any]) -> tuple[tuple[str | int, ...], Any]:
    """Return path and value, with the whole entry where an agent is new."""
    path = key.path
    if key.agent is None:
        return path, value
    if len(path) == 3:
        if value.get("id", key.agent) != key.agent:
            raise ConfigError(
                f"{key.name}: the agent cannot have another id there: {value['id']!r}.",
                remedy=f"Leave the id out, or rename it: gateway config set {key.name}.id NEW",
            )
        return path, {"id": key.agent, **value}
    if not get_at(content, path[:3])[0]:
        if path[3] != "backend":
            raise InvalidRequest(
                f"there is no agent {key.agent!r} in the config file.", remedy=_describe_agents(content)
            )
        for step in reversed(path[3:]):
            value = {step: value}
        return path[:3], {"id": key.agent, **value}
    return path, value


def _describe_agents(content: Mapping[str, Any]) -> str:
    entries = get_at(content, ("agents", "list"))[1] or []
    ids = [str(entry.get("id")) for entry in entries if isinstance(entry, dict)]
    if ids:
        return f"It has {', '.join(ids)}."
    return """Add one: gateway setup, or gateway config set agents.list.main '{"backend": …}'"""


def unset_setting(env: Mapping[str, str], name: str, *, is_section: bool = False) -> KeyChange:
    """Remove a setting from the file, so that it has its default.

    Args:
        is_section: whether it may be a section, with all settings that the file has in it.

    Raises:
        InvalidRequest: there is no such setting, or it is a section that must not be removed.
        ConfigError: the config cannot be without it.
    """
    told: dict[str, Any] = {}

    def find(content: dict[str, Any]) -> tuple[str | int, ...]:
        key = keys.find_present_key(name, content)
        before = get_at(content, key.path)[1]
        if not is_section and (parts := _find_parts(key, before)):
            raise InvalidRequest(
                f"{key.name} is a section; this would remove {', '.join(parts)}.",
                remedy=f"Name one of them, or remove them all: gateway config unset {key.name} --all",
            )
        told.update(key=key, before=before)
        return key.path

    change = changes.remove_from_config(env, find)
    return KeyChange(change=change, after=None, **told)


def _find_parts(key: Key, value: Any) -> list[str]:
    """Return what a section has in the file; nothing for one setting, or one entry such as an agent or a channel."""
    names = [setting.name for setting in config.list_settings()]
    holds_settings = any(name.startswith(f"{key.name}.") for name in names)
    if isinstance(value, dict) and (holds_settings or (key.name in names and _are_objects(value.values()))):
        return [f"{key.name}.{part}" for part in value]
    if isinstance(value, list) and key.name in names and _are_objects(value):
        return [f"{key.name}.{entry.get('id', number)}" for number, entry in enumerate(value)]
    return []


def _are_objects(values: Collection[Any]) -> bool:
    return bool(values) and all(isinstance(value, dict) for value in values)


def read_setting(instance: Instance, name: str) -> tuple[Key, Any, str]:
    """Return a setting's key, its value in force, and where that comes from.

    Raises:
        InvalidRequest: there is no such setting.
        ConfigError: the config cannot be used.
    """
    settings = config.load(instance.env)
    content = instance.config_content or {}
    key = keys.find_key(name, content)
    there, value = get_at(to_builtins(settings, enc_hook=str), key.path)
    override = find_override(instance, key)
    if override:
        return key, value, override
    in_file = get_at(content, key.path)[0]
    return key, value if there else key.default, "file" if in_file else "default"


def find_override(instance: Instance, key: Key) -> str:
    """Return the variable that a setting gets its value from, whatever the file says; empty if there is none."""
    row = next((each for each in config.list_settings() if tuple(each.name.split(".")) == key.path), None)
    for known, origin in ((instance.env, "environment"), (_read_dotenv(instance), ".env")):
        for name in row.env if row is not None else ():
            if known.get(name):
                return f"{origin}: {name}"
    return ""


def _read_dotenv(instance: Instance) -> Mapping[str, str]:
    try:
        return instance.dotenv_values
    except ConfigError:
        return {}
