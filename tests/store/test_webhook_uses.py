"""The webhooks in use are read from the file while no gateway runs, and nothing is made or changed."""

from __future__ import annotations

from pathlib import Path

from gateway.domain.address_policy import WebhookUse
from gateway.domain.delivery import Target
from gateway.domain.schedule import Schedule, ScheduleSpec
from gateway.store.sqlite.store import SqliteStore
from gateway.store.sqlite.webhook_uses import read_webhook_uses
from tests.contracts.stores import START

HOOK = Target(kind="webhook", address="https://one.example/hook")


async def test_the_webhooks_of_a_database_that_is_not_open_are_read(tmp_path: Path) -> None:
    path = tmp_path / "moongate.db"
    store = SqliteStore(path)
    wake = ScheduleSpec(expression="every 1h", input="wake", name="nightly", deliver=(HOOK,))
    await store.schedules.create(Schedule(id="1", spec=wake, anchor=START, next_at=START, created=0, updated=0))
    await store.close()
    before = path.read_bytes()

    assert read_webhook_uses(path, 10) == [WebhookUse(schedule=("1", "nightly"), address=HOOK.address)]
    assert path.read_bytes() == before


def test_without_a_database_there_are_none_and_none_is_made(tmp_path: Path) -> None:
    assert read_webhook_uses(tmp_path / "moongate.db", 10) == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_database_has_none(tmp_path: Path) -> None:
    (tmp_path / "moongate.db").write_text("not a database")

    assert read_webhook_uses(tmp_path / "moongate.db", 10) == []
