"""Generates the pages that come from the code. `tests/test_docs.py` checks that they are up to date."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec

from gateway import backends, channels, config
from gateway.api import openapi, routing
from gateway.domain import run
from gateway.domain.agent import Agent
from gateway.domain.inbound import WebhookEndpointSettings
from gateway.runner.sources import ModelSourceType
from gateway.settings.alerts import AlertReceiverSettings

ROOT = Path(__file__).parent.parent

#: what fields of these names mean in every object whose own code does not say more
COMMON_MEANINGS = {
    "at": "when it happened",
    "asked_at": "when it was asked",
    "attempt": "number of the attempt, from 1",
    "chat_id": "id of the chat in its channel",
    "cost": "in US dollars",
    "created_at": "when it was created",
    "createdAt": "when it was created",
    "error": "why it failed; null if it did not",
    "expires_at": "when it ends",
    "finished_at": "when it ended; null before",
    "finishedAt": "when it ended; null before",
    "last_activity": "when it was last used",
    "limit": "the most entries of one answer",
    "max_concurrent": "the most runs at the same time",
    "model": "the model, by the name that the agent knows; null leaves the choice to the agent",
    "next_cursor": "send it as `cursor` to get the next page; null on the last page",
    "next_run": "the next time; null if there is none",
    "reply": "the answer of the agent",
    "run_id": "id of the run, which `GET /api/tasks/{id}` shows",
    "scope": "`read`, `write` or `admin`; each includes the ones before",
    "started_at": "when it began; null before",
    "startedAt": "when it began; null before",
    "system_prompt": "what the agent is told before every conversation",
    "timezone": "name of a time zone, such as Europe/Berlin",
    "updated_at": "when it was last changed",
    "updatedAt": "when it was last changed",
}


def pages() -> Mapping[Path, str]:
    """Return the text of each generated page, by its path."""
    architecture = ROOT / "docs" / "architecture.md"
    return {
        ROOT / "config.example.json": example(),
        ROOT / ".env.example": environment(),
        ROOT / "docs" / "settings.md": settings(),
        ROOT / "docs" / "api.md": api(),
        ROOT / "gateway" / "web" / "api.d.ts": write_types(),
        architecture: with_diagram(architecture.read_text()),
    }


def example() -> str:
    """Return an example config file with all sections, their defaults and several kinds of agents."""
    made: dict[str, Any] = {}
    for setting in config.list_settings():
        if setting.default not in (None, [], {}):
            *parents, name = setting.name.split(".")
            place = made
            for parent in parents:
                place = place.setdefault(parent, {})
            place[name] = setting.default
    made["agents"] = {
        "default": "main",
        "list": [
            {"id": "main", "backend": "opencode", "model": "anthropic/claude-sonnet-4-5"},
            {"id": "local", "backend": "openai", "base_url": "http://127.0.0.1:11434/v1", "model": "llama3.2"},
            {"id": "script", "backend": "command", "command": ["python3", "/path/to/agent.py"], "timeout": 600},
            {"id": "echo", "backend": "echo"},
        ],
    }
    return json.dumps(made, indent=2) + "\n"


def environment() -> str:
    """Return an example `.env` file: every setting that has an environment name, commented out."""
    lines = [
        "# Copy this file to ~/.moongate/.env. Environment variables and flags override it.",
        '# The names after "also" are those of the systems that Moongate can replace.',
    ]
    for setting in config.list_settings():
        if setting.env:
            first, *others = setting.env
            also = f" (also {', '.join(others)})" if others else ""
            lines += ["", f"# {setting.help}{also}", f"#{first}={_write_value(setting.default)}"]
    lines += ["", *_model_variables()]
    return "\n".join(lines) + "\n"


def _write_value(value: Any) -> str:
    """Return the value of a setting as its variable has it."""
    if isinstance(value, list):
        return ",".join(value)
    return "" if value is None else str(value)


def _model_variables() -> list[str]:
    """Return the lines of an example `.env` for the models of the Python library and of `gateway exec`."""
    lines = [
        "# Models of the Python library and of `gateway exec`, which read `.env` in the working directory: see",
        "# docs/library.md. A purpose without a model uses that of DEFAULT. A temperature and a maximum of tokens may",
        "# be set, too: MODEL_DEFAULT_TEMPERATURE=, MODEL_DEFAULT_MAX_TOKENS=.",
    ]
    for purpose in ModelSourceType:
        lines += [f"#MODEL_{purpose.name}_{what}=" for what in ("BASEURL", "APIKEY", "MODEL")]
    return lines


def settings() -> str:
    """Return the reference page of the settings."""
    lines = [
        "# Settings",
        "",
        "The config file is `~/.moongate/config.json` (`gateway config path`). `config.example.json` is an example.",
        "Later sources override earlier ones: defaults, the file, `~/.moongate/.env`, the environment, flags.",
        "`gateway config check` names each error. `gateway config show` prints the values in use and their sources.",
        "`gateway config set NAME VALUE` changes one. The file may have comments: see [setup](setup.md#comments).",
        '`"${NAME}"` in a text stands for a [variable](operations.md#variables-in-the-config).',
        "",
        "| setting | default | what it is | environment |",
        "|---|---|---|---|",
    ]
    for setting in config.list_settings():
        names = ", ".join(f"`{name}`" for name in setting.env)
        lines.append(f"| `{setting.name}` | {_code(setting.default)} | {_cell(setting.help)} | {names} |")
    lines += ["", "## Agents", "", "Each entry of `agents.list` has these fields, and the fields of its backend.", ""]
    lines += _fields(Agent, leave_out={"options"})
    for name, kind in sorted(backends.find_backends().items()):
        lines += ["", f"### backend: {name}", ""]
        lines += _fields(kind.options) if msgspec.structs.fields(kind.options) else ["No further fields."]
    lines += ["", "## Channels", "", "`channels.<name>` contains the fields of that channel."]
    for name, channel in sorted(channels.find_channels().items()):
        if channel.options is not None:
            lines += ["", f"### channels.{name}", "", *_fields(channel.options)]
    lines += [
        "",
        "## Webhooks in",
        "",
        "Each entry of `inbound` has these fields; see [webhooks-in.md](webhooks-in.md).",
        "",
    ]
    lines += _fields(WebhookEndpointSettings)
    lines += ["", "## Alerts", "", "Each entry of `alerts.receivers` has these fields; see [alerts.md](alerts.md).", ""]
    lines += _fields(AlertReceiverSettings)
    return "\n".join(lines) + "\n"


def api() -> str:
    """Return the reference page of the HTTP API."""
    document = openapi.build_document(routing.discover_routes())
    meanings = _collect_meanings()
    lines = [
        "# HTTP API",
        "",
        "One port (18790); requests and responses are JSON. Send `Authorization: Bearer <token>`;"
        " [a browser that is signed in](access.md#signing-a-browser-in) sends its cookie instead. `GET /openapi.json`",
        "has this page for programs. Every POST accepts an `Idempotency-Key`. For 24 hours, the same key with the",
        "same body gives the same result, and with another body 409. Every response has an `X-Request-Id`. Errors are",
        '`{"error": {"code", "message", "details"?}}`. Times are RFC 3339 in UTC, durations are in seconds, and costs',
        "in US dollars, unless a field says otherwise. A field with `?` may be left out. [Objects](#objects) has the",
        "fields of what is named here.",
    ]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            lines += [
                "",
                f"## {method.upper()} {path}",
                "",
                f"{operation['summary']}. {operation.get('description', '')}".rstrip(),
            ]
            lines += _body("Body", operation.get("requestBody", {}).get("content", {}), document, meanings)
            status, answer = next(iter(operation["responses"].items()))
            lines += _body(f"Response {status}", answer.get("content", {}), document, meanings)
            query = [p for p in operation.get("parameters", ()) if p["in"] == "query"]
            if query:
                names = tuple(p["name"] for p in query)
                said = meanings.get(names, {})
                lines += ["", "Query:", ""]
                lines += [
                    _row(p["name"], p["schema"], said, document, required=p.get("required", False)) for p in query
                ]
    lines += ["", "## Objects", "", "What the fields above hold."]
    shown: set[str] = set()
    while more := sorted(set(re.findall(r"\]\(#(object-[^)]*)\)", "\n".join(lines))) - shown):
        for anchor in more:
            lines += _object(anchor, document, meanings)
        shown |= set(more)
    return "\n".join(lines) + "\n"


def _object(anchor: str, document: Mapping[str, Any], meanings: _Meanings) -> list[str]:
    """Return the section of an object that others hold."""
    name, schema = next(
        (name, schema) for name, schema in document["components"]["schemas"].items() if _anchor(name) == anchor
    )
    rows = _rows(schema, document, meanings)
    return ["", f"### Object: {_object_title(name)}", "", *(rows or [f"{schema.get('description', 'No fields.')}"])]


def _object_title(name: str) -> str:
    return name.rpartition(".")[2]


def _anchor(name: str) -> str:
    return f"object-{_object_title(name).lower()}"


#: the meanings of fields by their names, by the names of all fields of a struct, with and without the struct's own
_Meanings = Mapping[tuple[str, ...], Mapping[str, str]]


def _collect_meanings() -> _Meanings:
    """Return what the `#:` lines above the fields of all structs of the API say.

    A schema is found by its title and the names of its fields, or by those names if it was published under another
    title.
    """
    routes = routing.discover_routes()
    open_types: list[Any] = [kind for route in routes for kind in (route.body, route.answer, route.query)]
    open_types += [route.dialect.error_type for route in routes]
    seen: set[Any] = set()
    meanings: dict[tuple[str, ...], Mapping[str, str]] = {}
    while open_types:
        kind = open_types.pop()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            if kind not in seen:
                seen.add(kind)
                open_types += get_type_hints(kind).values()
                tag = kind.__struct_config__.tag_field
                said = _read_meanings(kind) | ({tag: "which of these events it is"} if tag else {})
                names = (*([tag] if tag else []), *kind.__struct_encode_fields__)
                meanings[names] = meanings[kind.__name__, *names] = said
        else:
            open_types += get_args(kind)
    return meanings


def _read_meanings(struct: type[msgspec.Struct]) -> Mapping[str, str]:
    """Return the meanings of a struct's fields by the names that they have in JSON."""
    sources = [inspect.getsource(kind) for kind in struct.__mro__ if kind.__module__.startswith("gateway.")]
    found = {
        field.encode_name: next(filter(None, (_comment(source, field.name) for source in sources)), "")
        for field in msgspec.structs.fields(struct)
    }
    return {name: said for name, said in found.items() if said}


