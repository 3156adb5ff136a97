"""A newer version is available; it ends when it is installed."""

from __future__ import annotations

import asyncio

import gateway
from gateway.domain.alert import AlertKind
from gateway.engine.alerts import status_files
from gateway.engine.alerts.condition import AlertSources, Finding, Look, Situation


class UpdateAvailable:
    kind = AlertKind.UPDATE
    interval_seconds = 60.0

    def __init__(self, sources: AlertSources) -> None:
        self._home = sources.home

    async def look(self, situation: Situation) -> Look:
        latest = await asyncio.to_thread(status_files.read_latest_version, self._home)
        if latest is None:
            return Look()
        newer = parse_version(latest) > parse_version(gateway.__version__)
        text = f"version {latest} is available, this is {gateway.__version__}: gateway update"
        ended = {
            subject: f"version {gateway.__version__} is installed"
            for subject in situation.open
            if not newer or subject != latest
        }
        return Look(open=[Finding(subject=latest, text=text)] if newer else [], ended=ended)


def parse_version(text: str) -> tuple[int, ...]:
    """Return the numbers of a version, for comparing; what follows them, such as `rc1`, does not count."""
    numbers = []
    for part in text.removeprefix("v").split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits[:9]))
    return tuple(numbers)


CONDITION = UpdateAvailable
