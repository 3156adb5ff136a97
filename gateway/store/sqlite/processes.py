"""Agent processes that may outlive the gateway that started them."""

from __future__ import annotations

import apsw

from gateway.domain.ports.store import AgentProcess
from gateway.process.identity import Identity
from gateway.store.sqlite.database import Transaction


def record(tx: Transaction, process: AgentProcess) -> None:
    tx.execute(
        "INSERT OR REPLACE INTO processes (who, owner, run) VALUES (?, ?, ?)",
        (str(process.who), process.owner, process.run),
    )


def forget(tx: Transaction, who: Identity) -> None:
    tx.execute("DELETE FROM processes WHERE who = ?", (str(who),))


def of_owner(connection: apsw.Connection, owner: str) -> list[AgentProcess]:
    rows = connection.execute("SELECT who, run FROM processes WHERE owner = ?", (owner,))
    return [AgentProcess(who=Identity.parse(who), owner=owner, run=run) for who, run in rows]
