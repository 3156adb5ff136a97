"""A newer version is available; it ends when it is installed."""

from __future__ import annotations

import asyncio

import gateway
from gateway.domain.alert import AlertKind
from gateway.engine.alerts.condition import AlertSources, Finding, Look, Situation
from gateway.updates.status import read_update_status
from gateway.updates.versions import is_newer


class UpdateAvailable:
    kind = AlertKind.UPDATE
    interval_seconds = 60.0
    needs_news = False

    def __init__(self, sources: AlertSources) -> None:
        self._home = sources.home

    async def look(self, situation: Situation) -> Look:
        found = await asyncio.to_thread(read_update_status, self._home)
        if found is None or found.latest is None:
            return Look()
        latest = found.latest
        newer = is_newer(latest, gateway.__version__)
        text = f"version {latest} is available, this is {gateway.__version__}: gateway update"
        ended = {
            subject: f"there is a newer version than {subject} now"
            if newer
            else f"version {gateway.__version__} is installed"
            for subject in situation.open
            if not newer or subject != latest
        }
        return Look(open=[Finding(subject=latest, text=text)] if newer else [], ended=ended)


CONDITION = UpdateAvailable
