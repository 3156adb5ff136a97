"""Explains what is wrong with a value from outside, in the names that its sender used."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from gateway.errors import ConfigError
from gateway.security.unsafe_text import UNSAFE_CHARACTERS

_TYPES_IN_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}

#: characters of a sender's text that a message repeats
MAX_QUOTED_CHARS = 200


def explain_error(error: msgspec.ValidationError, struct: type[Struct], whole: str) -> str:
    """Return which field is wrong, why, and what the sender may have meant.

    Translates msgspec's message, `what - at $.path`, into the sender's names.

    Args:
        whole: name of the whole value, such as `the body`.
    """
    what, _, where = str(error).partition(" - at `")
    place = re.sub(r"^key`? in `", "", where)
    path = place.rstrip("`").lstrip("$.")[:MAX_QUOTED_CHARS]
    shown = path.replace("[...]", " (an entry)") + (" (a name in it)" if place != where and path else "")
    inner = f"{shown}." if path else ""
    if found := re.search(r"unknown field `(.*)`", what, re.DOTALL):
        name = found[1][:MAX_QUOTED_CHARS]
        return f"{inner}{name}: unknown field{_suggest_field(name, path, struct)}"
    if found := re.search(r"missing required field `(.*)`", what):
        return f"{inner}{found[1]}: is missing"
    if found := re.search(r"Invalid enum value '(.*)'", what, re.DOTALL):
        name = found[1][:MAX_QUOTED_CHARS]
        return f'{shown}: unknown value "{name}"{suggest_name(name, _list_choices(_find_field_type(struct, path)))}'
    if repr(UNSAFE_CHARACTERS)[1:-1] in what:  # msgspec shows the pattern as a Python literal
        equals = "an equals sign, " if "[^=" in what else ""
        return (
            f"{shown or whole}: has {equals}an invisible or control character, a mark of direction, or a wrong length"
        )
    if found := re.search(r"matching regex ['\"](.*)['\"]$", what):
        return f"{shown or whole}: {_describe_pattern(found[1])}"
    return f"{shown or whole}: {_say_types(what)}"


def explain_value(error: msgspec.ValidationError, kind: Any) -> str:
    """Return why a single value is no value of a type."""
    what = str(error).partition(" - at `")[0]
    if found := re.search(r"Invalid enum value '(.*)'", what, re.DOTALL):
        name = found[1][:MAX_QUOTED_CHARS]
        return f'unknown value "{name}"{suggest_name(name, _list_choices(kind))}'
    return _say_types(what)


def _say_types(what: str) -> str:
    """Return a message of msgspec with its names of types, which stand between backticks, in words."""
    return re.sub(r"`([^`]*)`", lambda quoted: _say_type(quoted[1]), what[0].lower() + what[1:])


def _say_type(names: str) -> str:
    return " or ".join(_TYPES_IN_WORDS.get(name, name) for name in names.split(" | "))


def _describe_pattern(pattern: str) -> str:
    """Return in words what a text of one of our patterns is, which msgspec shows as a Python literal."""
    if pattern.startswith("^https?://"):
        return "must be the address of a server, http:// or https://, without spaces"
    if found := re.match(r"\^\[A-Za-z0-9\]\[A-Za-z0-9(\S+)\]\{0,(\d+)\}\$", pattern):
        signs = " ".join(found[1])
        return (
            f"must begin with a letter or digit, and have only letters, digits and {signs} (1 to {int(found[2]) + 1}"
            " characters)"
        )
    if r"[^\\x00]" in pattern:
        return "must have no NUL character"
    return "must have the form " + pattern.removeprefix("^").removesuffix(r"$(?!\\n)").removesuffix("$")


def _suggest_field(name: str, path: str, struct: type[Struct]) -> str:
    """Return a suggestion for an unknown field: a deeper place of this name, a near name, or the name elsewhere."""
    here = _find_field_type(struct, path)
    deeper = [f"{path}.{place}".lstrip(".") for place in _find_places(name, here)]
    near = suggest_name(name, _field_names(here))
    places = deeper or ([] if near.endswith("?") else _find_places(name, struct))
    quoted = [f'"{place}"' for place in places]
    return f"; did you mean {' or '.join(quoted)}?" if quoted else near


def _find_places(name: str, struct: Any) -> list[str]:
    """Return the dotted places below a struct, not directly in it, at which a field has this name."""
    found = []
    for known in _field_names(struct):
        inner = _find_field_type(struct, known)
        found += [f"{known}.{name}"] if name in _field_names(inner) else []
        found += [f"{known}.{place}" for place in _find_places(name, inner)]
    return found


def convert_options(raw: Mapping[str, Any], kind: type[Any], where: str, whole: str) -> Any:
    """Return options of a config file as the struct that declares them.

    Args:
        where: what an error message calls the place of the options.
        whole: name of the whole value, such as `the agent`.

    Raises:
        ConfigError: a field is wrong; the message names it.
    """
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}.{explain_error(error, kind, whole)}") from error


def end_sentence(text: str) -> str:
    """Return a text with a full stop, unless it ends with a question."""
    return text if text.endswith("?") else f"{text}."


def suggest_name(given: str, known: Iterable[str]) -> str:
    """Return `; did you mean "…"?` with the nearest known name, or the list of choices."""
    import difflib  # late: only needed for a typo

    choices = list(known)
    near = difflib.get_close_matches(given, choices, n=1)
    if near:
        return f'; did you mean "{near[0]}"?'
    return f"; one of {', '.join(choices)}" if choices else ""


def _field_names(found: Any) -> tuple[str, ...]:
    return found.__struct_encode_fields__ if isinstance(found, type) and issubclass(found, Struct) else ()


def _list_choices(found: Any) -> list[str]:
    """Return the words that a field may have."""
    if isinstance(found, type) and issubclass(found, Enum):
        return [str(member.value) for member in found]
    if get_origin(found) is Literal:
        return [str(choice) for choice in get_args(found)]
    inside = [choice for part in get_args(found) for choice in _list_choices(part)]  # of a list, or of several types
    return list(dict.fromkeys(inside))


def _find_field_type(struct: Any, path: str) -> Any:
    """Return the type of the field that a dotted path leads to from a struct, or None if it leads nowhere."""
    found = struct
    for step in filter(None, re.sub(r"\[[^]]*\]", "", path).split(".")):
        if not (isinstance(found, type) and issubclass(found, Struct)):
            return None
        names = {known.encode_name: known.name for known in msgspec.structs.fields(found)}
        found = get_type_hints(found, include_extras=True).get(names.get(step, ""))
        while get_origin(found) is Annotated:
            found = get_args(found)[0]
        if isinstance(found, UnionType):  # `X | None`
            found = next(kind for kind in get_args(found) if kind is not NoneType)
    return found
