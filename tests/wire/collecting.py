"""Collects what this release puts on a wire or on a disk: one function a kind.

Names of classes, functions and modules are no promise, so each is looked up in one small function of `names`, to be
followed there when it moves.
"""

from __future__ import annotations

import contextlib
import enum
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from tests.wire import names, schemas, source
from tests.wire.promises import Items
from tests.wire.schemas import Schema


def openapi(_: Path) -> Items:
    """Paths with what they take and answer, and the fields of all schemas."""
    document = json.loads(msgspec.json.encode(names.openapi_document()))
    components = document["components"]["schemas"]
    found: dict[str, Any] = {"security": document["components"]["securitySchemes"]}
    taken: set[str] = set()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            found |= _operation(f"{method.upper()} {path}", operation)
            taken |= _mentioned(operation.get("requestBody"), components)
    for name, schema in components.items():
        found[f"schema {name}"] = schemas.unit(schema)
        found |= schemas.items(f"schema {name}", schema)
        if name in taken:
            found[f"schema {name} needs"] = schemas.needs(schema)
    return found


def _operation(name: str, operation: Schema) -> Iterator[tuple[str, Any]]:
    yield name, {key: operation.get(key) for key in ("operationId", "tags", "security")}
    for parameter in operation.get("parameters", ()):
        at = f"{name} {parameter['in']} {parameter['name']}"
        yield at, {**schemas.unit(parameter["schema"]), "required": parameter.get("required", False)}
        yield from schemas.items(at, parameter["schema"])
    body = operation.get("requestBody")
    if body is not None:
        yield f"{name} needs a body", body["required"]
        yield from _content(f"{name} takes", body)
    for status, answer in operation["responses"].items():
        yield f"{name} answers {status}", None
        yield from _content(f"{name} answers {status}", answer)


def _content(name: str, holder: Schema) -> Iterator[tuple[str, Any]]:
    for kind, about in holder.get("content", {}).items():
        schema = about.get("schema", {})
        yield f"{name} as {kind}", schemas.unit(schema)
        yield from schemas.items(f"{name} as {kind}", schema)


def _mentioned(part: Any, components: Schema) -> set[str]:
    """Return the names of all schemas that a part of the document needs."""
    found: set[str] = set()
    new = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(part)))
    while new:
        found |= new
        said = json.dumps([components[name] for name in new])
        new = set(re.findall(r'"#/components/schemas/([^"]+)"', said)) - found
    return found


def database(directory: Path) -> Items:
    """The schema of a new database, part by part, and the checksums by which databases know their migrations."""
    found: dict[str, Any] = {f"migration {name}": checksum for name, checksum in names.migrations()}
    with contextlib.closing(names.new_database(directory / "moongate.db")) as connection:
        found["application_id"] = connection.pragma("application_id")
        shadows = {name for _, name, kind, *_ in connection.execute("PRAGMA table_list") if kind == "shadow"}
        for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL"):
            if name in shadows or name.startswith("sqlite_"):
                continue
            plain = " ".join(re.sub(r"--[^\n]*", "", sql).split())
            if kind == "table" and not plain.startswith("CREATE VIRTUAL"):
                found |= {f"table {name}: {part}": None for part in _parts(plain)}
            else:
                found[f"{kind} {name}"] = plain
    return found


def _parts(sql: str) -> list[str]:
    """Return the columns and constraints of a table, and what it says after them."""
    inside, _, options = sql.partition("(")[2].rpartition(")")
    parts, depth = [""], 0
    for character in inside:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in [*parts, f"({options})"]]


def stored(_: Path) -> Items:
    """The fields of what is kept as JSON in the database, and the words in its columns."""
    found: dict[str, Any] = {}
    for name, kind in names.stored_structs():
        found |= _fields(name, kind)
    for name, words in names.stored_words():
        found |= {f"{name} is {word!r}": None for word in _values(words)}
    return found


def log_events(_: Path) -> Items:
    """The names of the log's events."""
    return dict.fromkeys(source.log_events())


def processes(_: Path) -> Items:
    """What a supervisor, its generations and its own next self say to each other."""
    messages = names.control_messages()
    found: dict[str, Any] = {f"message {one.name}": one.value for one in messages}
    for member, word in source.keywords_with_member(messages.__name__):
        found[f"message {member} says {word}"] = None
    for name, known in names.kept_over_a_re_execution():
        found |= {f"{name}: {key}": None for key in source.keys_of_dictionary(known)}
    return found


