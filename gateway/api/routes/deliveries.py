"""Deliveries: webhooks and messages that are sent when tasks end, and dead letters."""

from __future__ import annotations

import asyncio
from typing import Annotated

from msgspec import Meta, Struct

from gateway.api import fields, paging, views
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain import times
from gateway.domain.delivery import Delivery, DeliveryAttempt, DeliveryFilter, DeliveryStatus
from gateway.domain.token import Scope

ROUTES = Routes("deliveries")

AddressPart = Annotated[str, Meta(min_length=1, max_length=200)]


class AttemptShown(Struct, frozen=True, kw_only=True):
    """An attempt to send a delivery."""

    #: from 1, over all retries
    number: int
    #: when it began; of an interrupted attempt, when that was found
    at: str
    #: how long it took; null if it was interrupted, because the gateway stopped
    seconds: float | None
    #: why it failed; null if the receiver accepted it
    error: str | None
    #: status of the receiver's answer; null if there was none, and for chats
    http_status: int | None


class DeliveryAnswer(Struct, frozen=True, kw_only=True):
    status: str = "ok"
    delivery: views.DeliveryShown
    #: the attempts to send it, oldest first; of very many, the last 50
    attempts: list[AttemptShown]


class DeliveryList(Struct, frozen=True, kw_only=True):
    #: newest first
    deliveries: list[views.DeliveryShown]
    #: send it as `cursor` to get the next page; null on the last page
    next_cursor: str | None


class WhichDeliveries(paging.Paging, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which deliveries to list."""

    #: only those with this status
    status: DeliveryStatus | None = None
    #: id of the task whose end they report
    task: Annotated[str, Meta(min_length=1, max_length=26)] | None = None
    #: `webhook`, or the name of a channel
    kind: fields.ChannelName | None = None
    #: a part of the URL, or of the id of the chat
    text: AddressPart | None = None


class WhichCounted(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which deliveries to count."""

    #: `webhook`, or the name of a channel
    kind: fields.ChannelName | None = None
    #: a part of the URL, or of the id of the chat
    text: AddressPart | None = None


class Counted(Struct, frozen=True, kw_only=True):
    """How many deliveries there are."""

    #: those that wait for their next attempt
    pending: int
    #: those that are being sent
    sending: int
    #: those that arrived
    delivered: int
    #: dead letters
    dead: int
    #: whether these are all; false if a number is cut at 100,000
    exact: bool


@ROUTES.add("GET", "/api/deliveries", scope=Scope.READ, query=WhichDeliveries, answer=DeliveryList)
async def list_deliveries(call: Call[Nothing, WhichDeliveries]) -> DeliveryList:
    """List deliveries, newest first; those with the status `dead` are dead letters."""
    asked = call.query
    run = None if asked.task is None else (await call.engine.runs.get_run(asked.task)).id
    which = DeliveryFilter(status=asked.status, run=run, kind=asked.kind, text=asked.text)
    found = await call.engine.deliveries.list_deliveries(which, paging.page_to_fetch(asked))
    deliveries, cursor = paging.render_page(asked, found, lambda delivery: delivery.seq, views.render_delivery)
    return DeliveryList(deliveries=deliveries, next_cursor=cursor)


@ROUTES.add("GET", "/api/deliveries/counts", scope=Scope.READ, query=WhichCounted, answer=Counted)
async def count_deliveries(call: Call[Nothing, WhichCounted]) -> Counted:
    """Count the deliveries of each status."""
    which = DeliveryFilter(kind=call.query.kind, text=call.query.text)
    found = await call.engine.deliveries.count_deliveries(which)
    return Counted(**{str(status): number for status, number in found.numbers.items()}, exact=found.exact)


@ROUTES.add("GET", "/api/deliveries/{id}", scope=Scope.READ, answer=DeliveryAnswer)
async def show_delivery(call: Call[Nothing, Nothing]) -> DeliveryAnswer:
    """Show a delivery and each attempt to send it, by its id or any unique part of it."""
    return await _answer_with_attempts(call, await call.engine.deliveries.get_delivery(call.path["id"]))


@ROUTES.add("POST", "/api/deliveries/{id}/retry", scope=Scope.WRITE, answer=DeliveryAnswer)
async def retry_delivery(call: Call[Nothing, Nothing]) -> DeliveryAnswer:
    """Send a dead or waiting delivery now; it keeps its id and gets all its attempts again."""
    found = await asyncio.shield(call.engine.deliveries.retry_delivery(call.path["id"], call.read_idempotency_key()))
    return await _answer_with_attempts(call, found)


async def _answer_with_attempts(call: Call[Nothing, Nothing], found: Delivery) -> DeliveryAnswer:
    tried = await call.engine.deliveries.list_attempts(found)
    return DeliveryAnswer(delivery=views.render_delivery(found), attempts=[_render_attempt(one) for one in tried])


def _render_attempt(tried: DeliveryAttempt) -> AttemptShown:
    return AttemptShown(
        number=tried.number,
        at=times.format_rfc3339(tried.at),
        seconds=None if tried.took is None else tried.took / 1000,
        error=tried.error,
        http_status=tried.http_status,
    )
