"""The outbox: what is due is sent, paced, and nobody waits for another's receiver."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import structlog

from gateway.domain.delivery import (
    CHAT_FORMAT,
    Delivered,
    Delivery,
    DeliveryFilter,
    DeliveryStatus,
    PermanentFailure,
    RetryLater,
    SendResult,
    Target,
)
from gateway.domain.file import File
from gateway.domain.page import Page
from gateway.domain.run import Run, Status
from gateway.engine.background import outbox
from gateway.engine.background.outbox import DeliverySetup
from gateway.errors import Unavailable
from gateway.store.sql.store import SqlStore
from harness.waiting import PATIENCE, until
from tests.contracts.stores import claim_one, finish, spec
from tests.engine.stage import Between, Stage, staged

pytestmark = pytest.mark.both_stores

HOOK = Target(kind="webhook", address="http://one.example/")


class Recorded:
    """A sender that remembers, and holds what it is told to."""

    def __init__(self) -> None:
        self.sent: list[Delivery] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.working = 0
        self.most = 0
        self.error: Exception | None = None
        self.result: SendResult = Delivered()

    async def send_delivery(self, delivery: Delivery, body: bytes) -> SendResult:
        assert body == b"told"
        self.sent.append(delivery)
        self.working += 1
        self.most = max(self.most, self.working)
        try:
            await self.gate.wait()
            if self.error is not None:
                raise self.error
            return self.result
        finally:
            self.working -= 1


def delivery_setup(sender: Recorded) -> DeliverySetup:
    return DeliverySetup(senders={"webhook": sender}, bodies={"task": lambda run: b"told"})


async def prepared(store: SqlStore, *targets: Target) -> None:
    for number, target in enumerate(targets):
        await store.runs.accept(spec(f"main:test:{number}", deliver=(target,)))
        await finish(store, await claim_one(store))


async def statuses(stage: Stage) -> list[DeliveryStatus]:
    return [delivery.status for delivery in await stage.store.deliveries.list(DeliveryFilter(), Page())]


async def settled(stage: Stage, *expected: DeliveryStatus) -> list[Delivery]:
    async with asyncio.timeout(PATIENCE):
        while sorted(await statuses(stage)) != sorted(expected):
            await asyncio.sleep(0.005)
    return list(await stage.store.deliveries.list(DeliveryFilter(), Page()))


def test_a_chat_gets_more_time_for_an_answer_with_files() -> None:
    file = File(id="1", name="film.mp4", media_type="video/mp4", size=50_000_000, sha256="")
    run = Run(id="1", seq=1, spec=spec(), status=Status.SUCCEEDED, files=(file,), created=0)
    chat = Target(kind="telegram", address="7", format=CHAT_FORMAT)

    assert outbox.compute_send_timeout(chat, run) == 60.0 + 2500.0
    assert outbox.compute_send_timeout(HOOK, run) == 60.0


async def test_the_end_of_a_run_is_sent_at_once(tmp_path: Path) -> None:
    sender = Recorded()
    async with staged(tmp_path, delivery_setup=delivery_setup(sender)) as stage:
        run = await stage.do(deliver=(HOOK,))
        await settled(stage, DeliveryStatus.DELIVERED)

    assert [(sent.run, sent.attempt) for sent in sender.sent] == [(run.id, 1)]


async def test_what_has_waited_for_the_gateway_is_sent_little_by_little(tmp_path: Path) -> None:
    sender = Recorded()
    sender.gate.clear()
    targets = [
        Target(kind="webhook", address=f"http://{number}.example/") for number in range(2 * outbox.INITIAL_MAX_SENDING)
    ]
    async with staged(
        tmp_path, delivery_setup=delivery_setup(sender), prepare=lambda store: prepared(store, *targets)
    ) as stage:
        await until(lambda: len(sender.sent) == outbox.INITIAL_MAX_SENDING, "the first ones are on their way")
        sender.gate.set()
        await settled(stage, *[DeliveryStatus.DELIVERED] * len(targets))

    assert len(sender.sent) == len(targets)


def test_there_is_more_room_with_each_second() -> None:
    assert [outbox.compute_sending_limit(seconds) for seconds in (0, 0.9, 1, 3, 5, 1e9)] == [8, 8, 16, 64, 256, 256]


async def test_one_receiver_is_sent_a_few_at_a_time(tmp_path: Path) -> None:
    sender = Recorded()
    sender.gate.clear()
    async with staged(
        tmp_path, delivery_setup=delivery_setup(sender), prepare=lambda store: prepared(store, *[HOOK] * 9)
    ) as stage:
        await until(lambda: sender.working == outbox.MAX_SENDING_PER_RECEIVER, "as many as may are on their way")
        sender.gate.set()
        await settled(stage, *[DeliveryStatus.DELIVERED] * 9)

    assert sender.most == outbox.MAX_SENDING_PER_RECEIVER


async def test_the_end_of_a_delivery_makes_room_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MAX_SENDING", 1)
    sender = Recorded()
    async with staged(
        tmp_path, delivery_setup=delivery_setup(sender), prepare=lambda store: prepared(store, *[HOOK] * 3)
    ) as stage:
        await settled(stage, *[DeliveryStatus.DELIVERED] * 3)

    assert sender.most == 1


async def test_a_sender_that_hangs_is_cancelled_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "SEND_TIMEOUT_SECONDS", 0.01)
    sender = Recorded()
    sender.gate.clear()
    async with staged(tmp_path, delivery_setup=delivery_setup(sender)) as stage:
        await stage.do(deliver=(HOOK,))
        await until(lambda: sender.sent, "it was tried")
        (delivery,) = await settled(stage, DeliveryStatus.PENDING)

    assert (delivery.attempt, delivery.error, sender.working) == (1, "TimeoutError: ", 0)


async def test_a_sender_that_breaks_is_tried_again(tmp_path: Path) -> None:
    sender = Recorded()
    sender.error = ZeroDivisionError("oh")
    async with staged(tmp_path, delivery_setup=delivery_setup(sender)) as stage:
        await stage.do(deliver=(HOOK,))
        await until(lambda: sender.sent, "it was tried")
        (delivery,) = await settled(stage, DeliveryStatus.PENDING)

    assert (delivery.attempt, delivery.error) == (1, "ZeroDivisionError: oh")


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (Target(kind="gone", address="a"), "the channel gone is not configured"),
        (
            Target(kind="webhook", address="http://one.example/", format="odd"),
            "this gateway does not know the format odd",
        ),
    ],
)
async def test_what_nobody_can_send_is_dead(tmp_path: Path, target: Target, why: str) -> None:
    async with staged(tmp_path, delivery_setup=delivery_setup(Recorded())) as stage:
        await stage.do(deliver=(target,))
        (delivery,) = await settled(stage, DeliveryStatus.DEAD)

    assert delivery.error == why


async def test_a_disk_that_refuses_for_a_while_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.engine.background.outbox.RETRY_SECONDS", 0.01)
    monkeypatch.setattr("gateway.engine.storage_retry.STORAGE_RETRY_SECONDS", 0.01)
    sender = Recorded()
    between = Between()
    between.refuse = {
        name: [Unavailable("full"), Unavailable("full")]
        for name in ("deliveries.release_in_flight", "deliveries.take_due", "deliveries.record_attempt")
    }

    async with staged(tmp_path, delivery_setup=delivery_setup(sender), wrap=between.around) as stage:
        await stage.do(deliver=(HOOK,))
        await settled(stage, DeliveryStatus.DELIVERED)

    assert len(sender.sent) == 1
    assert all(refused == [] for refused in between.refuse.values())


async def test_after_standing_down_nothing_is_on_its_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.engine.background.outbox.SENDING_GRACE_SECONDS", 0.01)
    sender = Recorded()
    sender.gate.clear()
    async with staged(tmp_path, delivery_setup=delivery_setup(sender)) as stage:
        await stage.do(deliver=(HOOK,))
        await until(lambda: sender.working, "it is on its way")
        await stage.engine.step_down()

        assert sender.working == 0
        assert await stage.store.deliveries.release_in_flight() == 1


@pytest.mark.parametrize(
    ("result", "event", "level"),
    [
        (Delivered(), "delivery.delivered", "info"),
        (RetryLater("no answer"), "delivery.pending", "warning"),
        (PermanentFailure("not a URL"), "delivery.dead", "error"),
    ],
    ids=["delivered", "tried again", "given up"],
)
async def test_a_failed_attempt_is_logged_as_one(tmp_path: Path, result: SendResult, event: str, level: str) -> None:
    sender = Recorded()
    sender.result = result
    with structlog.testing.capture_logs() as lines:
        async with staged(tmp_path, delivery_setup=delivery_setup(sender)) as stage:
            await stage.do(deliver=(HOOK,))
            await until(lambda: any(line["event"] == event for line in lines), "the attempt is logged")

    assert next(line["log_level"] for line in lines if line["event"] == event) == level
