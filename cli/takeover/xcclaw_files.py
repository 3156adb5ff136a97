"""Reads XCClaw's files. They need not all have the same form: what has a meaning is found in several forms.

A file may be a list, an object by id, or an object with one list in it. Names may be in camelCase or snake_case.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from cli.takeover import xcclaw_entries
from cli.takeover.xcclaw_entries import Unusable
from gateway import private_file
from gateway.json_data.surrogates import replace_lone_surrogates

#: the files and what is in them, in the order of import: the history knows how a task ended
XCCLAW_FILES = {
    "schedules.json": "schedules",
    "persistent_sessions.json": "sessions",
    "task_history.json": "tasks",
    "tasks.json": "tasks",
}
MAX_XCCLAW_FILE_BYTES = 64 << 20


class XCClawEntry(NamedTuple):
    """An entry of a file, or the file itself if it cannot be read."""

    file: str
    #: its id or its place in the file, for people
    label: str
    #: what the gateway is told; None if the entry cannot be used
    body: Mapping[str, Any] | None
    #: why it cannot be used
    problem: str = ""
    #: names of its fields that have no counterpart
    ignored: tuple[str, ...] = ()
    #: whether XCClaw had begun the task and not ended it
    was_running: bool = False


def find_files(directory: Path) -> list[str]:
    """Return the names of XCClaw's files that are in a directory, also of those that cannot be read."""
    return [name for name in XCCLAW_FILES if os.path.lexists(directory / name)]


def read_entries(file: Path) -> Iterator[XCClawEntry]:
    """Yield the entries of a file; if it cannot be read, one entry with the problem."""
    try:
        found = _find_objects(_decode_document(_read_bytes(file)))
    except OSError as error:
        yield XCClawEntry(file.name, "-", None, f"{error.strerror or error}.")
        return
    except Unusable as error:
        yield XCClawEntry(file.name, "-", None, str(error))
        return
    for label, value in found:
        yield _read_entry(file.name, label, value)


def _read_bytes(file: Path) -> bytes:
    with (
        private_file.open_plain_file(file, follow=False) as descriptor,
        os.fdopen(descriptor, "rb", closefd=False) as opened,
    ):
        content = opened.read(MAX_XCCLAW_FILE_BYTES + 1)
    if len(content) > MAX_XCCLAW_FILE_BYTES:
        raise Unusable(f"it is larger than {MAX_XCCLAW_FILE_BYTES >> 20} MB.")
    return content


def _decode_document(content: bytes) -> Any:
    try:
        text = replace_lone_surrogates(content).decode("utf-8-sig")
        return json.loads(text, object_pairs_hook=_refuse_doubled_names, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Unusable(f"line {line}: it is not UTF-8.") from error
    except json.JSONDecodeError as error:
        raise Unusable(f"line {error.lineno}: not valid JSON: {error.msg[:1].lower()}{error.msg[1:]}.") from error
    except RecursionError as error:
        raise Unusable("not valid JSON: it is nested too deep.") from error
    except ValueError as error:
        why = "a number has too many digits" if "digits" in str(error) else str(error)
        raise Unusable(f"not valid JSON: {why}.") from error


def _refuse_doubled_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"an object has the name {next(n for n in names if names.count(n) > 1)[:64]!r} twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no value of JSON")


def _find_objects(document: Any) -> list[tuple[str, Any]]:
    """Return the entries of a document, each with its id in an object by id, else with its position.

    Raises:
        Unusable: it has another form.
    """
    if isinstance(document, list):
        return [(f"#{number}", value) for number, value in enumerate(document, start=1)]
    if isinstance(document, dict):
        lists = [value for value in document.values() if isinstance(value, list)]
        if len(lists) == 1 and not any(isinstance(value, dict) for value in document.values()):
            return _find_objects(lists[0])
        inner = [value for name, value in document.items() if name in XCCLAW_FILES.values() or name == "history"]
        if len(document) == 1 and inner and isinstance(inner[0], dict):
            return _find_objects(inner[0])
        if not document or any(isinstance(value, dict) for value in document.values()):
            return list(document.items())
    raise Unusable("it is neither a list, nor an object by id, nor an object with one list in it.")


def _read_entry(file: str, label: str, value: Any) -> XCClawEntry:
    if not isinstance(value, dict):
        return XCClawEntry(file, label, None, "it is not an object.")
    fields = {_to_snake_case(name): field for name, field in value.items()}
    found = xcclaw_entries.Fields(fields, None if label.startswith("#") else label)
    try:
        body = xcclaw_entries.READERS[file](found)
    except Unusable as error:
        return XCClawEntry(file, xcclaw_entries.describe_id(fields, label), None, str(error))
    return XCClawEntry(file, str(body["id"]), body, "", found.list_unread(), found.was_running)


def _to_snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
