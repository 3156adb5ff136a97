"""A JSON Schema as items: what may grow, the fields and the choices, one by one; the rest of each as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

Schema = Mapping[str, Any]
#: words for people, which may get better, and names of classes
_PROSE = {"title", "description", "summary"}
#: what is told item by item
_PARTS = {"properties", "enum", "required"}
_COMPONENTS = "#/components/schemas/"


def of_type(kind: Any) -> dict[str, Any]:
    """Return the schema of a type, with that of each type it names in the place of its name."""
    (schema,), components = msgspec.json.schema_components([kind], ref_template=_COMPONENTS + "{name}")
    found: dict[str, Any] = _inlined(schema, components)
    return found


def _inlined(schema: Any, components: Schema) -> Any:
    if isinstance(schema, (list, tuple)):
        return [_inlined(one, components) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    if "$ref" in schema:
        return _inlined(components[schema["$ref"].removeprefix(_COMPONENTS)], components)
    return {key: _inlined(value, components) for key, value in schema.items()}


def unit(schema: Schema) -> dict[str, Any]:
    """Return what of a schema counts as a whole."""
    return {key: _unit(value) for key, value in schema.items() if key not in _PROSE | _PARTS}


def _unit(value: Any) -> Any:
    if isinstance(value, Mapping):
        return unit(value)
    return [_unit(one) for one in value] if isinstance(value, (list, tuple)) else value


def items(name: str, schema: Schema) -> Iterator[tuple[str, Any]]:
    """Yield the items of a schema below its own unit: its fields and its choices, and those of what it holds."""
    for choice in schema.get("enum", ()):
        yield f"{name} is {choice!r}", None
    for key, value in schema.get("properties", {}).items():
        yield f"{name}.{key}", {**unit(value), "required": key in schema.get("required", ())}
        yield from items(f"{name}.{key}", value)
    for held in (*schema.get("anyOf", ()), schema.get("items"), schema.get("additionalProperties")):
        if isinstance(held, Mapping):
            yield from items(name, held)


def needs(schema: Schema) -> list[str]:
    """Return the fields that whoever sends such a thing has to give."""
    return sorted(schema.get("required", ()))