def _comment(source: str, field: str) -> str:
    """Return the `#:` lines above a field in the source of its struct."""
    comment = re.search(rf"((?:^ +#:.*\n)*)^ +{field}:", source, re.MULTILINE)
    return " ".join(re.findall(r"#: ?(.*)", comment[1])) if comment else ""


def with_diagram(text: str) -> str:
    """Return the page with its state diagram replaced by the one that the table of moves gives.

    Other diagrams on the page are written by hand and stay as they are.
    """
    block = f"```mermaid\n{run.draw_diagram()}```"
    return re.sub(r"```mermaid\nstateDiagram-v2\n.*?```", lambda _: block, text, flags=re.DOTALL)


def _body(title: str, content: Mapping[str, Any], document: Mapping[str, Any], meanings: _Meanings) -> list[str]:
    schema = content.get("application/json", {}).get("schema")
    if schema is None:
        return []
    if "anyOf" in schema:  # one object, or a list of such
        title, schema = f"{title} (or a list of these)", schema["anyOf"][0]
    found = _resolved(schema, document)
    rows = _rows(found, document, meanings)
    stream = " (with `Accept: text/event-stream`, a stream of events)" if "text/event-stream" in content else ""
    return ["", f"{title}{stream}:", "", *rows] if rows else []


def _rows(schema: Mapping[str, Any], document: Mapping[str, Any], meanings: _Meanings) -> list[str]:
    """Return a row for each field of an object: its name, its type, its default and its meaning."""
    fields, required = schema.get("properties", {}), schema.get("required", [])
    said = meanings.get((str(schema.get("title")), *fields)) or meanings.get(tuple(fields), {})
    return [_row(name, value, said, document, required=name in required) for name, value in fields.items()]


