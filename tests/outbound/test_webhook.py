"""The sender of webhooks never connects to what it must not, however it is led there."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.domain.address_policy import Reach
from gateway.domain.delivery import Delivered, Delivery, DeliveryStatus, Never, Receipt, Target, TryAgain
from gateway.domain.times import wall_clock
from gateway.outbound.webhook import WebhookSender
from harness.waiting import PATIENCE, until
from harness.webhook_receiver import receiving
from tests.support.hurrying import Hurry

#: other ways to write an address of loopback, or names that lead there
DISGUISED = [
    *["127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "017700000001", "0177.0.0.1"],
    *["localhost", "LOCALHOST", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]"],
    *["127.0.0.1.", "127.127.127.127", "0.0.0.0", "0", "[::]", "[::ffff:0.0.0.0]", "inside.example"],
    *["[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::127.0.0.1]"],
]

KEYS = [b"k" * 32]


def delivery(url: str, **fields: Any) -> Delivery:
    return Delivery(
        id="D",
        seq=1,
        run="R",
        target=Target(kind="webhook", address=url, **fields),
        status=DeliveryStatus.SENDING,
        attempt=1,
        next_at=0,
        created=0,
    )


def address(host: str, port: int) -> Any:
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    return kind, socket.SOCK_STREAM, 6, "", (host, port)


class Names:
    """Leads every name to addresses that a test says, one list a look-up; what is a number is left to the system."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> Sequence[Any]:
        self.asked.append(host)
        if host.endswith(".example"):
            return [address(found, port) for found in self.answers.pop(0)]
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


async def sent(
    url: str, reach: Reach, names: Names | None = None, deadline: float = PATIENCE, **fields: Any
) -> Receipt:
    sender = WebhookSender(reach, wall_clock, look_up=names, deadline=deadline, keys=KEYS)
    return await sender.send(delivery(url, **fields), b"{}")


@pytest.mark.parametrize("host", DISGUISED)
async def test_loopback_in_any_disguise_is_not_connected_to(host: str) -> None:
    async with receiving() as canary:
        names = Names(["127.0.0.1"])
        receipt = await sent(f"http://{host}:{canary.port}/", Reach(local=False), names)

    assert isinstance(receipt, Never)
    assert (canary.connections, canary.requests) == (0, [])


async def test_a_redirect_to_a_forbidden_address_is_not_followed() -> None:
    async with receiving() as canary, receiving(f"307 Location: {canary.url}") as front:
        receipt = await sent(front.url, Reach.of(["127.0.0.1"], local=False))

    assert receipt == TryAgain("answered 307: redirects are not followed")
    assert (len(front.requests), canary.connections) == (1, 0)


async def test_a_name_that_changes_its_address_is_judged_by_the_one_that_is_connected_to() -> None:
    names = Names(["93.184.216.34"], ["127.0.0.1"])
    async with receiving() as canary:
        names("rebinding.example", 80)  # an earlier look-up would have found an allowed address
        receipt = await sent(f"http://rebinding.example:{canary.port}/", Reach(local=True), names)

    assert receipt == Never("refused: 127.0.0.1 is a loopback address, and webhooks.allow_private does not list it")
    assert (canary.connections, names.asked) == (0, ["rebinding.example"] * 2)


async def test_each_try_looks_the_name_up_again() -> None:
    names = Names(["127.0.0.1"], ["127.0.0.1"])
    reach = Reach.of(["inside.example"], local=False)
    sender = WebhookSender(reach, wall_clock, look_up=names, keys=KEYS)
    async with receiving() as receiver:
        for _ in range(2):
            assert await sender.send(delivery(f"http://inside.example:{receiver.port}/"), b"{}") == Delivered()

    assert (len(names.asked), receiver.connections) == (2, 2)


@pytest.mark.parametrize(
    ("host", "reach", "fields"),
    [
        ("127.0.0.1", Reach(local=True), {}),
        ("localhost", Reach(local=True), {}),
        ("127.0.0.1", Reach.of(["127.0.0.0/8"], local=False), {}),
        ("inside.example", Reach.of(["inside.example"], local=False), {}),
        ("inside.example", Reach(local=False), {"trusted": True}),
    ],
)
async def test_an_allowed_address_gets_the_webhook(host: str, reach: Reach, fields: dict[str, Any]) -> None:
    async with receiving() as receiver:
        assert await sent(f"http://{host}:{receiver.port}/", reach, Names(["127.0.0.1"]), **fields) == Delivered()

    assert [request.body for request in receiver.requests] == [b"{}"]


async def test_an_unknown_host_is_tried_again() -> None:
    def unknown(host: str, port: int) -> Sequence[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    sender = WebhookSender(Reach(local=True), wall_clock, look_up=unknown, keys=KEYS)
    receipt = await sender.send(delivery("http://nobody.example/"), b"{}")

    assert receipt == TryAgain("cannot find the host: Name or service not known")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("30", 30.0),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60.0),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0.0),
        ("soon", 0.0),
        ("-1", 0.0),
        ("9" * 30, 0.0),
    ],
)
async def test_retry_after_is_a_number_or_a_date(header: str, seconds: float) -> None:
    sender = WebhookSender(Reach(local=True), lambda: 1_700_000_000_000, keys=KEYS)
    async with receiving(f"503 Retry-After: {header}") as receiver:
        receipt = await sender.send(delivery(receiver.url), b"{}")

    assert receipt == TryAgain("answered 503: well", after=seconds)


async def test_a_body_that_does_not_end_is_not_waited_for() -> None:
    async with receiving("drip") as receiver:
        assert await sent(receiver.url, Reach(local=True), deadline=0.2) == TryAgain("no answer within 0.2 s")


async def test_an_answer_that_breaks_off_is_tried_again() -> None:
    async with receiving("reset") as receiver:
        assert await sent(receiver.url, Reach(local=True)) == TryAgain("the answer broke off")


async def test_a_format_of_another_system_has_no_headers_of_ours() -> None:
    async with receiving() as receiver:
        await sent(receiver.url, Reach(local=True), format="xitto")

    assert [name for name in receiver.requests[0].headers if name.startswith("ce-")] == []


@pytest.mark.parametrize("url", ["http://example.org:99999/", "http://[::1/", "nonsense", "ftp://example.org/"])
async def test_an_invalid_url_is_never_tried_again(url: str) -> None:
    assert isinstance(await sent(url, Reach(local=True)), Never)


async def test_a_look_up_that_hangs_does_not_delay_others(hurry: Hurry) -> None:
    hanging, released = threading.Event(), threading.Event()

    def look_up(host: str, port: int) -> Sequence[Any]:
        if host == "hanging.example":
            hanging.set()
            released.wait()
        return [address("127.0.0.1", port)]

    sender = WebhookSender(
        Reach.of(["fine.example"], local=False), wall_clock, look_up=look_up, deadline=2 * PATIENCE, keys=KEYS
    )
    async with receiving() as receiver:
        slow = asyncio.create_task(sender.send(delivery(f"http://hanging.example:{receiver.port}/"), b"{}"))
        await until(hanging.is_set, "the look-up hangs")
        quick = await sender.send(delivery(f"http://fine.example:{receiver.port}/"), b"{}")
        hurry(2 * PATIENCE)
        given_up = await slow
        released.set()

    assert (quick, given_up) == (Delivered(), TryAgain("no answer within 120 s"))
