"""Webhooks: a signed POST, tried once.

The signature: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md.
The `ce-` headers: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp

import gateway
from gateway.domain import times
from gateway.domain.address_policy import AddressPolicy
from gateway.domain.delivery import (
    Delivered,
    Delivery,
    PermanentFailure,
    RetryLater,
    SendResult,
    Target,
)
from gateway.domain.times import Clock
from gateway.outbound import resolver
from gateway.outbound.guarded_connection import MAX_EXCERPT_CHARACTERS, SocketGuard, cut_excerpt, describe_failure
from gateway.outbound.resolver import LookUpHost, ThreadResolver
from gateway.security import signatures, trusted_certificates

#: seconds that one try may take
POST_TIMEOUT_SECONDS = 15.0
#: bytes of an answer that are read, at most
MAX_WEBHOOK_ANSWER_BYTES = 64 << 10
#: seconds that are spent on reading why a receiver refused
EXPLANATION_SECONDS = 2.0
STATUS_GONE = 410


class WebhookSender:
    """The sender of kind `webhook`."""

    def __init__(
        self,
        address_policy: AddressPolicy,
        clock: Clock,
        *,
        keys: Sequence[bytes],
        own_keys: Mapping[str, Sequence[bytes]] | None = None,
        deadline: float = POST_TIMEOUT_SECONDS,
        look_up: LookUpHost | None = None,
    ) -> None:
        """Args:
        keys: the keys that sign webhooks to any receiver.
        own_keys: the keys of receivers that have their own, by receiver.
        """
        self._address_policy = address_policy
        self._clock = clock
        self._keys = keys
        self._own_keys = own_keys or {}
        self._deadline = deadline
        self._look_up = look_up or resolver.look_up_host
        self._lookup_slots = asyncio.Semaphore(resolver.MAX_PARALLEL_LOOKUPS)

    async def send_delivery(self, delivery: Delivery, body: bytes) -> SendResult:
        try:
            guard = SocketGuard(self._address_policy, delivery.target.address, trusted=delivery.target.trusted)
        except ValueError as error:
            return PermanentFailure(f"not a URL: {error}")
        try:
            async with asyncio.timeout(self._deadline):
                return await self._post_once(delivery, body, guard)
        except TimeoutError:
            return RetryLater(f"no answer within {self._deadline:g} s")
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            return PermanentFailure(f"not a URL: {error}")
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            return _judge_policy(guard) or RetryLater(describe_failure(error))

    async def _post_once(self, delivery: Delivery, body: bytes, guard: SocketGuard) -> SendResult:
        await trusted_certificates.prepare_connection(delivery.target.address)
        async with (
            guard.open_session(ThreadResolver(self._look_up, self._lookup_slots)) as session,
            session.post(
                delivery.target.address, data=body, headers=self._build_headers(delivery, body), allow_redirects=False
            ) as answer,
        ):
            if 200 <= answer.status < 300:
                await _read_answer(answer, bytearray())
                return Delivered(answer.status)
            return _judge_refusal(answer, await _read_explanation(answer), self._clock())

    def _build_headers(self, delivery: Delivery, body: bytes) -> dict[str, str]:
        now = self._clock() // 1000
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"Moongate/{gateway.__version__}",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(now),
            "moongate-attempt": str(delivery.attempt),
        }
        if delivery.target.format == "task":
            headers |= {
                "ce-specversion": "1.0",
                "ce-type": "task.finished",
                "ce-source": "/api/tasks",
                "ce-subject": delivery.run,
                "ce-id": delivery.id,
                "ce-time": times.format_rfc3339(delivery.created),
            }
        signed = f"{delivery.id}.{now}.".encode() + body
        made = [
            base64.b64encode(signatures.hmac_digest(key, signed)).decode() for key in self._find_keys(delivery.target)
        ]
        headers["webhook-signature"] = " ".join(f"v1,{signature}" for signature in made)
        return headers

    def _find_keys(self, target: Target) -> Sequence[bytes]:
        """Return the signing keys: the caller's secret, or the receiver's own keys, or the common keys."""
        if target.secret:
            return [signatures.decode_standard_key(target.secret)]
        return self._own_keys.get(target.receiver, self._keys)


def _judge_policy(guard: SocketGuard) -> SendResult | None:
    """Return the result of an attempt that the policy refused; None if it did not.

    What other settings would allow is tried again: it may have been accepted under those.
    """
    if not guard.refusal:
        return None
    return PermanentFailure(guard.refusal) if guard.all_forbidden else RetryLater(guard.refusal)


async def _read_answer(answer: aiohttp.ClientResponse, into: bytearray) -> None:
    """Read an answer up to the limit; an answer that breaks off before that is an error."""
    while len(into) < MAX_WEBHOOK_ANSWER_BYTES:
        chunk = await answer.content.read(MAX_WEBHOOK_ANSWER_BYTES - len(into))
        if not chunk:
            break
        into += chunk


async def _read_explanation(answer: aiohttp.ClientResponse) -> bytes:
    """Return what a receiver says about its refusal, or the part that comes: the status alone decides."""
    read = bytearray()
    with suppress(aiohttp.ClientError, OSError, TimeoutError):
        async with asyncio.timeout(EXPLANATION_SECONDS):
            await _read_answer(answer, read)
    return bytes(read)


def _judge_refusal(answer: aiohttp.ClientResponse, text: bytes, now: int) -> SendResult:
    """Return the result of an attempt whose answer is no success."""
    why = f"answered {answer.status}"
    if answer.status == STATUS_GONE:
        return PermanentFailure(f"{why}: it wants no more", answer.status)
    if 300 <= answer.status < 400:
        return RetryLater(f"{why}: redirects are not followed", http_status=answer.status)
    shown = cut_excerpt(text[: 4 * MAX_EXCERPT_CHARACTERS].decode("utf-8", "replace"))
    return RetryLater(
        f"{why}: {shown}" if shown else why,
        retry_after=_parse_retry_after(answer.headers.get("Retry-After"), now),
        http_status=answer.status,
    )


def _parse_retry_after(text: str | None, now: int) -> float:
    """Return the seconds of a `Retry-After` header, a number or a date (RFC 9110, 10.2.3); 0 if it has none."""
    if text is None:
        return 0.0
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    with suppress(ValueError, OverflowError):
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        return max(0.0, (date - datetime.fromtimestamp(now / 1000, UTC)).total_seconds())
    return 0.0
