"""Deliveries: webhooks and messages that are sent when tasks end, and dead letters."""

from __future__ import annotations

import asyncio
from typing import Annotated

from msgspec import Meta, Struct

from gateway.api import paging, views
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain.delivery import DeliveryFilter, DeliveryStatus
from gateway.domain.token import Scope

ROUTES = Routes("deliveries")


class DeliveryAnswer(Struct, frozen=True, kw_only=True):
    status: str = "ok"
    delivery: views.DeliveryShown


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


@ROUTES.add("GET", "/api/deliveries", scope=Scope.READ, query=WhichDeliveries, answer=DeliveryList)
async def list_deliveries(call: Call[Nothing, WhichDeliveries]) -> DeliveryList:
    """List deliveries, newest first; those with the status `dead` are dead letters."""
    asked = call.query
    run = None if asked.task is None else (await call.engine.get_run(asked.task)).id
    found = await call.engine.deliveries.list_deliveries(
        DeliveryFilter(status=asked.status, run=run), paging.page_to_fetch(asked)
    )
    deliveries, cursor = paging.render_page(asked, found, lambda delivery: delivery.seq, views.render_delivery)
    return DeliveryList(deliveries=deliveries, next_cursor=cursor)


@ROUTES.add("GET", "/api/deliveries/{id}", scope=Scope.READ, answer=DeliveryAnswer)
async def show_delivery(call: Call[Nothing, Nothing]) -> DeliveryAnswer:
    """Show a delivery, by its id or any unique part of it."""
    return DeliveryAnswer(delivery=views.render_delivery(await call.engine.deliveries.get_delivery(call.path["id"])))


@ROUTES.add("POST", "/api/deliveries/{id}/retry", scope=Scope.WRITE, answer=DeliveryAnswer)
async def retry_delivery(call: Call[Nothing, Nothing]) -> DeliveryAnswer:
    """Send a dead or waiting delivery now; it keeps its id and gets all its attempts again."""
    found = await asyncio.shield(call.engine.deliveries.retry_delivery(call.path["id"], call.read_idempotency_key()))
    return DeliveryAnswer(delivery=views.render_delivery(found))
