"""Finds the setting that a dotted key names: its place in the file, its type, and its default."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from gateway import backends, channels
from gateway.config import Settings
from gateway.config_files.json_file import is_unicode
from gateway.domain.agent import Agent
from gateway.errors import InvalidRequest
from gateway.validation import end_sentence, suggest_name

#: one part of a key: a JSON text in quotes, or everything up to the next dot
_PART = re.compile(r'("(?:[^"\\]|\\.)*"|[^."]+)(?:\.|$)')


class Key(NamedTuple):
    """A setting, or a part of one such as a field of a channel."""

    #: as it is written, with quotes where a part needs them
    name: str
    #: where its value stands in the file; an agent is meant by its number, which is that of a new one if it is missing
    path: tuple[str | int, ...]
    #: what its value may be; `Any` if it is not known
    type: Any
    #: its value if the file has none
    default: Any = None
    #: id of the agent that it belongs to
    agent: str | None = None


def find_key(text: str, content: Mapping[str, Any]) -> Key:
    """Return the setting that a key names.

    Args:
        text: such as `gateway.port`, `channels.telegram.chats`, `agents.list.main.model`, or
            `webhooks.secrets."https://a.example"`.
        content: what the config file says.

    Raises:
        InvalidRequest: there is no such setting.
    """
    parts = _split_key(text)
    found = Key("", (), Settings)
    while parts:
        found, parts = _step_down(found, parts, content)
    return found


def find_present_key(text: str, content: Mapping[str, Any]) -> Key:
    """Return the setting that a key names; also what is no setting, if the file has it.

    Raises:
        InvalidRequest: there is no such setting, and the file has nothing there.
    """
    try:
        return find_key(text, content)
    except InvalidRequest as unknown:
        path: list[str | int] = []
        at: Any = content
        for part in _split_key(text):
            step: str | int = part
            if isinstance(at, list):
                step = next((n for n, one in enumerate(at) if isinstance(one, dict) and one.get("id") == part), part)
            try:
                at = at[step]
            except (KeyError, TypeError, IndexError):
                raise unknown from None
            path.append(step)
        return Key(text, tuple(path), Any)


def _split_key(text: str) -> list[str]:
    parts, at = [], 0
    while (found := _PART.match(text, at)) and found[0]:
        parts.append(_read_part(found[1]))
        at = found.end()
    if at != len(text) or not parts or not is_unicode("".join(parts)) or text.endswith("."):
        raise InvalidRequest(
            f"{text!r} is not the name of a setting.",
            remedy="Write it like gateway.port, with quotes around a part that has dots. See: gateway config show",
        )
    return parts


def _read_part(word: str) -> str:
    """Return a part without its quotes; a part with an escape that does not exist is no Unicode."""
    if not word.startswith('"'):
        return word
    try:
        return str(json.loads(word))
    except ValueError:
        return "\ud800"


def _step_down(at: Key, parts: Sequence[str], content: Mapping[str, Any]) -> tuple[Key, list[str]]:
    """Return the setting that the first part leads to, and the parts that are left."""
    step, rest = parts[0], list(parts[1:])
    kind, name = at.type, _join(at.name, step)
    if at.path == ("agents", "list"):
        return _enter_agent(name, step, content), rest
    if at.agent is not None and len(at.path) == 3:
        return _enter_agent_field(at, name, step, content), rest
    if at.path == ("channels",):
        options = _find_channel_options(name, step)
        return Key(name, (*at.path, step), options), rest
    if _is_struct(kind):
        return at._replace(name=name, path=(*at.path, step), **_find_field(kind, name, step)), rest
    if get_origin(kind) is dict:
        inner = _simplify_type(get_args(kind)[1])
        if rest and not _takes_parts(inner):  # an address, whose dots need no quotes
            step, rest = ".".join(parts), []
        return at._replace(name=_join(at.name, step), path=(*at.path, step), type=inner, default=None), rest
    if kind is Any:
        return at._replace(name=name, path=(*at.path, step), default=None), rest
    raise InvalidRequest(f"{at.name} is one value and has no {step!r} in it.", remedy="See: gateway config show")


def _join(name: str, step: str) -> str:
    plain = re.fullmatch(r'[^."\s]+', step) is not None
    return ".".join(filter(None, [name, step if plain else json.dumps(step, ensure_ascii=False)]))


def _enter_agent(name: str, id_: str, content: Mapping[str, Any]) -> Key:
    agents = content.get("agents")
    listed = agents.get("list") if isinstance(agents, dict) else None
    entries = listed if isinstance(listed, list) else []
    ids = [entry.get("id") if isinstance(entry, dict) else None for entry in entries]
    number = ids.index(id_) if id_ in ids else len(entries)
    return Key(name, ("agents", "list", number), dict[str, Any], agent=id_)


def _enter_agent_field(at: Key, name: str, step: str, content: Mapping[str, Any]) -> Key:
    number = at.path[-1]
    assert isinstance(number, int)
    listed = (content.get("agents") or {}).get("list") or []
    backend = listed[number].get("backend") if number < len(listed) else None
    kind = backends.find_backends().get(backend) if isinstance(backend, str) else None
    known: dict[str, Any] = {}
    for struct in (Agent, kind.options if kind is not None else None):
        if struct is not None and step in struct.__struct_encode_fields__ and step != "options":
            known = _find_field(struct, name, step)
    if not known and kind is not None:
        names = {*Agent.__struct_encode_fields__, *kind.options.__struct_encode_fields__} - {"options"}
        raise InvalidRequest(f"there is no setting {end_sentence(name + suggest_name(step, sorted(names)))}")
    return at._replace(name=name, path=(*at.path, step), **(known or {"type": Any, "default": None}))


def _find_channel_options(name: str, channel: str) -> type[Struct]:
    kinds = {each: kind.options for each, kind in channels.find_channels().items() if kind.options is not None}
    if channel not in kinds:
        raise InvalidRequest(f"there is no setting {end_sentence(name + suggest_name(channel, sorted(kinds)))}")
    return kinds[channel]


def _find_field(struct: type[Struct], name: str, step: str) -> dict[str, Any]:
    """Return type and default of a field."""
    fields = {known.encode_name: known for known in msgspec.structs.fields(struct)}
    if step not in fields:
        raise InvalidRequest(f"there is no setting {end_sentence(name + suggest_name(step, sorted(fields)))}")
    known = fields[step]
    hint = get_type_hints(struct, include_extras=True)[known.name]
    default: Any = known.default
    if default is msgspec.NODEFAULT:
        made = known.default_factory
        default = None if made is msgspec.NODEFAULT else msgspec.to_builtins(made(), enc_hook=str)
    return {"type": _simplify_type(hint), "default": default}


def _simplify_type(kind: Any) -> Any:
    """Return a type; of `X | None` only X, if that has parts."""
    while get_origin(kind) is Annotated and _takes_parts(get_args(kind)[0]):
        kind = get_args(kind)[0]
    if get_origin(kind) in (UnionType, Union):
        inner = [each for each in get_args(kind) if each is not NoneType]
        if len(inner) == 1 and _takes_parts(_simplify_type(inner[0])):
            return _simplify_type(inner[0])
    return kind


def _takes_parts(kind: Any) -> bool:
    return _is_struct(kind) or get_origin(kind) is dict or kind is Any or kind is dict


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)
