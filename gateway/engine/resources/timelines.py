"""Reads what the timeline of a run is made of."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from gateway.domain.delivery import DeliveryFilter
from gateway.domain.event import Event
from gateway.domain.page import Page
from gateway.domain.ports.store import Store
from gateway.domain.run import Run
from gateway.domain.timeline import Timeline, build_timeline
from gateway.domain.times import Clock

#: events of a run that are read, in steps of so many events or bytes, and the most steps
MAX_TIMELINE_EVENTS, EVENTS_PER_READ, EVENT_BYTES_PER_READ, MAX_EVENT_READS = 20_000, 2_000, 1 << 20, 20
#: deliveries of a run that are shown
MAX_SHOWN_DELIVERIES = 50


class RunTimeline(Struct, frozen=True):
    """A run and its timeline."""

    run: Run
    timeline: Timeline


class RunLog(Struct, frozen=True):
    """A run and its events: all, or the beginning of a very long log."""

    run: Run
    events: Sequence[Event]
    is_whole: bool


class Timelines:
    """The timelines of runs."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def with_store(self, store: Store) -> Timelines:
        """Return the same on top of another store."""
        return Timelines(store, self._clock)

    async def read_timeline(self, run_id: str) -> RunTimeline:
        """Return a run and its timeline; of a very long log, that of the beginning.

        Raises:
            RunNotFound: there is no such run.
        """
        log = await self.read_log(run_id)
        run = log.run
        which, page = DeliveryFilter(run=run.id), Page(limit=MAX_SHOWN_DELIVERIES)
        sent = await self._store.deliveries.list(which, page) if run.spec.deliver and run.status.is_final else ()
        deliveries = [(one, await self._store.deliveries.list_attempts(one.id)) for one in sent]
        return RunTimeline(run, build_timeline(run, log.events, deliveries, self._clock(), is_complete=log.is_whole))

    async def read_log(self, run_id: str) -> RunLog:
        """Return a run and its events; of a very long log, its beginning.

        Raises:
            RunNotFound: there is no such run.
        """
        run = await self._store.runs.get(run_id)
        events = await self._read_events(run)
        return RunLog(run, events, bool(events) and events[-1].number >= run.last_event)

    async def _read_events(self, run: Run) -> list[Event]:
        found: list[Event] = []
        for _ in range(MAX_EVENT_READS):
            after = found[-1].number if found else 0
            most = min(EVENTS_PER_READ, MAX_TIMELINE_EVENTS - len(found))
            some = await self._store.events.read_after(run.id, after, most, EVENT_BYTES_PER_READ)
            found += some
            if not some or some[-1].number >= run.last_event or len(found) >= MAX_TIMELINE_EVENTS:
                break
        return found
