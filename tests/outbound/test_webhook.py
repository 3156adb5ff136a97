"""The sender of webhooks never connects to what it must not, however it is led there."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.address_policy import AddressPolicy
from gateway.domain.delivery import (
    Delivered,
    Delivery,
    DeliveryStatus,
    PermanentFailure,
    RetryLater,
    SendResult,
    Target,
)
from gateway.domain.times import wall_clock
from gateway.outbound.webhook import MAX_WEBHOOK_ANSWER_BYTES, WebhookSender
from harness.waiting import PATIENCE, until
from harness.webhook_receiver import serve_receiver
from tests.support.hurrying import Hurry

#: other ways to write an address of loopback, or names that lead there
DISGUISED_LOOPBACK_HOSTS = [
    *["127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "017700000001", "0177.0.0.1"],
    *["localhost", "LOCALHOST", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]"],
    *["127.0.0.1.", "127.127.127.127", "0.0.0.0", "0", "[::]", "[::ffff:0.0.0.0]", "inside.example"],
    *["[::ffff:0:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::127.0.0.1]"],
]

#: a key, and a certificate for localhost and 127.0.0.1 that nobody else has signed
SELF_SIGNED_CERTIFICATE = Path(__file__).parents[1] / "data" / "self_signed.pem"

SIGNING_KEYS = [b"k" * 32]


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
    url: str, reach: AddressPolicy, names: Names | None = None, deadline: float = PATIENCE, **fields: Any
) -> SendResult:
    sender = WebhookSender(reach, wall_clock, look_up=names, deadline=deadline, keys=SIGNING_KEYS)
    return await sender.send_delivery(delivery(url, **fields), b"{}")


@pytest.mark.parametrize("host", DISGUISED_LOOPBACK_HOSTS)
async def test_loopback_in_any_disguise_is_not_connected_to(host: str) -> None:
    async with serve_receiver() as canary:
        names = Names(["127.0.0.1"])
        receipt = await sent(f"http://{host}:{canary.port}/", AddressPolicy(loopback_only=False), names)

    assert not isinstance(receipt, Delivered)
    assert receipt.reason.startswith(("refused: ", "not a URL: "))
    assert (canary.connections, canary.requests) == (0, [])


@pytest.mark.parametrize(
    ("addresses", "result"),
    [
        (["127.0.0.1"], RetryLater),
        (["10.0.0.1"], RetryLater),
        (["169.254.169.254"], PermanentFailure),
        (["169.254.169.254", "127.0.0.1"], RetryLater),
    ],
)
async def test_what_other_settings_would_allow_is_tried_again(addresses: list[str], result: type[SendResult]) -> None:
    receipt = await sent("http://moved.example/", AddressPolicy(loopback_only=False), Names(addresses))

    assert isinstance(receipt, result)


async def test_a_redirect_to_a_forbidden_address_is_not_followed() -> None:
    async with serve_receiver() as canary, serve_receiver(f"307 Location: {canary.url}") as front:
        receipt = await sent(front.url, AddressPolicy.from_allow_list(["127.0.0.1"], local=False))

    assert receipt == RetryLater("answered 307: redirects are not followed", http_status=307)
    assert (len(front.requests), canary.connections) == (1, 0)


async def test_a_name_that_changes_its_address_is_judged_by_the_one_that_is_connected_to() -> None:
    names = Names(["93.184.216.34"], ["127.0.0.1"])
    async with serve_receiver() as canary:
        names("rebinding.example", 80)  # an earlier look-up would have found an allowed address
        receipt = await sent(f"http://rebinding.example:{canary.port}/", AddressPolicy(loopback_only=True), names)

    assert receipt == RetryLater(
        "refused: 127.0.0.1 is a loopback address, and webhooks.allow_private does not list it"
    )
    assert (canary.connections, names.asked) == (0, ["rebinding.example"] * 2)


async def test_each_try_looks_the_name_up_again() -> None:
    names = Names(["127.0.0.1"], ["127.0.0.1"])
    reach = AddressPolicy.from_allow_list(["inside.example"], local=False)
    sender = WebhookSender(reach, wall_clock, look_up=names, keys=SIGNING_KEYS)
    async with serve_receiver() as receiver:
        for _ in range(2):
            assert await sender.send_delivery(delivery(f"http://inside.example:{receiver.port}/"), b"{}") == Delivered(
                200
            )

    assert (len(names.asked), receiver.connections) == (2, 2)


@pytest.mark.parametrize(
    ("host", "reach", "fields"),
    [
        ("127.0.0.1", AddressPolicy(loopback_only=True), {}),
        ("localhost", AddressPolicy(loopback_only=True), {}),
        ("127.0.0.1", AddressPolicy.from_allow_list(["127.0.0.0/8"], local=False), {}),
        ("inside.example", AddressPolicy.from_allow_list(["inside.example"], local=False), {}),
        ("inside.example", AddressPolicy(loopback_only=False), {"trusted": True}),
    ],
)
async def test_an_allowed_address_gets_the_webhook(host: str, reach: AddressPolicy, fields: dict[str, Any]) -> None:
    async with serve_receiver() as receiver:
        assert await sent(f"http://{host}:{receiver.port}/", reach, Names(["127.0.0.1"]), **fields) == Delivered(200)

    assert [request.body for request in receiver.requests] == [b"{}"]


async def test_a_certificate_that_cannot_be_trusted_is_named_as_the_fault() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(SELF_SIGNED_CERTIFICATE)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        result = await sent(url, AddressPolicy(loopback_only=True))

    assert result == RetryLater("cannot trust the receiver's certificate: self-signed certificate")


async def test_a_receiver_without_tls_at_an_https_url_is_named_as_the_fault() -> None:
    async def answer_in_plain_text(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer_in_plain_text, "127.0.0.1", 0)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        result = await sent(url, AddressPolicy(loopback_only=True))

    assert isinstance(result, RetryLater)
    assert result.reason in ("cannot agree on TLS: wrong version number", "cannot agree on TLS: record layer failure")


async def test_an_unknown_host_is_tried_again() -> None:
    def unknown(host: str, port: int) -> Sequence[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    sender = WebhookSender(AddressPolicy(loopback_only=True), wall_clock, look_up=unknown, keys=SIGNING_KEYS)
    receipt = await sender.send_delivery(delivery("http://nobody.example/"), b"{}")

    assert receipt == RetryLater("cannot find the host: Name or service not known")


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
    sender = WebhookSender(AddressPolicy(loopback_only=True), lambda: 1_700_000_000_000, keys=SIGNING_KEYS)
    async with serve_receiver(f"503 Retry-After: {header}") as receiver:
        receipt = await sender.send_delivery(delivery(receiver.url), b"{}")

    assert receipt == RetryLater("answered 503: well", retry_after=seconds, http_status=503)


async def test_a_body_that_does_not_end_is_not_waited_for() -> None:
    async with serve_receiver("drip") as receiver:
        assert await sent(receiver.url, AddressPolicy(loopback_only=True), deadline=0.2) == RetryLater(
            "no answer within 0.2 s"
        )


async def test_what_follows_the_limit_of_an_answer_is_not_waited_for() -> None:
    closed = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MAX_WEBHOOK_ANSWER_BYTES + 1))
        with suppress(ConnectionError):  # the other end closes before it has read all
            await reader.read()
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()
        closed.set()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        result = await sent(url, AddressPolicy(loopback_only=True))
        await closed.wait()

    assert result == Delivered(200)


async def test_an_answer_that_breaks_off_is_tried_again() -> None:
    async with serve_receiver("reset") as receiver:
        assert await sent(receiver.url, AddressPolicy(loopback_only=True)) == RetryLater("the answer broke off")


def raw(answer: bytes) -> str:
    """Return the line of a receiver's script that answers with these bytes."""
    return f"raw {answer.hex()}"


