"""An alert service over a staged engine, whose receivers remember, and whose rounds a test makes one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.domain.alert import AlertKind, AlertMessage, OpenAlert
from gateway.domain.delivery import Delivered, SendResult
from gateway.domain.ports.store import Store
from gateway.engine.alerts.condition import AlertLimits, AlertSources
from gateway.engine.alerts.opening import create_conditions
from gateway.engine.alerts.planning import AlertReceiver, TellingRules
from gateway.engine.alerts.service import AlertService
from tests.engine.stage import Stage

EVERYTHING = frozenset(map(str, AlertKind))


class Recorder:
    """A receiver that remembers, and answers as it is told to."""

    def __init__(self) -> None:
        self.sent: list[AlertMessage] = []
        self.results: list[SendResult | Exception] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def send_alert(self, message: AlertMessage) -> SendResult:
        self.sent.append(message)
        await self.gate.wait()
        result = self.results.pop(0) if self.results else Delivered()
        if isinstance(result, Exception):
            raise result
        return result

    @property
    def told(self) -> list[tuple[str, str]]:
        """The kinds and events of all items, in order."""
        return [(item.kind, item.event) for message in self.sent for item in message.content.items]

    @property
    def texts(self) -> list[str]:
        return [item.text for message in self.sent for item in message.content.items]


def make_sources(stage: Stage, clock: Callable[[], int], store: Store | None = None, **limits: Any) -> AlertSources:
    return AlertSources(
        store=store or stage.store,
        agents=stage.engine.agents,
        usage=stage.engine.usage,
        channels=stage.engine.channels,
        find_session=stage.engine.schedules.find_session,
        home=stage.directory,
        data_directory=stage.directory,
        limits=AlertLimits(**{"disk_free_mb": 1, **limits}),
        clock=clock,
    )


class Watch:
    """One service with one receiver, `me` if it has no other name. Nothing is grouped."""

    def __init__(
        self,
        stage: Stage,
        clock: Callable[[], int],
        *,
        store: Store | None = None,
        kinds: frozenset[str] = EVERYTHING,
        recorder: Recorder | None = None,
        per_hour: int = 1000,
        name: str = "me",
        address_mark: str = "",
        **limits: Any,
    ) -> None:
        self.recorder = recorder or Recorder()
        sources = make_sources(stage, clock, store, **limits)
        self.service = AlertService(
            store or stage.store,
            create_conditions(sources, kinds),
            [AlertReceiver(name=name, kinds=kinds, per_hour=per_hour, address_mark=address_mark)],
            {name: self.recorder},
            TellingRules(group=0, repeat=None),
            clock,
            retry_delays=[0.0, 1.0, 1.0],
        )

    async def look(self) -> None:
        """Make one round, and wait until what it sends is sent."""
        self.service._round_at = 0.0
        await self.service._run_round()
        await self.service._sending.wait_sent()

    @property
    def told(self) -> list[tuple[str, str]]:
        return self.recorder.told


async def open_alerts(stage: Stage) -> list[OpenAlert]:
    return list(await stage.store.alerts.list_open())


def write_status(directory: Path, name: str, text: str) -> None:
    (directory / name).write_text(text)