def _row(
    name: str, schema: Mapping[str, Any], said: Mapping[str, str], document: Mapping[str, Any], *, required: bool
) -> str:
    described = (choice["description"] for choice in (schema, *schema.get("anyOf", ())) if "description" in choice)
    meaning = said.get(name) or next(described, "") or COMMON_MEANINGS.get(name, "")
    if not meaning and schema.get("default") == "ok":
        meaning = "always `ok`: whatever fails has another status code"
    ending = f". {meaning[:1].upper()}{meaning[1:].rstrip('.')}." if meaning else ""
    return f"- `{name}`{'' if required else '?'}: {_kind(schema, document)}{_default(schema)}{ending}"


def _resolved(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    return document["components"]["schemas"][name] if name else schema


def _kind(schema: Mapping[str, Any], document: Mapping[str, Any] | None = None) -> str:
    if "$ref" in schema and document is not None:
        inner = _resolved(schema, document)
        if "enum" in inner:
            return _kind(inner)
        name = schema["$ref"].rpartition("/")[2]
        return f"[{_object_title(name)}](#{_anchor(name)})"
    if "anyOf" in schema:
        return " or ".join(_kind(choice, document) for choice in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}), document)}"
    if "properties" not in schema and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_kind(schema['additionalProperties'], document)}"
    return str(schema.get("format") or schema.get("type", "anything"))


