"""Translates statements from SQLite's dialect of SQL: what both databases understand stays as it is.

| in a shared statement | for PostgreSQL | because |
|---|---|---|
| `?`, `?1` | `$1` | it numbers all parameters |
| `:name` | `$1` | it has no names: `Translation.names` is the order of the values |
| `INDEXED BY name`, `NOT INDEXED` | nothing | it chooses indexes by itself |
| `CROSS JOIN` | `JOIN` | in SQLite it only keeps the order of two tables, and takes `ON` |
| `json_each(?) AS one` | `json_array_elements_text(json_document($1)) AS one(value)` | a list is one parameter |
| `CAST(x AS INTEGER)` | `AS bigint` | numbers have 64 bits in SQLite |
| `CAST(x AS BLOB)` | `AS bpchar` | its values are read as bytes, see values.py; no column has bytes |
| `LIKE` | `ILIKE` | SQLite's ignores case |
| `'a text'` | itself | nothing is translated in it |

The shared statements avoid what would need more than this. The functions of SQLite that PostgreSQL lacks, such as
`iif` and `json_extract`, are in the first migration.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

#: statements that are kept translated: some are put together from parts
MAX_KEPT_TRANSLATIONS = 2000

#: a text, or what is translated
_TOKEN = re.compile(
    r"""
    (?P<text>'(?:[^']|'')*')
    | (?P<index>\s+(?:NOT\s+INDEXED|INDEXED\s+BY\s+\w+))
    | (?P<cross>\bCROSS\s+JOIN\b)
    | \bjson_each\(\?(?P<list>\d*)\)(?:\s+AS\s+(?P<alias>\w+))?
    | (?P<blob>\bAS\s+BLOB\b)
    | (?P<integer>\bAS\s+INTEGER\b)
    | (?P<like>\bLIKE\b)
    | \?(?P<number>\d*)
    | (?<!:):(?P<name>[a-z_]+)
    """,
    re.VERBOSE,
)

_WRITES = re.compile(r"\s*(?:INSERT|UPDATE|DELETE)\b")
#: the end of a statement that inserts its parameters as one row
_ONE_ROW = re.compile(r"(?<=\bVALUES )\(\$1(?:, \$\d+)*\)$")


class Translation(NamedTuple):
    """A statement for PostgreSQL."""

    text: str
    #: the names of its parameters in their order; empty if they are given by position
    names: tuple[str, ...]
    #: whether it changes rows
    writes: bool


@lru_cache(MAX_KEPT_TRANSLATIONS)
def translate(statement: str) -> Translation:
    """Return a statement with the parameters `$1`, `$2`: https://www.postgresql.org/docs/current/sql-prepare.html."""
    parameters = _Parameters()
    text = _TOKEN.sub(lambda found: _replace(found, parameters), statement)
    return Translation(text, tuple(parameters.names), _WRITES.match(statement) is not None)


@lru_cache(MAX_KEPT_TRANSLATIONS)
def repeat_values(text: str, count: int) -> str | None:
    """Return a translated statement that inserts one row, so that it inserts so many; None if it is no such one."""
    found = _ONE_ROW.search(text)
    if found is None:
        return None
    columns = found[0].count("$")
    rows = (", ".join(f"${row * columns + column}" for column in range(1, columns + 1)) for row in range(count))
    return text[: found.start()] + ", ".join(f"({row})" for row in rows)


class _Parameters:
    """Numbers the parameters of a statement."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._count = 0

    def number(self, given: str) -> str:
        """Return a parameter `?` or `?1`."""
        if not given:
            self._count += 1
        return f"${given or self._count}"

    def name(self, name: str) -> str:
        """Return a parameter `:name`."""
        if name not in self.names:
            self.names.append(name)
        return f"${self.names.index(name) + 1}"


_REPLACEMENTS = {
    "index": "",
    "cross": "JOIN",
    "blob": "AS bpchar",  # its values are read as bytes, see values.py
    "integer": "AS bigint",
    "like": "ILIKE",
}


def _replace(found: re.Match[str], parameters: _Parameters) -> str:
    kind = found.lastgroup or ""
    if kind in _REPLACEMENTS:
        return _REPLACEMENTS[kind]
    if kind == "text":
        return found[0]
    if kind == "name":
        return parameters.name(found["name"])
    if kind in ("list", "alias"):
        listed = parameters.number(found["list"])
        return f"json_array_elements_text(json_document({listed})) AS {found['alias'] or 'listed'}(value)"
    return parameters.number(found["number"])
