"""Members of a fleet in one event loop, each with an engine of its own, on one real database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg

from gateway.domain.agent import Agent
from gateway.domain.fleet import Node, Role
from gateway.engine.engine import Engine
from gateway.engine.execution.owner import Owner
from gateway.engine.fleet.member import FleetSetup
from gateway.process import identity
from gateway.store.file_directory import FileDirectory
from gateway.store.postgres.jobs import ProcrastinateQueue, find_queues
from gateway.store.postgres.leader_lock import PostgresLeaderLock
from gateway.store.postgres.store import PostgresStore
from tests.engine.stage import Act, Scripted, Stage, answering
from tests.support import postgres


class Fleet:
    """A database, and the members that a test opens on it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.url = postgres.shared_server().url(postgres.create_database())

    @asynccontextmanager
    async def member(
        self,
        name: str,
        act: Act = answering,
        *,
        role: Role = Role.GATEWAY,
        slots: int = 4,
        agents: Mapping[str, Mapping[str, Any]] | None = None,
        keeps_files: bool = False,
        move_after: int = 600_000,
        wrap: Any = lambda store: store,
        **options: Any,
    ) -> AsyncIterator[Stage]:
        """Open a member on a host of its own, which has the same name.

        Args:
            keeps_files: whether its agents keep files on their host.
            move_after: milliseconds after which a host that is gone is gone for good.
            wrap: puts something between the engine and the part of the store that is about the fleet.
        """
        owner = Owner(name, identity.own_identity())
        store = PostgresStore(self.url, host=name, owner=str(owner))
        backend = Scripted(act)
        kinds = [Agent(id=id_, backend="scripted", **fields) for id_, fields in (agents or {"main": {}}).items()]
        lost: list[str] = []
        setup = FleetSetup(
            store=wrap(store.fleet),
            jobs=ProcrastinateQueue(self.url),
            lock=PostgresLeaderLock(self.url),
            node=Node(
                name=str(owner),
                host=name,
                role=role,
                version="test",
                agents=tuple(agent.id for agent in kinds),
                slots=slots,
            ),
            queues=find_queues(name, [agent.id for agent in kinds]),
            move_after=move_after,
            on_lost=lambda: lost.append(name),
            on_external_commit=store.on_external_commit,
        )
        directory = self._directory / name
        try:
            engine = Engine(
                store,
                kinds,
                {"scripted": backend},
                FileDirectory(directory / "files", name, lambda _: False),
                owner=owner,
                directory=directory,
                without_workspace=() if keeps_files else ("scripted",),
                fleet=setup,
                clock=store.clock,
                **options,
            )
            async with engine:
                await engine.start_leading()
                yield Stage(engine, store, backend, directory)
        finally:
            await store.close()

    def execute(self, statement: str, *values: Any) -> list[Any]:
        """Run a statement in the database, as nobody of the fleet does."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SET search_path = moongate")
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []
