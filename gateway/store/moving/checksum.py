"""The checksum of a table: the sum of the hashes of its rows.

A sum is the same in any order. The databases order texts alike, except those with the character U+0000, which
PostgreSQL stores as another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from gateway.store.moving.side import Row

_HASH_BYTES = 16


class TableSum:
    """Counts rows, and adds up their hashes."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0
        self._encode = msgspec.msgpack.Encoder().encode

    def add_rows(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self.rows += 1
            digest = hashlib.blake2b(self._encode(tuple(row)), digest_size=_HASH_BYTES).digest()
            self._sum += int.from_bytes(digest, "big")

    @property
    def checksum(self) -> str:
        return f"{self._sum % (1 << (8 * _HASH_BYTES)):0{2 * _HASH_BYTES}x}"
