"""Builds the OpenAPI 3.1 document from the types of the routes.

Format: https://spec.openapis.org/oas/v3.1.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

import gateway
from gateway.api.routing import MAX_IDEMPOTENCY_KEY_LENGTH, NATIVE_DIALECT, Nothing, Route

_REFUSED_DESCRIPTION = "Refused; `error.code` says why."
_REF_TEMPLATE = "#/components/schemas/{name}"
#: A schema has the name of its class, with the module where two classes share one. Clients are generated from these
#: names: when a class moves or gets another name, its schema keeps the name that it was published under.
_PUBLISHED_NAMES = {
    "gateway.api.compat.openai.wire.Said": "gateway.api.compat.openai.words.Said",
    "UsageGrouping": "By",
}
_PUBLISHED_REFS = {
    _REF_TEMPLATE.format(name=name): _REF_TEMPLATE.format(name=published)
    for name, published in _PUBLISHED_NAMES.items()
}


def build_document(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the OpenAPI document of these routes."""
    routes = list(routes)
    kinds = {kind for route in routes for kind in (route.body, route.answer, route.query) if kind is not None}
    kinds |= {route.dialect.error_type for route in routes}
    ordered = sorted(kinds, key=lambda kind: (kind.__module__, kind.__name__))
    schemas, components = _rename_refs(
        strip_python_patterns(msgspec.json.schema_components(ordered, ref_template=_REF_TEMPLATE))
    )
    components = dict(_publish(name, schema) for name, schema in components.items())
    of = dict(zip(ordered, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _build_operation(route, of, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Moongate",
            "version": gateway.__version__,
            "description": "The always-on gateway for AI agents. A 2xx answer means that what was sent is on disk.",
        },
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "paths": paths,
    }


def strip_python_patterns(schema: Any) -> Any:
    """Remove `(?!\\n)` from the ends of patterns: only in Python can a line feed follow what `$` matches."""
    if isinstance(schema, dict):
        return {key: strip_python_patterns(value) for key, value in schema.items()}
    if isinstance(schema, (list, tuple)):
        return [strip_python_patterns(value) for value in schema]
    return schema.removesuffix(r"(?!\n)") if isinstance(schema, str) else schema


def _rename_refs(schema: Any) -> Any:
    """Return a schema whose references use published names."""
    if isinstance(schema, dict):
        return {key: _rename_refs(value) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_rename_refs(value) for value in schema]
    return _PUBLISHED_REFS.get(schema, schema) if isinstance(schema, str) else schema


def _publish(name: str, schema: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return a schema under the name that it was published under, which is also its title."""
    published = _PUBLISHED_NAMES.get(name, name)
    return published, {**schema, "title": published.rpartition(".")[2]} if published != name else schema


def _build_operation(route: Route, of: dict[Any, Any], components: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": route.summary,
        "tags": [route.handler.__module__.rpartition(".")[2]],
        "responses": {
            str(route.status): {"description": "Done.", **_build_answer_content(route, of)},
            "default": {
                "description": _REFUSED_DESCRIPTION if route.dialect is NATIVE_DIALECT else "Refused.",
                "content": {"application/json": {"schema": of[route.dialect.error_type]}},
            },
        },
    }
    if route.silent_status is not None:
        operation["responses"][str(route.silent_status)] = {"description": "Done; there is nothing to answer."}
    parameters = [
        *_build_path_parameters(route),
        *_build_query_parameters(route, of, components),
        *_build_header_parameters(route),
    ]
    if parameters:
        operation["parameters"] = parameters
    if route.scope is not None:
        operation["security"] = [{"bearer": []}]
        operation["description"] = f"Needs a token with the scope `{route.scope}`."
    if route.body is not Nothing:
        needed = any(field.required for field in msgspec.structs.fields(route.body))
        operation["requestBody"] = {
            "required": needed,
            "content": {kind: {"schema": _build_body_schema(route, of)} for kind in route.media_types},
        }
    return operation


def _build_body_schema(route: Route, of: dict[Any, Any]) -> dict[str, Any]:
    one: dict[str, Any] = of[route.body]
    return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]} if route.batches else one


def _build_answer_content(route: Route, of: dict[Any, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if route.answer is not None:
        content["application/json"] = {"schema": of[route.answer]}
    elif not (route.streams or route.socket):
        content[route.answer_media_type] = {}
    if route.streams:
        content["text/event-stream"] = {}
    return {"content": content} if content else {}


def _build_path_parameters(route: Route) -> list[dict[str, Any]]:
    names = re.findall(r"{(\w+)}", route.path)
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}} for name in names
    ]


def _build_query_parameters(route: Route, of: dict[Any, Any], components: dict[str, Any]) -> list[dict[str, Any]]:
    schema = of[route.query]
    name = schema.get("$ref", "").rpartition("/")[2]
    properties = components.get(name, schema).get("properties", {})
    return [{"name": key, "in": "query", "schema": value} for key, value in properties.items()]


def _build_header_parameters(route: Route) -> list[dict[str, Any]]:
    found = []
    if route.method == "POST":
        key = {"type": "string", "maxLength": MAX_IDEMPOTENCY_KEY_LENGTH, "pattern": "^[!-~]([ -~]*[!-~])?$"}
        found.append({"name": "Idempotency-Key", "in": "header", "schema": key})
    if route.streams and "after" in route.query.__struct_fields__:
        found.append(
            {"name": "Last-Event-ID", "in": "header", "schema": {"type": "string", "pattern": "^[0-9]{1,18}$"}}
        )
    return found