def settings(_: Path) -> Items:
    """The settings, and the options of agents, channels and inbound webhooks."""
    found: dict[str, Any] = {}
    for name, kind, default, env in names.settings():
        schema = schemas.of_type(kind)
        found[name] = {**schemas.unit(schema), "default": msgspec.to_builtins(default), "env": list(env)}
        found |= schemas.items(name, schema)
    for name, struct in names.option_structs():
        found |= _fields(name, struct)
    for name, known in names.named_kinds():
        found |= {f"{name} {one}": None for one in known}
    return found


def _fields(name: str, struct: type[msgspec.Struct]) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a struct as they are written, with type and default."""
    tag = struct.__struct_config__
    if tag.tag is not None:
        yield f"{name} {tag.tag_field}", tag.tag
    properties = schemas.of_type(struct)["properties"]
    for field in msgspec.structs.fields(struct):
        schema = properties[field.encode_name]
        default = "required" if field.required else _default(field)
        yield f"{name}.{field.encode_name}", {**schemas.unit(schema), "default": default}
        yield from schemas.items(f"{name}.{field.encode_name}", schema)


def _default(field: Any) -> Any:
    made = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    return msgspec.to_builtins(made, enc_hook=str)


def environment(_: Path) -> Items:
    """Names of the environment: ours, those of the systems that Moongate stands in for, and those of agents."""
    ours, others, agents = "MOONGATE|GATEWAY", "XCCLAW|XITTO|XOPC|OPENCLAW|TELEGRAM", "OPENAI|ANTHROPIC|CODEX|GEMINI"
    pattern = rf"({ours}|{others}|{agents})_[A-Z][A-Z0-9_]*"
    return dict.fromkeys(source.strings(pattern, "gateway", "cli", "service_templates"))


def plugins(_: Path) -> Items:
    """The entry point groups under which other packages register."""
    return dict.fromkeys(source.strings(r"moongate\.(?!db)[a-z]+", "gateway"))


def errors(_: Path) -> Items:
    """Which codes come with which HTTP status and exit code."""
    return {f"{error.code} {error.status} exit {error.exit_code}": None for error in names.errors()}


def metrics(_: Path) -> Items:
    """The metrics and their labels."""
    return dict(source.metrics())


def files(directory: Path) -> Items:
    """The names of files, and what those say that one process writes and another reads."""
    found: dict[str, Any] = {f"file {path}": None for path in names.files()}
    found |= {f"part of a path: {part}": None for part in source.strings(names.PARTS_OF_PATHS, "gateway", "cli")}
    lock = directory / "gateway.lock"
    for name, write in names.notes_beside(lock):
        before = set(directory.iterdir())
        write()
        (made,) = set(directory.iterdir()) - before
        pattern = re.sub(r"\b[0-9a-f]{16}\b", "*", made.name.removeprefix(lock.stem))
        found[f"{name} file"] = pattern
        found |= {f"{name}: {key}": None for key in json.loads(made.read_bytes())}
    found |= {f"lock record: {key}": None for key in names.lock_record_fields()}
    found |= {f"service of {system}": list(called) for system, called in names.services()}
    return found


def commands(_: Path) -> Items:
    """The commands with their options and arguments."""
    return dict(_command("gateway", names.program()))


def _command(path: str, command: click.Command) -> Iterator[tuple[str, Any]]:
    yield path, None
    arguments = [parameter for parameter in command.params if isinstance(parameter, click.Argument)]
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            name = f"{path} argument {arguments.index(parameter) + 1}"
        else:
            name = f"{path} {' '.join(sorted([*parameter.opts, *parameter.secondary_opts]))}"
        yield name, _parameter(parameter)
        if isinstance(parameter.type, click.Choice):
            yield from ((f"{name} {getattr(choice, 'value', choice)}", None) for choice in parameter.type.choices)
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from _command(f"{path} {name}", below)


def _parameter(parameter: click.Parameter) -> dict[str, Any]:
    default = parameter.default
    said = isinstance(default, (str, int, float, list, tuple)) and default is not False
    return {
        "type": parameter.type.name,
        "flag": isinstance(parameter, click.Option) and parameter.is_flag,
        "default": default if said else None,
        "required": parameter.required,
        "multiple": parameter.multiple,
        "nargs": parameter.nargs,
        "env": parameter.envvar,
    }


def _values(words: Iterable[Any]) -> Iterator[str]:
    yield from (str(word.value if isinstance(word, enum.Enum) else word) for word in words)


#: what is promised, kind by kind; each takes an empty directory
KINDS: Mapping[str, Callable[[Path], Items]] = {
    "openapi": openapi,
    "database": database,
    "stored": stored,
    "log_events": log_events,
    "processes": processes,
    "settings": settings,
    "environment": environment,
    "plugins": plugins,
    "errors": errors,
    "metrics": metrics,
    "files": files,
    "commands": commands,
}
