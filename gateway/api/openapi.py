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
from gateway.domain.media_type import UNKNOWN_MEDIA_TYPE

_REFUSED_DESCRIPTION = "Refused; `error.code` says why."
_REF_TEMPLATE = "#/components/schemas/{name}"
#: A schema has the name of its class. Clients are generated from these names: where two classes share one, and when a
#: class gets another name, its schema has the name that is given here.
_PUBLISHED_NAMES = {
    "UsageGrouping": "By",
    "gateway.api.compat.openai.wire.Said": "OpenAIMessage",
    "gateway.api.routes.agent.Answer": "AgentReply",
    "gateway.api.routes.channels.Ok": "ChannelStarted",
    "gateway.api.routes.cron.Which": "ScheduleQuery",
    "gateway.api.routes.logs.Which": "LogQuery",
    "gateway.api.routes.message.Said": "SentMessage",
    "gateway.api.routes.sessions.Ok": "SessionRemoved",
    "gateway.api.routes.tasks.Which": "TaskQuery",
    "gateway.domain.event.Status": "StatusEvent",
    "gateway.domain.permission.Answer": "PermissionDecision",
    "gateway.domain.run.Status": "RunStatus",
}
#: one event of a stream: https://html.spec.whatwg.org/multipage/server-sent-events.html
_SERVER_SENT_EVENT = {
    "type": "object",
    "description": "One server-sent event.",
    "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
}
#: what generators of clients take for a file
_BINARY = {"type": "string", "format": "binary"}
#: a body that is a file, or a form with one
_FILE_CONTENT = {
    UNKNOWN_MEDIA_TYPE: {"schema": _BINARY},
    "multipart/form-data": {"schema": {"type": "object", "properties": {"file": _BINARY}, "required": ["file"]}},
}
_PUBLISHED_REFS = {
    _REF_TEMPLATE.format(name=name): _REF_TEMPLATE.format(name=published)
    for name, published in _PUBLISHED_NAMES.items()
}


def build_document(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the OpenAPI document of these routes."""
    routes = [route for route in routes if route.documented]
    kinds = {kind for route in routes for kind in (route.body, route.answer, route.query) if kind is not None}
    kinds |= {route.dialect.error_type for route in routes}
    ordered = sorted(kinds, key=lambda kind: (kind.__module__, kind.__name__))
    schemas, components = _adapt_schema(
        strip_python_patterns(msgspec.json.schema_components(ordered, ref_template=_REF_TEMPLATE))
    )
    published = [_publish_schema(name, schema) for name, schema in components.items()]
    components = dict(published)
    assert len(components) == len(published), "two schemas are published under one name"
    of = dict(zip(ordered, schemas, strict=True))
    for name in _find_used_schemas([of[route.body] for route in routes], components):
        components[name] = _mark_defaults(components[name])
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _build_operation(route, of, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Moongate",
            "version": gateway.__version__,
            "description": "The always-on gateway for AI agents. A 2xx answer means that what was sent is on disk.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "The gateway that this document comes from."}],
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


def _adapt_schema(schema: Any) -> Any:
    """Return a schema that generators of clients can read: with published names, and what msgspec leaves out."""
    if isinstance(schema, (list, tuple)):
        return [_adapt_schema(value) for value in schema]
    if not isinstance(schema, dict):
        return _PUBLISHED_REFS.get(schema, schema) if isinstance(schema, str) else schema
    adapted = {key: _adapt_schema(value) for key, value in schema.items()}
    if adapted.get("type") == "array":
        adapted.setdefault("items", {})
    if adapted.get("enum") in ([True], [False]):
        return {"type": "boolean", "const": adapted["enum"][0]}
    return adapted


def _publish_schema(name: str, schema: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return a schema under the name that it was published under, which is also its title."""
    published = _PUBLISHED_NAMES.get(name, name)
    return published, {**schema, "title": published}


def _find_used_schemas(schemas: list[dict[str, Any]], components: dict[str, dict[str, Any]]) -> set[str]:
    """Return the names of all schemas that these refer to, directly or through others."""
    found: set[str] = set()
    pending: list[Any] = list(schemas)
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            name = str(part.get("$ref", "")).rpartition("/")[2]
            if name and name not in found:
                found.add(name)
                pending.append(components[name])
            pending.extend(part.values())
        elif isinstance(part, list):
            pending.extend(part)
    return found


def _mark_defaults(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of what a client sends, with `x-default` for `default`.

    Generators of clients take a field with a default for one that is always there, and make clients send it.
    """
    properties = {
        name: {"x-default" if key == "default" else key: value for key, value in about.items()}
        for name, about in schema.get("properties", {}).items()
    }
    return {**schema, "properties": properties} if properties else schema


def _build_operation(route: Route, of: dict[Any, Any], components: dict[str, Any]) -> dict[str, Any]:
    refused = {
        "description": _REFUSED_DESCRIPTION if route.dialect is NATIVE_DIALECT else "Refused.",
        "content": {"application/json": {"schema": of[route.dialect.error_type]}},
    }
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": route.summary,
        "tags": [route.handler.__module__.rpartition(".")[2]],
        "responses": {
            str(route.status): {"description": "Done.", **_build_answer_content(route, of)},
            "4XX": refused,
            "default": refused,
        },
        "security": [] if route.scope is None else [{"bearer": []}],
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
        operation["description"] = f"Needs a token with the scope `{route.scope}`."
    if route.takes_stream:
        operation["requestBody"] = {"required": False, "content": _FILE_CONTENT}
    elif route.body is not Nothing:
        needed = any(field.required for field in msgspec.structs.fields(route.body))
        operation["requestBody"] = {
            "required": needed,
            "content": {kind: {"schema": _allow_batch(route, of[route.body])} for kind in route.media_types},
        }
    return operation


def _allow_batch(route: Route, one: dict[str, Any]) -> dict[str, Any]:
    """Return a schema for one object, or also for a list of them if the route has batches."""
    return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]} if route.batches else one


def _build_answer_content(route: Route, of: dict[Any, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if route.answer is not None:
        content["application/json"] = {"schema": _allow_batch(route, of[route.answer])}
    elif not (route.streams or route.socket):
        content[route.answer_media_type] = {}
    if route.streams:
        content["text/event-stream"] = {"schema": _SERVER_SENT_EVENT}
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
    return [
        {"name": key, "in": "query", "schema": value}
        # several values of one parameter have commas between them
        | ({"style": "form", "explode": False} if any("items" in one for one in value.get("anyOf", ())) else {})
        for key, value in properties.items()
    ]


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
