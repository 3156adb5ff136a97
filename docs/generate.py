"""Generates the pages that come from the code. `tests/test_docs.py` checks that they are up to date."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from gateway import backends, channels, config
from gateway.api import openapi, routing
from gateway.domain import run
from gateway.domain.agent import Agent
from gateway.domain.inbound import WebhookEndpointSettings
from gateway.runner.sources import ModelSourceType

ROOT = Path(__file__).parent.parent


def pages() -> Mapping[Path, str]:
    """Return the text of each generated page, by its path."""
    architecture = ROOT / "docs" / "architecture.md"
    return {
        ROOT / "config.example.json": example(),
        ROOT / ".env.example": environment(),
        ROOT / "docs" / "settings.md": settings(),
        ROOT / "docs" / "api.md": api(),
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
            {"id": "main", "backend": "opencode", "model": "anthropic/claude-sonnet-4-5", "permissions": "deny"},
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
            default = "" if setting.default is None else setting.default
            lines += ["", f"# {setting.help}{also}", f"#{first}={default}"]
    lines += ["", *_model_variables()]
    return "\n".join(lines) + "\n"


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
    return "\n".join(lines) + "\n"


def api() -> str:
    """Return the reference page of the HTTP API."""
    document = openapi.build_document(routing.discover_routes())
    lines = [
        "# HTTP API",
        "",
        "One port (18790); requests and responses are JSON. Send `Authorization: Bearer <token>`. `GET /openapi.json`",
        "has this page for programs. Every POST accepts an `Idempotency-Key`. For 24 hours, the same key with the",
        "same body gives the same result, and with another body 409. Every response has an `X-Request-Id`. Errors are",
        '`{"error": {"code", "message", "details"?}}`. Times are RFC 3339 in UTC.',
    ]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            lines += [
                "",
                f"## {method.upper()} {path}",
                "",
                f"{operation['summary']}. {operation.get('description', '')}".rstrip(),
            ]
            lines += _body("Body", operation.get("requestBody", {}).get("content", {}), document)
            status, answer = next(iter(operation["responses"].items()))
            lines += _body(f"Response {status}", answer.get("content", {}), document)
            query = [p for p in operation.get("parameters", ()) if p["in"] == "query"]
            if query:
                lines += ["", "Query: " + ", ".join(f"`{p['name']}` ({_kind(p['schema'])})" for p in query) + "."]
    return "\n".join(lines) + "\n"


def with_diagram(text: str) -> str:
    """Return the page with its state diagram replaced by the one that the table of moves gives.

    Other diagrams on the page are written by hand and stay as they are.
    """
    block = f"```mermaid\n{run.draw_diagram()}```"
    return re.sub(r"```mermaid\nstateDiagram-v2\n.*?```", lambda _: block, text, flags=re.DOTALL)


def _body(title: str, content: Mapping[str, Any], document: Mapping[str, Any]) -> list[str]:
    schema = content.get("application/json", {}).get("schema")
    if schema is None:
        return []
    if "anyOf" in schema:  # one object, or a list of such
        title, schema = f"{title} (or a list of these)", schema["anyOf"][0]
    found = _resolved(schema, document)
    required = found.get("required", [])
    rows = [
        f"- `{name}`{'' if name in required else '?'}: {_kind(value, document)}{_default(value)}"
        for name, value in found.get("properties", {}).items()
    ]
    stream = " (with `Accept: text/event-stream`, a stream of events)" if "text/event-stream" in content else ""
    return ["", f"{title}{stream}:", "", *rows] if rows else []


def _resolved(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    return document["components"]["schemas"][name] if name else schema


def _kind(schema: Mapping[str, Any], document: Mapping[str, Any] | None = None) -> str:
    if "$ref" in schema and document is not None:
        inner = _resolved(schema, document)
        if "enum" in inner:
            return _kind(inner)
        return "{" + ", ".join(inner.get("properties", {})) + "}"
    if "anyOf" in schema:
        return " or ".join(_kind(choice, document) for choice in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}), document)}"
    return str(schema.get("format") or schema.get("type", "anything"))


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
        comment = re.search(rf"((?:^ +#:.*\n)*)^ +{field.name}:", source, re.MULTILINE)
        said = " ".join(re.findall(r"#: ?(.*)", comment[1])) if comment else ""
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
