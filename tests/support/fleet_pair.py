"""A fleet of two in one event loop: a gateway without slots, and its worker, on one real database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from harness.waiting import until
from tests.api.client import submit
from tests.support import postgres
from tests.support.inprocess import Serving, serving


class Pair(NamedTuple):
    """A gateway without slots, and the worker of its fleet."""

    gate: Serving
    hand: Serving
    database: psycopg.Connection[Any]

    @property
    def members(self) -> tuple[Serving, Serving]:
        return self.gate, self.hand

    async def wait_for(self, table: str, condition: str) -> None:
        """Wait until a table has a row for which a condition holds."""
        statement = f"SELECT 1 FROM moongate.{table} WHERE {condition}".encode()
        await until(lambda: self.database.execute(statement).fetchone() is not None, condition)

    async def submit_three(self) -> list[str]:
        """Have one run at work, one that waits for the worker, and one that waits for a place of its agent."""
        first = await submit(self.gate, "@@ hang", session="a")
        await self.wait_for("runs", "status = 'running'")
        return [first["id"], *[(await submit(self.gate, "@@ hang", session=name))["id"] for name in ("b", "c")]]


@asynccontextmanager
async def serving_pair(directory: Path, **more: Any) -> AsyncIterator[Pair]:
    """Args: more: settings of both."""
    url = postgres.shared_server().url(postgres.create_database())

    def settings(host: str, **fleet: Any) -> dict[str, Any]:
        agent = {"id": "main", "backend": "echo", "script": True, "max_concurrent": 2}
        return {"store": {"url": url}, "fleet": {"host": host, **fleet}, "agents": {"list": [agent]}, **more}

    gate = serving(directory / "gate", settings("gate", slots=0), instance="first")
    hand = serving(directory / "hand", settings("hand", role="worker", slots=1), instance="second")
    with psycopg.connect(url, autocommit=True) as database:
        async with gate as first, hand as second:
            opened = Pair(first, second, database)
            await opened.wait_for("nodes", "leads = 1")
            yield opened
