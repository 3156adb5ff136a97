"""Files that a caller names by their URL are fetched from nowhere where a webhook could not be sent."""

from __future__ import annotations

import pytest

from gateway.domain.address_policy import AddressPolicy
from gateway.errors import InvalidRequest
from gateway.outbound.file_fetcher import FileFetcher
from harness.waiting import PATIENCE
from harness.webhook_receiver import serve_receiver
from tests.outbound.test_webhook import DISGUISED_LOOPBACK_HOSTS, Names


async def fetch(url: str, policy: AddressPolicy, names: Names | None = None) -> bytes:
    async with FileFetcher(policy, look_up=names).open_file(url, PATIENCE) as file:
        return b"".join([piece async for piece in file.pieces])


async def test_a_file_is_fetched_with_its_name_type_and_size() -> None:
    async with serve_receiver("200 Content-Type: text/plain") as server:
        url = f"http://127.0.0.1:{server.port}/a/b%20c.txt?d=e"
        async with FileFetcher(AddressPolicy(loopback_only=True)).open_file(url, PATIENCE) as file:
            content = b"".join([piece async for piece in file.pieces])

    assert (file.name, file.media_type, file.size, content) == ("b c.txt", "text/plain", 4, b"well")


@pytest.mark.parametrize("host", DISGUISED_LOOPBACK_HOSTS)
async def test_nothing_is_fetched_from_loopback_in_any_disguise(host: str) -> None:
    async with serve_receiver() as canary:
        with pytest.raises(InvalidRequest):
            await fetch(f"http://{host}:{canary.port}/", AddressPolicy(loopback_only=False), Names(["127.0.0.1"]))

    assert (canary.connections, canary.requests) == (0, [])


async def test_a_redirect_to_a_forbidden_address_is_not_followed() -> None:
    async with serve_receiver() as canary, serve_receiver(f"307 Location: {canary.url}") as front:
        with pytest.raises(InvalidRequest, match="redirects are not followed"):
            await fetch(front.url, AddressPolicy.from_allow_list(["127.0.0.1"], local=False))

    assert (len(front.requests), canary.connections) == (1, 0)


@pytest.mark.parametrize("url", ["ftp://a.example/b", "http://a:b@c.example/", "http://a b/", "http://[x]/", ""])
async def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest):
        await fetch(url, AddressPolicy(loopback_only=True))