@pytest.mark.parametrize(
    "rest", ["Content-Length: 1000\r\n\r\nbusy", "Transfer-Encoding: chunked\r\n\r\n4\r\nbusy\r\n", "\r\nbusy"]
)
async def test_a_refusal_counts_even_if_its_explanation_breaks_off(rest: str) -> None:
    busy, gone = (f"HTTP/1.1 {status}\r\nRetry-After: 30\r\n{rest}".encode() for status in ("503 Busy", "410 Gone"))
    async with serve_receiver(raw(busy), raw(gone)) as receiver:
        results = [await sent(receiver.url, AddressPolicy(loopback_only=True)) for _ in range(2)]

    assert results == [
        RetryLater("answered 503: busy", retry_after=30.0, http_status=503),
        PermanentFailure("answered 410: it wants no more", 410),
    ]


async def test_a_refusal_counts_even_if_its_explanation_does_not_end() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 503 Busy\r\nRetry-After: 30\r\n\r\nbecause")
        said.set()
        await reader.read()
        writer.close()

    said = asyncio.Event()
    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        sending = asyncio.create_task(sent(url, AddressPolicy(loopback_only=True)))
        await said.wait()
        result = await sending

    assert result == RetryLater("answered 503: because", retry_after=30.0, http_status=503)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "the receiver closed the connection without an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the answer is not valid HTTP: "),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", "the answer is not valid HTTP: "),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", "the answer is not valid HTTP: "),
        (b"\x15\x03\x01\x00\x02\x02F\x1b[31m\r\n\r\n", "the answer is not valid HTTP: "),
    ],
)
async def test_what_is_no_answer_is_told_in_words_on_one_line(answer: bytes, reason: str) -> None:
    """The library reports it as an answer with the status 400, which nobody gave."""
    async with serve_receiver(raw(answer)) as receiver:
        result = await sent(receiver.url, AddressPolicy(loopback_only=True))

    assert isinstance(result, RetryLater)
    assert result.reason.startswith(reason)
    assert "400" not in result.reason
    assert result.reason.isprintable()


