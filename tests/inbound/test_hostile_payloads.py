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

from gateway.channels import Means
from gateway.channels.telegram.channel import Telegram
from gateway.channels.telegram.options import Options, webhook_secret
from gateway.domain.inbound import Aside, InletSettings
from gateway.domain.ports.channel import Door
from gateway.domain.run import Run
from gateway.engine.messaging import webhook_endpoint
from gateway.errors import InvalidRequest, Unauthorized
from tests.channels.context import MemoryDesk
from tests.support.providers import SENDERS, Sender
from tests.support.telegram_server import TOKEN

pytestmark = pytest.mark.slow

NOW = 1_700_000_000
#: names that the providers' payloads have
NAMES = st.sampled_from(
    "event data id chat_id content action type challenge event_id bot_id subtype text channel update_id message chat"
    " from message_id caption repository full_name number pull_request title".split()
)
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from(["url_verification"])
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6), max_leaves=20
)
many = settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))


def mutated(payload: Any, change: Callable[[str], Any]) -> Any:
    """Return a payload with some of its values replaced."""
    if isinstance(payload, dict):
        return {
            name: change(name) if change(name) is not ... else mutated(value, change) for name, value in payload.items()
        }
    return payload


async def knock(door: Door, headers: CIMultiDict[str], body: bytes, context: MemoryDesk) -> Run | Aside:
    door.admit(headers)
    return await door.take(headers, body, context)


def outcome(taking: Coroutine[Any, Any, Run | Aside]) -> Run | Aside | str:
    """Return what was made of it, or in which words it was refused."""
    try:
        return asyncio.run(taking)
    except InvalidRequest as error:
        return error.message


@pytest.mark.parametrize("sender", SENDERS, ids=lambda sender: sender.name)
@given(payload=JSON, replaced=st.dictionaries(NAMES, JSON, max_size=2))
@many
def test_any_signed_payload_is_accepted_or_refused_with_a_reason(
    sender: Sender, payload: Any, replaced: dict[str, Any]
) -> None:
    made = webhook_endpoint.made(
        sender.name, InletSettings(secret=sender.secret, **sender.settings), {}, lambda: NOW * 1000
    )
    assert made is not None
    for sent in (payload, mutated(dict(sender.payload), lambda name: replaced.get(name, ...))):
        body = json.dumps(sent).encode()
        headers = CIMultiDict(sender.sign(body, sender.secret, NOW))
        made.admit(headers)
        context = MemoryDesk()
        became = outcome(made.take(headers, body, context))

        assert isinstance(became, Run | Aside) or (10 < len(became) < 600 and context.submitted == [])


@pytest.mark.parametrize("sender", SENDERS, ids=lambda sender: sender.name)
@given(values=st.lists(st.text(max_size=80), min_size=4, max_size=4), body=st.binary(max_size=50))
@many
def test_any_wrong_header_is_refused(sender: Sender, values: list[str], body: bytes) -> None:
    made = webhook_endpoint.made(sender.name, InletSettings(secret=sender.secret), {}, lambda: NOW * 1000)
    assert made is not None
    names = list(sender.sign(sender.body, sender.secret, NOW))
    headers = CIMultiDict(zip(names, values, strict=False))
    context = MemoryDesk()
    with pytest.raises(Unauthorized):
        asyncio.run(knock(made, headers, body, context))

    assert context.submitted == []


@given(update=JSON)
@many
def test_any_telegram_update_is_accepted_or_refused_with_a_reason(update: Any) -> None:
    async def send() -> Run | Aside:
        options = Options(token=TOKEN, base_url="http://127.0.0.1:9", mode="webhook", webhook_url="http://127.0.0.1:9")
        async with Telegram(options, Means(environ={}, clock=lambda: NOW * 1000)) as channel:
            headers = CIMultiDict({"X-Telegram-Bot-Api-Secret-Token": webhook_secret(TOKEN)})
            return await knock(channel, headers, json.dumps(update).encode(), MemoryDesk())

    became = outcome(send())

    assert isinstance(became, Run | Aside) or 10 < len(became) < 600
