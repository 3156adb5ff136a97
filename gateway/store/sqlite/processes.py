"""Agent processes that can outlive the gateway that started them."""

from __future__ import annotations

from gateway.domain.ports.store import AgentProcess
from gateway.process.identity import Identity
from gateway.store.sqlite.database import Reader, Transaction


def record_process(tx: Transaction, process: AgentProcess) -> None:
    tx.execute(
        "INSERT OR REPLACE INTO processes (who, owner, run) VALUES (?, ?, ?)",
        (str(process.who), process.owner, process.run),
    )


def forget_process(tx: Transaction, who: Identity) -> None:
    tx.execute("DELETE FROM processes WHERE who = ?", (str(who),))


def list_processes(reader: Reader, owner: str) -> list[AgentProcess]:
    rows = reader.execute("SELECT who, run FROM processes WHERE owner = ?", (owner,))
    return [AgentProcess(who=Identity.parse_identity(who), owner=owner, run=run) for who, run in rows]