async def test_an_address_that_the_system_cannot_look_up_is_told_in_its_words() -> None:
    result = await sent("http://[::1%25nowhere]:1/", AddressPolicy(loopback_only=True))

    assert isinstance(result, RetryLater)
    assert "Unknown error" not in result.reason


async def test_a_format_of_another_system_has_no_headers_of_ours() -> None:
    async with serve_receiver() as receiver:
        await sent(receiver.url, AddressPolicy(loopback_only=True), format="xitto")

    assert [name for name in receiver.requests[0].headers if name.startswith("ce-")] == []


@pytest.mark.parametrize("url", ["http://example.org:99999/", "http://[::1/", "nonsense", "ftp://example.org/"])
async def test_an_invalid_url_is_never_tried_again(url: str) -> None:
    assert isinstance(await sent(url, AddressPolicy(loopback_only=True)), PermanentFailure)


async def test_a_look_up_that_hangs_does_not_delay_others(hurry: Hurry) -> None:
    hanging, released = threading.Event(), threading.Event()

    def look_up(host: str, port: int) -> Sequence[Any]:
        if host == "hanging.example":
            hanging.set()
            released.wait()
        return [address("127.0.0.1", port)]

    sender = WebhookSender(
        AddressPolicy.from_allow_list(["fine.example"], local=False),
        wall_clock,
        look_up=look_up,
        deadline=2 * PATIENCE,
        keys=SIGNING_KEYS,
    )
    async with serve_receiver() as receiver:
        slow = asyncio.create_task(sender.send_delivery(delivery(f"http://hanging.example:{receiver.port}/"), b"{}"))
        await until(hanging.is_set, "the look-up hangs")
        quick = await sender.send_delivery(delivery(f"http://fine.example:{receiver.port}/"), b"{}")
        hurry(2 * PATIENCE)
        given_up = await slow
        released.set()

    assert (quick, given_up) == (Delivered(200), RetryLater("no answer within 120 s"))


async def test_an_answer_that_says_it_is_compressed_is_not_unpacked() -> None:
    """A small answer could fill the memory, and one that is not compressed at all would hide its status."""
    async with serve_receiver("503 Content-Encoding: gzip") as receiver:
        result = await sent(receiver.url, AddressPolicy(loopback_only=True), trusted=True)

    assert result == RetryLater("answered 503: well", http_status=503)
