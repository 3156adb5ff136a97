"""Generations: the serving processes that led, and why they ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.domain.generation import MAX_END_REASON_CHARACTERS, MAX_GENERATIONS_KEPT, GenerationRecord
from gateway.store.sql.pieces import delete_some
from gateway.store.sql.transaction import Reader, Transaction

_GENERATION_COLUMNS = "owner, generation, version, started, ready, ended, reason"


def _decode_generation(row: Sequence[Any]) -> GenerationRecord:
    owner, generation, version, started, ready, ended, reason = row
    return GenerationRecord(
        owner=owner,
        generation=generation,
        version=version,
        started=started,
        ready=ready,
        ended=ended,
        reason=reason,
    )


def add_generation(tx: Transaction, record: GenerationRecord) -> None:
    tx.execute(
        f"INSERT INTO generations ({_GENERATION_COLUMNS}) VALUES (?, ?, ?, ?, ?, NULL, NULL) ON CONFLICT DO NOTHING",
        (record.owner, record.generation, record.version, record.started, record.ready),
    )


def close_generation(tx: Transaction, owner: str, generation: int, reason: str) -> None:
    tx.execute(
        "UPDATE generations SET ended = ?, reason = ? WHERE owner = ? AND generation = ? AND ended IS NULL",
        (tx.now, reason[:MAX_END_REASON_CHARACTERS], owner, generation),
    )


def list_open_generations(reader: Reader) -> list[GenerationRecord]:
    rows = reader.execute(
        f"SELECT {_GENERATION_COLUMNS} FROM generations INDEXED BY generations_open WHERE ended IS NULL ORDER BY seq"
        f" LIMIT {MAX_GENERATIONS_KEPT}"
    )
    return [_decode_generation(row) for row in rows]


def list_generations(reader: Reader, limit: int) -> list[GenerationRecord]:
    rows = reader.execute(f"SELECT {_GENERATION_COLUMNS} FROM generations ORDER BY seq DESC LIMIT ?", (limit,))
    return [_decode_generation(row) for row in rows]


def prune_generations(tx: Transaction) -> bool:
    """Delete some of the records that are not among the newest. Returns whether there may be more."""
    return delete_some(
        tx,
        "DELETE FROM generations WHERE seq IN (SELECT seq FROM generations"
        " WHERE seq <= (SELECT max(seq) FROM generations) - :kept ORDER BY seq LIMIT :rows)",
        {"kept": MAX_GENERATIONS_KEPT},
    )
