"""How values are sent to PostgreSQL, and read: numbers and texts mean here what they mean in SQLite.

PostgreSQL's text has no character U+0000, so it is stored as U+FDD0 and `0`, and U+FDD0, which is no character, as
itself twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

_ESCAPE = "\ufdd0"
_STORED_ESCAPE = re.compile(f"{_ESCAPE}([0{_ESCAPE}])")
#: types of parameters: one that the server finds out, as it does for a text in a statement, and two that it is told.
#: https://www.postgresql.org/docs/current/catalog-pg-type.html
_UNKNOWN, _BIGINT, _DOUBLE = 0, 20, 701


def encode_text(text: str) -> bytes:
    if "\0" in text or _ESCAPE in text:
        text = text.replace(_ESCAPE, _ESCAPE * 2).replace("\0", f"{_ESCAPE}0")
    return text.encode()


def decode_text(data: bytes) -> str:
    text = data.decode()
    if _ESCAPE not in text:
        return text
    return _STORED_ESCAPE.sub(lambda found: "\0" if found[1] == "0" else _ESCAPE, text)


def _decode_number(data: bytes) -> int | float:
    """Read what PostgreSQL makes of sums and averages."""
    return int(data) if data.lstrip(b"-").isdigit() else float(data)


def _encode_number(number: int) -> bytes:
    if not -(1 << 63) <= number < 1 << 63:
        raise OverflowError(f"{number.bit_length()} bits are too many for an integer of the database")
    return b"%d" % number


class _Encoders(dict[type, tuple[int, Callable[[Any], bytes]]]):
    """How values are sent, by their type."""

    def __missing__(self, kind: type) -> tuple[int, Callable[[Any], bytes]]:
        self[kind] = found = next(self[base] for base in kind.__mro__[1:] if base in self)
        return found


_ENCODERS = _Encoders(
    {
        str: (_UNKNOWN, encode_text),
        bytes: (_UNKNOWN, lambda value: encode_text(value.decode())),  # the text that they encode: no column has bytes
        int: (_BIGINT, _encode_number),
        float: (_DOUBLE, lambda value: repr(value).encode()),
    }
)
#: how values are read, by their type in PostgreSQL; all others are texts
DECODERS: dict[int, Callable[[bytes], Any]] = {
    16: lambda data: data == b"t",  # boolean
    20: int,
    21: int,
    23: int,
    26: int,
    700: float,
    701: float,
    1042: lambda data: decode_text(data).encode(),  # bpchar, which no column has: a translated `CAST(… AS BLOB)`
    1700: _decode_number,
}


def encode_values(values: Sequence[Any], *, is_typed: bool) -> tuple[list[int], list[bytes | None]]:
    """Return the types of parameters, and how they are sent."""
    types: list[int] = []
    encoded: list[bytes | None] = []
    for value in values:
        if value is None:
            types.append(_UNKNOWN)
            encoded.append(None)
        else:
            kind, encode = _ENCODERS[type(value)]
            types.append(kind if is_typed else _UNKNOWN)
            encoded.append(encode(value))
    return types, encoded
