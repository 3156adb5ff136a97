"""Whatever is signed and posted: it becomes a run, needs none, or is refused in words. Nothing breaks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.channels import ChannelResources
from gateway.channels.telegram.channel import TelegramChannel
from gateway.channels.telegram.options import Options, derive_webhook_secret
from gateway.domain.inbound import ImmediateReply, WebhookEndpointSettings
from gateway.domain.ports.channel import WebhookReceiver
from gateway.domain.run import Run
from gateway.engine.messaging import webhook_endpoint
from gateway.errors import InvalidRequest, Unauthorized
from tests.channels.context import MemoryChannelContext
from tests.support.providers import WEBHOOK_SENDERS, WebhookProvider
from tests.support.telegram_server import BOT_TOKEN

pytestmark = pytest.mark.slow

SIGNED_AT_SECONDS = 1_700_000_000
#: names that the providers' payloads have
PAYLOAD_NAMES = st.sampled_from(
    "event data id chat_id content action type challenge event_id bot_id subtype text channel update_id message chat"
    " from message_id caption repository full_name number pull_request title".split()
)
PAYLOAD_LEAVES = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from(["url_verification"])
)
PAYLOAD_VALUES = st.recursive(
    PAYLOAD_LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(PAYLOAD_NAMES, inner, max_size=6),
    max_leaves=20,
)
many = settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))


def mutated(payload: Any, change: Callable[[str], Any]) -> Any:
    """Return a payload with some of its values replaced."""
    if isinstance(payload, dict):
        return {
            name: change(name) if change(name) is not ... else mutated(value, change) for name, value in payload.items()
        }
    return payload


async def post_to_receiver(
    receiver: WebhookReceiver, headers: CIMultiDict[str], body: bytes, context: MemoryChannelContext
) -> Run | ImmediateReply:
    receiver.check_headers(headers)
    return await receiver.receive(headers, body, context)


def read_outcome(taking: Coroutine[Any, Any, Run | ImmediateReply]) -> Run | ImmediateReply | str:
    """Return what was made of it, or in which words it was refused."""
    try:
        return asyncio.run(taking)
    except InvalidRequest as error:
        return error.message


@pytest.mark.parametrize("sender", WEBHOOK_SENDERS, ids=lambda sender: sender.name)
@given(payload=PAYLOAD_VALUES, replaced=st.dictionaries(PAYLOAD_NAMES, PAYLOAD_VALUES, max_size=2))
@many
def test_any_signed_payload_is_accepted_or_refused_with_a_reason(
    sender: WebhookProvider, payload: Any, replaced: dict[str, Any]
) -> None:
    made = webhook_endpoint.create_endpoint(
        sender.name,
        WebhookEndpointSettings(secret=sender.secret, **sender.settings),
        {},
        lambda: SIGNED_AT_SECONDS * 1000,
    )
    assert made is not None
    for sent in (payload, mutated(dict(sender.payload), lambda name: replaced.get(name, ...))):
        body = json.dumps(sent).encode()
        headers = CIMultiDict(sender.sign(body, sender.secret, SIGNED_AT_SECONDS))
        made.check_headers(headers)
        context = MemoryChannelContext()
        became = read_outcome(made.receive(headers, body, context))

        assert isinstance(became, Run | ImmediateReply) or (10 < len(became) < 600 and context.submitted == [])


@pytest.mark.parametrize("sender", WEBHOOK_SENDERS, ids=lambda sender: sender.name)
@given(values=st.lists(st.text(max_size=80), min_size=4, max_size=4), body=st.binary(max_size=50))
@many
def test_any_wrong_header_is_refused(sender: WebhookProvider, values: list[str], body: bytes) -> None:
    made = webhook_endpoint.create_endpoint(
        sender.name, WebhookEndpointSettings(secret=sender.secret), {}, lambda: SIGNED_AT_SECONDS * 1000
    )
    assert made is not None
    names = list(sender.sign(sender.body, sender.secret, SIGNED_AT_SECONDS))
    headers = CIMultiDict(zip(names, values, strict=False))
    context = MemoryChannelContext()
    with pytest.raises(Unauthorized):
        asyncio.run(post_to_receiver(made, headers, body, context))

    assert context.submitted == []


@given(update=PAYLOAD_VALUES)
@many
def test_any_telegram_update_is_accepted_or_refused_with_a_reason(update: Any) -> None:
    async def send() -> Run | ImmediateReply:
        options = Options(
            token=BOT_TOKEN, base_url="http://127.0.0.1:9", mode="webhook", webhook_url="http://127.0.0.1:9"
        )
        async with TelegramChannel(
            options, ChannelResources(environ={}, clock=lambda: SIGNED_AT_SECONDS * 1000)
        ) as channel:
            headers = CIMultiDict({"X-Telegram-Bot-Api-Secret-Token": derive_webhook_secret(BOT_TOKEN)})
            return await post_to_receiver(channel, headers, json.dumps(update).encode(), MemoryChannelContext())

    became = read_outcome(send())

    assert isinstance(became, Run | ImmediateReply) or 10 < len(became) < 600
