"""A store with rows in every table, and how to read all of them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gateway.domain.agent import AgentDraft
from gateway.domain.alert import AlertUpdate
from gateway.domain.event import Text, Usage
from gateway.domain.permission import Answer, PermissionQuestion
from gateway.domain.ports.store import AgentProcess, Store
from gateway.domain.token import OWN_TOKEN, Scope, Ticket, Token, TokenUse
from gateway.process.identity import Identity
from gateway.store.moving.postgres_side import PostgresSide
from gateway.store.moving.side import Row, Side
from gateway.store.moving.sqlite_side import SqliteSide
from gateway.store.moving.tables import read_tables
from gateway.store.sqlite import opening
from tests.contracts.stores import LIMITS, START, TRIED, claim_one, done, finish, key, spec
from tests.contracts.test_store_alerts import FULL, message
from tests.contracts.test_store_deliveries import HOOK, OTHER
from tests.contracts.test_store_files import schedule_with, staged_file
from tests.contracts.test_store_history import generation, sample
from tests.contracts.test_store_schedules import MINUTE, firing, made

#: what the formats on the way could take for something else
HARD_TEXTS = (
    "a\0b\ufdd00c\ufdd0",
    "\\N \\. \\x41",
    "tab\tline\nreturn\r",
    "'quotes' \"more\" {}",
    "猫喜欢鱼 naïve café",
    "🦊" * 40,
    "",
)
STEP = Usage(input=100, output=20, cached=50, cost=0.1)


async def fill(store: Store) -> None:
    """Write rows into every table, by the operations of the store."""
    await _write_runs(store)
    await _write_schedules(store)
    await _write_files(store)
    await _write_small_tables(store)


async def _write_runs(store: Store) -> None:
    await store.projects.create("garden", "Garden", "water it")
    for number, text in enumerate(HARD_TEXTS):
        wanted = spec(
            f"main:test:{number}", f"fox {text}", labels={"project": "garden", "n": text}, deliver=(HOOK, OTHER)
        )
        await store.runs.accept(wanted, key(f"k{number}{text}"))
        run = await claim_one(store)
        await store.events.append(run.id, run.epoch, [Text(delta=text), STEP])
        asked = await store.permissions.ask(
            run.id, run.epoch, PermissionQuestion(action=text, choices=(Answer.ALLOW, Answer.DENY)), START + MINUTE
        )
        if number % 2:
            await store.permissions.answer(run.id, asked.number, Answer.ALLOW, "anna")
        await finish(store, run, done(f"the answer: {text}", usage=STEP))
    for delivery in await store.deliveries.take_due(2, 1):
        await store.deliveries.record_attempt(delivery, TRIED)
    await store.runs.accept(spec("other:test:waits"))


async def _write_schedules(store: Store) -> None:
    schedule = await store.schedules.create(made())
    await store.schedules.fire(firing(schedule, START + MINUTE))
    await store.runs.claim("owner", LIMITS)


async def _write_files(store: Store) -> None:
    used, unused = staged_file(b"used"), staged_file(b"unused")
    for staged in (used, unused):
        await store.files.add(staged)
    await store.schedules.create(schedule_with(used))
    await store.runs.accept(spec("main:test:files", attachments=(used.file,)))
    await finish(store, await claim_one(store))


async def _write_small_tables(store: Store) -> None:
    await store.agents.create(AgentDraft(slug="reviewer", name="The reviewer"), "main")
    await store.notes.save("channel", {"chat:1": "a", "bin\0ary": "\0"})
    await store.tokens.add(Token(name="z", hash="t", scope=Scope.READ, created=START))
    await store.tokens.save_uses([TokenUse(token=OWN_TOKEN, at=START, address="::1", client="é")])
    await store.tokens.add_ticket(Ticket(hash="a", token="t", expires=START + MINUTE))
    await store.owners.record_process(AgentProcess(who=Identity(1, "2", "3"), owner="me", run=None))
    for number in (1, 2):
        await store.generations.add(generation(number))
    await store.samples.add(sample(0, loop_lag_ms=0.1 + 0.2, cpu_percent=1e-300))
    await store.alerts.save(AlertUpdate(revision=0, position=7, opened=[FULL], messages=[message()]))
    await store.workspaces.open("main:test:0", 1)
    await store.check_writable()


def list_tables(path: Path) -> list[str]:
    with contextlib.closing(opening.open_existing(path)) as connection:
        return [table.name for table in read_tables(connection)]


def read_all(side: Side, tables: Sequence[Any]) -> dict[str, list[Row]]:
    """Return the rows of each table. Those of tables without a key may have any order."""
    return {table.name: sorted((tuple(row) for row in side.read_rows(table)), key=repr) for table in tables}


def read_sqlite(path: Path) -> dict[str, list[Row]]:
    with contextlib.closing(SqliteSide.open_source(path)) as side:
        return read_all(side, read_tables(side.apsw))


def read_postgres(url: str, path: Path) -> dict[str, list[Row]]:
    """Return the rows of a database; the tables are those of a SQLite file."""
    with contextlib.closing(opening.open_existing(path)) as connection:
        tables = read_tables(connection)
    with contextlib.closing(PostgresSide.open_source(url)) as side:
        return read_all(side, tables)
