"""Agent processes that can outlive the gateway that started them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.domain.ports.store import AgentProcess
from gateway.domain.unreadable import RowKind
from gateway.process.identity import Identity
from gateway.store.sql.transaction import Reader, Transaction
from gateway.store.sql.unreadable import decode_rows


def record_process(tx: Transaction, process: AgentProcess) -> None:
    tx.execute(
        "INSERT INTO processes (who, owner, run) VALUES (?, ?, ?)"
        " ON CONFLICT (who) DO UPDATE SET owner = excluded.owner, run = excluded.run",
        (str(process.who), process.owner, process.run),
    )


def forget_process(tx: Transaction, who: Identity) -> None:
    tx.execute("DELETE FROM processes WHERE who = ?", (str(who),))


def list_processes(reader: Reader, owner: str) -> list[AgentProcess]:
    rows = reader.execute(f"SELECT who, run FROM processes WHERE owner = ?{reader.dialect.on_this_host}", (owner,))

    def decode_process(row: Sequence[Any]) -> AgentProcess:
        who, run = row
        return AgentProcess(who=Identity.parse_identity(who), owner=owner, run=run)

    return decode_rows(reader, RowKind.PROCESS, rows, decode_process, lambda row: (row[0],))