def write_types() -> str:
    """Return TypeScript's types of our own API, which the comments of the dashboard's code refer to."""
    routes = [
        route for route in routing.discover_routes() if route.handler.__module__.startswith("gateway.api.routes.")
    ]
    document = openapi.build_document(routes)
    answers = {}
    for path, operations in document["paths"].items():
        told = operations.get("get", {}).get("responses", {}).get("200", {}).get("content", {}).get("application/json")
        if told:
            answers[re.sub(r"{\w+}", "${string}", path)] = _type(told["schema"])
    # `${string}` matches slashes, too: a path with more of them than all that follow is none of these.
    patterns = sorted((path for path in answers if "$" in path), key=lambda path: (-path.count("/"), path))
    longer = {depth: "/${string}" * (depth + 1) for depth in (path.count("/") for path in patterns)}
    lines = [
        "// Types of the HTTP API for the dashboard's comments, made by docs/generate.py. No browser gets this file.",
        "",
        "/** What a GET of a path answers. */",
        "export type Answer<P extends string> =",
        *(f"  P extends '{path}' ? {answers[path]} :" for path in sorted(answers) if "$" not in path),
        *(
            f"  P extends `{longer[path.count('/')]}` ? any : P extends `{path}` ? {answers[path]} :"
            for path in patterns
        ),
        "  any;",
    ]
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += ["", f"export type {name} = {_type(schema)};"]
    return "\n".join(lines) + "\n"


#: what TypeScript calls the types of JSON Schema
_TYPES = {"integer": "number", "null": "null", "string": "string", "number": "number", "boolean": "boolean"}


def _type(schema: Mapping[str, Any]) -> str:
    """Return a schema as a type of TypeScript."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " | ".join(_type(choice) for choice in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return " | ".join(json.dumps(value) for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"Array<{_type(schema.get('items', {}))}>"
    if "properties" in schema:
        required = schema.get("required", ())
        fields = [
            f"  {json.dumps(name)}{'' if name in required else '?'}: {_type(about)};"
            for name, about in schema["properties"].items()
        ]
        return "\n".join(["{", *fields, "}"])
    if schema.get("type") == "object":
        return f"{{ [name: string]: {_type(schema.get('additionalProperties') or {})} }}"
    return _TYPES.get(schema.get("type", ""), "any")


def _default(schema: Mapping[str, Any]) -> str:
    default = schema.get("default", schema.get("x-default"))
    return f" = {_code(default)}" if default not in (None, {}, []) else ""


def _fields(struct: type[msgspec.Struct], leave_out: frozenset[str] | set[str] = frozenset()) -> list[str]:
    """Return a table of a struct's fields. The `#:` lines above a field are its description."""
    source = inspect.getsource(struct)
    lines = ["| field | default | what it is |", "|---|---|---|"]
    for field in msgspec.structs.fields(struct):
        if field.name in leave_out:
            continue
        said = _comment(source, field.name)
        default = (
            field.default_factory() if field.default is msgspec.NODEFAULT and not field.required else field.default
        )
        shown = "required" if field.required else _code(default)
        lines.append(f"| `{field.encode_name}` | {shown} | {_cell(said)} |")
    return lines


def _default_of(field: msgspec.structs.FieldInfo) -> Any:
    return field.default_factory() if field.default is msgspec.NODEFAULT else field.default


def _code(value: Any) -> str:
    if value is None or value in ([], {}):
        return ""
    return f"`{value if isinstance(value, str) else json.dumps(value, default=str)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    for path, text in pages().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
