"""Fetches files that a caller names by their URL, from addresses to which webhooks may be sent, too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import aiohttp

import gateway
from gateway.domain.address_policy import AddressPolicy, find_url_fault
from gateway.errors import InvalidRequest
from gateway.outbound import resolver
from gateway.outbound.guarded_connection import SocketGuard, cut_excerpt, describe_failure
from gateway.outbound.resolver import LookUpHost, ThreadResolver
from gateway.security import trusted_certificates

#: bytes that are handed on at once
FETCHED_PIECE_BYTES = 64 << 10


class FetchedFile(NamedTuple):
    """A file that comes from another server."""

    #: the last part of its URL's path; may be empty
    name: str
    #: as the server says; may be empty
    media_type: str
    #: in bytes; None if the server does not say it
    size: int | None
    #: its content, of which the reader takes as much as it wants
    pieces: AsyncIterable[bytes]


class FileFetcher:
    """Fetches files, each with one request. Redirects are not followed, and nothing is unpacked."""

    def __init__(self, address_policy: AddressPolicy, *, look_up: LookUpHost | None = None) -> None:
        self._address_policy = address_policy
        self._look_up = look_up or resolver.look_up_host
        self._lookup_slots = asyncio.Semaphore(resolver.MAX_PARALLEL_LOOKUPS)

    @asynccontextmanager
    async def open_file(self, url: str, seconds: float) -> AsyncGenerator[FetchedFile, None]:
        """Yield the file at a URL, which is read in the block.

        Args:
            seconds: how long all of that may take.

        Raises:
            InvalidRequest: it cannot be had.
        """
        fault = find_url_fault(url)
        if fault is not None:
            raise InvalidRequest(fault)
        try:
            guard = SocketGuard(self._address_policy, url)
        except ValueError as error:
            raise InvalidRequest(f"this is not a valid URL: {error}.") from error
        try:
            await trusted_certificates.prepare_connection(url)
            async with (
                asyncio.timeout(seconds),
                guard.open_session(ThreadResolver(self._look_up, self._lookup_slots)) as session,
                session.get(url, headers=_REQUEST_HEADERS, allow_redirects=False) as answer,
            ):
                yield _read_answer(url, answer)
        except TimeoutError as error:
            raise _refuse("it did not come in time.") from error
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            raise _refuse(f"{guard.refusal or describe_failure(error)}.") from error


_REQUEST_HEADERS = {"Accept-Encoding": "identity", "User-Agent": f"Moongate/{gateway.__version__}"}


def _read_answer(url: str, answer: aiohttp.ClientResponse) -> FetchedFile:
    if 300 <= answer.status < 400:
        raise _refuse(f"the server answered {answer.status}, and redirects are not followed.")
    if answer.status != 200:
        raise _refuse(f"the server answered {answer.status}.")
    coding = answer.headers.get("Content-Encoding", "identity").lower()
    if coding != "identity":
        raise _refuse(f"the server sent it packed, as {cut_excerpt(coding)!r}.")
    return FetchedFile(
        name=unquote(urlsplit(url).path.rpartition("/")[2], errors="replace"),
        media_type=answer.headers.get("Content-Type", ""),
        size=answer.content_length,
        pieces=answer.content.iter_chunked(FETCHED_PIECE_BYTES),
    )


def _refuse(why: str) -> InvalidRequest:
    return InvalidRequest(f"the file cannot be fetched: {why}")
