"""Alerts: what is open, what was told, and whether alerts arrive: `GET /api/alerts`, `POST /api/alerts/test`."""

from __future__ import annotations

import asyncio
from typing import Annotated

from msgspec import Meta, Struct

from gateway.api import views
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain import times
from gateway.domain.alert import AlertMessage, AlertMessageStatus, OpenAlert
from gateway.domain.delivery import Delivered
from gateway.domain.token import Scope
from gateway.errors import Conflict, NotFound
from gateway.validation import suggest_name

ROUTES = Routes("alerts")

#: tests that are sent at the same time
MAX_PARALLEL_ALERT_TESTS = 8
#: stands for an error: a command or a webhook may have written its URL or its key there
HIDDEN_ALERT_ERROR = "the last attempt failed; a token with the scope admin sees why"


class WhichAlerts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many messages to show."""

    limit: Annotated[int, Meta(ge=1, le=500)] = 50


class OpenAlertShown(Struct, frozen=True, kw_only=True):
    """A condition that is open."""

    #: what it is about: `schedule_missed`, `schedule_failing`, `budget`, `channel`, `disk`, `backup`, `crash_loop` or
    #: `update`
    kind: str
    #: what it is about: the id of a schedule, the name of a channel, or the like
    subject: str
    #: what is wrong, for people
    text: str
    #: id of the agent that it belongs to; null if it belongs to none
    agent: str | None
    #: since when it is open
    opened_at: str
    #: when it was last told
    told_at: str


class AlertItemShown(Struct, frozen=True, kw_only=True):
    """One thing that a message tells."""

    #: what it is about; `run_failed` and `dead_letter` in addition to the kinds of open conditions
    kind: str
    #: `happened`, `opened`, `continues` or `ended`
    event: str
    #: what it is about: the id of a task, a delivery or a schedule, the name of a channel, or the like
    subject: str
    #: what it says
    text: str


class AlertMessageShown(Struct, frozen=True, kw_only=True):
    """A message to a receiver."""

    #: its id, also the `webhook-id`
    id: str
    #: the receiver's name in the settings
    receiver: str
    #: `collecting`, `pending`, `delivered` or `dead`
    status: str
    #: what it tells: the first of each kind
    alerts: list[AlertItemShown]
    #: how many more it counts
    left_out: int
    #: attempts so far
    attempt: int
    #: why the last one failed; what its receiver said is only for a token with the scope `admin`
    error: str | None
    #: when it began
    created_at: str
    #: when it goes out, or when the next attempt is due; null if it is over
    next_at: str | None
    #: when it was delivered or given up
    finished_at: str | None


class AlertList(Struct, frozen=True, kw_only=True):
    """What is open, and what was told."""

    #: names of the receivers in the settings; empty if nobody is told
    receivers: list[str]
    #: the oldest first
    open: list[OpenAlertShown]
    #: the newest first
    messages: list[AlertMessageShown]


class WantedTest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom to send a test."""

    #: name of a receiver; all when left out
    receiver: str | None = None


class TestResult(Struct, frozen=True, kw_only=True):
    """How a test went."""

    #: name of the receiver
    receiver: str
    #: whether the receiver took it
    ok: bool
    #: why it did not
    error: str | None


class TestResults(Struct, frozen=True, kw_only=True):
    results: list[TestResult]


@ROUTES.add("GET", "/api/alerts", scope=Scope.READ, query=WhichAlerts, answer=AlertList)
async def list_alerts(call: Call[Nothing, WhichAlerts]) -> AlertList:
    """List the conditions that are open, and the last messages to the receivers of alerts."""
    book = call.engine.alert_book
    may_see_why = call.principal.scope.covers(Scope.ADMIN)
    return AlertList(
        receivers=[] if book.tester is None else list(book.tester.receiver_names),
        open=[_render_open(alert) for alert in await book.list_open()],
        messages=[_render_message(message, may_see_why) for message in await book.list_messages(call.query.limit)],
    )


@ROUTES.add("POST", "/api/alerts/test", scope=Scope.ADMIN, body=WantedTest, answer=TestResults)
async def test_receivers(call: Call[WantedTest, Nothing]) -> TestResults:
    """Send a test to one receiver of alerts, or to all, and say how it went. It is tried once."""
    service = call.engine.alert_book.tester
    if service is None:
        raise Conflict("no receiver of alerts is configured.", remedy="Set alerts.receivers, then: gateway restart")
    wanted, known = call.body.receiver, service.receiver_names
    if wanted is not None and wanted not in known:
        raise NotFound(f"there is no receiver of alerts {wanted[:64]!r}{suggest_name(wanted, known)}")
    slots = asyncio.Semaphore(MAX_PARALLEL_ALERT_TESTS)

    async def test_receiver(name: str) -> TestResult:
        async with slots:
            result = await service.send_test(name)
        ok = isinstance(result, Delivered)
        return TestResult(receiver=name, ok=ok, error=None if isinstance(result, Delivered) else result.reason)

    names = known if wanted is None else [wanted]
    return TestResults(results=list(await asyncio.gather(*map(test_receiver, names))))


def _render_open(alert: OpenAlert) -> OpenAlertShown:
    return OpenAlertShown(
        kind=alert.kind,
        subject=alert.subject,
        text=alert.text,
        agent=alert.agent,
        opened_at=times.format_rfc3339(alert.opened),
        told_at=times.format_rfc3339(alert.told),
    )


def _render_message(message: AlertMessage, may_see_why: bool) -> AlertMessageShown:
    is_over = message.status in (AlertMessageStatus.DELIVERED, AlertMessageStatus.DEAD)
    return AlertMessageShown(
        id=message.id,
        receiver=message.receiver,
        status=message.status,
        alerts=[
            AlertItemShown(kind=item.kind, event=item.event, subject=item.subject, text=item.text)
            for item in message.content.items
        ],
        left_out=message.content.left_out,
        attempt=message.attempt,
        error=message.error if message.error is None or may_see_why else HIDDEN_ALERT_ERROR,
        created_at=times.format_rfc3339(message.created),
        next_at=None if is_over else times.format_rfc3339(message.next_at),
        finished_at=views.render_time(message.finished),
    )
