"""A delivery was given up: nobody got the result of a run."""

from __future__ import annotations

from gateway.domain.alert import MAX_LISTED_ALERTS, AlertKind
from gateway.domain.delivery import DeliveryStatus
from gateway.domain.event import Change
from gateway.engine.alerts.condition import AlertSources, Happening, Look, Situation
from gateway.errors import GatewayError


class DeadLetter:
    kind = AlertKind.DEAD_LETTER
    interval_seconds = None
    needs_news = True

    def __init__(self, sources: AlertSources) -> None:
        self._store = sources.store

    async def look(self, situation: Situation) -> Look:
        given_up = [
            change
            for change in situation.news.changes
            if change.topic == "delivery" and change.state == DeliveryStatus.DEAD
        ]
        # More are only counted: what they are need not be read.
        listed = [await self._describe_delivery(change) for change in given_up[:MAX_LISTED_ALERTS]]
        counted = [_name_delivery(change, "it was given up") for change in given_up[MAX_LISTED_ALERTS:]]
        return Look(happened=listed + counted)

    async def _describe_delivery(self, change: Change) -> Happening:
        try:
            found = await self._store.deliveries.get(change.ref)
        except GatewayError:  # it was deleted since, or cannot be read
            return _name_delivery(change, "it was given up")
        return _name_delivery(change, f"to {found.target.receiver}: {found.error or 'it was given up'}")


def _name_delivery(change: Change, why: str) -> Happening:
    return Happening(subject=change.ref, text=f"delivery {change.ref} {why}", at=change.at, agent=change.agent)


CONDITION = DeadLetter
