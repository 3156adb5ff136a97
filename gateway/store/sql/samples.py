"""Samples: how the gateway was doing, once a minute."""

from __future__ import annotations

from typing import Any

from gateway.domain.run import Status
from gateway.domain.sample import (
    SAMPLE_INTERVAL_MILLISECONDS,
    SAMPLE_LIFETIME_MILLISECONDS,
    Sample,
    StoreMeasure,
)
from gateway.store.sql.pieces import delete_some
from gateway.store.sql.transaction import Reader, Transaction

#: a sample counts the runs of at most so many milliseconds: the time before nobody has looked at
MAX_COUNTED_MILLISECONDS = 2 * SAMPLE_INTERVAL_MILLISECONDS

_SAMPLE_COLUMNS = (
    "at, running, queued, ended, failed, accept_ms, memory_bytes, cpu_percent, loop_lag_ms, database_bytes"
)
_REPLACED = ", ".join(f"{name} = excluded.{name}" for name in _SAMPLE_COLUMNS.split(", "))


def measure_store(reader: Reader) -> StoreMeasure:
    tallied = dict(reader.execute("SELECT status, n FROM tally WHERE status IN ('queued', 'running')"))
    last: Any = reader.execute("SELECT max(at) FROM samples WHERE at <= ?", (reader.now,)).get
    since = max(last or 0, reader.now - MAX_COUNTED_MILLISECONDS)
    counted: Any = reader.execute(
        "SELECT count(*), count(*) FILTER (WHERE status = 'failed') FROM runs INDEXED BY runs_finished"
        " WHERE finished > ? AND finished <= ?",
        (since, reader.now),
    ).get
    size: Any = reader.execute(reader.dialect.database_size).get
    ended, failed = counted
    return StoreMeasure(
        running=tallied.get(Status.RUNNING, 0),
        queued=tallied.get(Status.QUEUED, 0),
        ended=ended,
        failed=failed,
        database_bytes=size,
    )


def add_sample(tx: Transaction, sample: Sample) -> None:
    tx.execute(
        f"INSERT INTO samples ({_SAMPLE_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        f" ON CONFLICT (at) DO UPDATE SET {_REPLACED}",
        (
            sample.at,
            int(sample.running),
            int(sample.queued),
            int(sample.ended),
            int(sample.failed),
            sample.accept_ms,
            sample.memory_bytes,
            sample.cpu_percent,
            sample.loop_lag_ms,
            sample.database_bytes,
        ),
    )


def list_samples(reader: Reader, since: int, until: int, step: int) -> list[Sample]:
    rows = reader.execute(
        "SELECT at / ?3 * ?3, avg(running), avg(queued), avg(ended), avg(failed), avg(accept_ms),"
        " avg(memory_bytes), avg(cpu_percent), max(loop_lag_ms), avg(database_bytes)"
        " FROM samples WHERE at >= ?1 AND at < ?2 GROUP BY at / ?3 ORDER BY 1",
        (since, until, step),
    )
    return [
        Sample(
            at=at,
            running=running,
            queued=queued,
            ended=ended,
            failed=failed,
            accept_ms=accept_ms,
            memory_bytes=int(memory_bytes),
            cpu_percent=cpu_percent,
            loop_lag_ms=loop_lag_ms,
            database_bytes=int(database_bytes),
        )
        for (
            at,
            running,
            queued,
            ended,
            failed,
            accept_ms,
            memory_bytes,
            cpu_percent,
            loop_lag_ms,
            database_bytes,
        ) in rows
    ]


def prune_samples(tx: Transaction) -> bool:
    """Delete some samples that are too old. Returns whether there may be more."""
    return delete_some(
        tx,
        "DELETE FROM samples WHERE at IN (SELECT at FROM samples WHERE at < :before ORDER BY at LIMIT :rows)",
        {"before": tx.now - SAMPLE_LIFETIME_MILLISECONDS},
    )
