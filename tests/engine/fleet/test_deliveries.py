"""What one leader was sending is sent again by the next one, but not while the first may still do so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.domain.delivery import WEBHOOK_KIND, Delivered, DeliveryStatus, SendResult, Target
from gateway.engine.background import outbox
from gateway.engine.background.outbox import DeliverySetup
from gateway.engine.fleet import leadership
from harness.waiting import PATIENCE, until
from tests.engine.fleet.members import Fleet
from tests.engine.stage import Stage

TARGET = Target(kind=WEBHOOK_KIND, address="https://receiver.example/", format="text")


class Receiver:
    """Takes deliveries; one that is slow never answers."""

    def __init__(self, *, is_slow: bool = False) -> None:
        self.got: list[str] = []
        self._is_slow = is_slow

    async def send_delivery(self, delivery: Any, body: Any) -> SendResult:
        self.got.append(delivery.id)
        if self._is_slow:
            await asyncio.Event().wait()
        return Delivered()


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leadership, "ELECTION_SECONDS", 0.05)
    monkeypatch.setattr(outbox, "SENDING_GRACE_SECONDS", 0.05)
    monkeypatch.setattr(outbox, "RELEASE_SECONDS", 0.1)


@asynccontextmanager
async def leader(fleet: Fleet, name: str, receiver: Receiver) -> AsyncIterator[Stage]:
    setup = DeliverySetup(senders={WEBHOOK_KIND: receiver}, bodies={"text": lambda run: run.result or ""})
    async with fleet.member(name, delivery_setup=setup) as stage:
        yield stage


async def test_a_delivery_waits_for_the_lease_of_a_leader_that_may_still_send_it(fleet: Fleet) -> None:
    first, second = Receiver(is_slow=True), Receiver()
    async with leader(fleet, "first", first) as lost:
        await lost.do("hello", deliver=(TARGET,))
        await until(lambda: first.got, "it is sent")
        # It is cut off: another one has the lock, while this one still waits for an answer.
        assert lost.engine._fleet is not None
        await lost.engine._outbox._loop.stop()
        await lost.engine._fleet._leadership.end_election()
        fleet.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = 3")
        async with leader(fleet, "second", second) as next_:
            await until(lambda: fleet.execute("SELECT host FROM nodes WHERE leads = 1") == [("second",)], "it leads")
            await next_.do("later", session="main:test:b", deliver=(TARGET,))
            await until(lambda: second.got, "the later one is sent")
            assert second.got != first.got

            fleet.execute("UPDATE nodes SET lease = 0 WHERE host = 'first'")
            await until(lambda: first.got[0] in second.got, "it is sent again")
            delivery = await next_.store.deliveries.get(first.got[0])
            await until(lambda: len(second.got) == 2, "both are sent once")

    assert delivery.attempt == 2


async def test_a_delivery_that_was_taken_without_a_word_is_sent(fleet: Fleet) -> None:
    receiver = Receiver()
    async with leader(fleet, "first", receiver) as stage:
        await stage.do("hello", deliver=(TARGET,))
        await until(lambda: len(receiver.got) == 1, "it is sent")
        await stage.engine._outbox._loop.stop()
        await stage.do("later", session="main:test:b", deliver=(TARGET,))
        (lost,) = await stage.store.deliveries.take_due(10, 10)  # nobody heard the answer of the server
        assert await stage.store.fleet.release_deliveries({lost.id}) == 0
        assert await stage.store.fleet.release_deliveries(set()) == 1

        assert [one.id for one in await stage.store.deliveries.take_due(10, 10)] == [lost.id]


async def test_a_leader_that_stops_leaves_its_deliveries_to_the_next_one(fleet: Fleet) -> None:
    first, second = Receiver(is_slow=True), Receiver()
    async with leader(fleet, "first", first) as stopping:
        await stopping.do("hello", deliver=(TARGET,))
        await until(lambda: first.got, "it is sent")
        async with leader(fleet, "second", second) as next_:
            await stopping.engine.step_down()  # its lease goes on until its runs have ended
            await until(lambda: second.got == first.got, "it is sent again")

            async def is_delivered() -> bool:
                return (await next_.store.deliveries.get(first.got[0])).status is DeliveryStatus.DELIVERED

            async with asyncio.timeout(PATIENCE):
                while not await is_delivered():
                    await asyncio.sleep(0.02)
