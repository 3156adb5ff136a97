"""Sends the trace of each run that this process has ended, and of each try of a delivery that it has made.

It only listens to commits that happen anyway, and notes ids. The spans are made later, from what is stored. So a run
is never slower for it, and a collector that does not answer costs the memory of some ids.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial

from msgspec import Struct

from gateway import log
from gateway.domain.delivery import DeliveryAttempt
from gateway.domain.ports.store import Commit, Store
from gateway.domain.run import Run
from gateway.domain.trace import TraceCounts
from gateway.engine.resources.agents import Agents
from gateway.engine.resources.timelines import Timelines
from gateway.engine.service_loop import ServiceLoop, log_errors
from gateway.errors import GatewayError
from gateway.tracing.exporter import Exporter, ExportResult
from gateway.tracing.spans import Span, TraceSettings, build_delivery_span, build_run_spans

#: traces that wait to be sent; those beyond are dropped
MAX_WAITING_TRACES = 10_000
#: traces that are made and sent at once, and the most spans of them
MAX_TRACES_PER_EXPORT, MAX_SPANS_PER_EXPORT = 64, 4_096
#: characters in the attributes of one request: collectors refuse requests that are too large
MAX_CHARACTERS_PER_EXPORT = 4_000_000
#: seconds after which a request that is not over is told as a failure; it goes on
SLOW_EXPORT_SECONDS = 120.0
#: seconds between two tries to send the same: it doubles up to the second number
MIN_EXPORT_PAUSE_SECONDS, MAX_EXPORT_PAUSE_SECONDS = 1.0, 60.0
#: tries to send the same; with the pauses, for about half an hour
MAX_EXPORT_TRIES = 30
#: seconds until the queue is looked at if nothing wakes the loop
IDLE_TRACE_SLEEP_SECONDS = 60.0
#: seconds that the last traces get at the end of the process
FLUSH_TIMEOUT_SECONDS = 2.0
#: events of a run whose spans are made on the event loop; those of a longer one would hold it up
MAX_EVENTS_ON_LOOP = 500

_log = log.get()


class _Waiting(Struct, frozen=True):
    """Something to trace."""

    #: the run, or the delivery
    id: str
    #: when the try to deliver began, in milliseconds since 1970 UTC; None if it is a run
    tried_at: int | None = None


class _Batch(Struct):
    """Traces that are sent together."""

    #: those that end in this batch: the spans of a large one are in several
    traces: int
    spans: Sequence[Span]
    tries: int = 0


class Tracer:
    """The service that sends traces."""

    def __init__(
        self, store: Store, timelines: Timelines, agents: Agents, exporter: Exporter, settings: TraceSettings
    ) -> None:
        self._store = store
        self._timelines = timelines
        self._agents = agents
        self._exporter = exporter
        self._settings = settings
        self.counts = TraceCounts()
        self._waiting: deque[_Waiting] = deque()
        #: what was made and is not sent yet, the next first
        self._batches: deque[_Batch] = deque()
        self._is_failing = False
        self._loop = ServiceLoop("tracer", self._send_next, log_errors("tracing.broke"))
        store.subscribe(self._note_commit)

    def start(self) -> None:
        self._loop.start()

    async def close(self) -> None:
        """Send what waits, but not for long, and not to a collector that does not answer; then end."""
        seconds = 0.0 if self._is_failing else FLUSH_TIMEOUT_SECONDS
        until = asyncio.get_running_loop().time() + seconds
        await self._loop.finish_step(seconds)
        await self._loop.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                while (self._waiting or self._batches) and not self._is_failing:
                    await self._send_next()
        if left := len(self._waiting) + sum(batch.traces for batch in self._batches):
            _log.warning("tracing.unsent", traces=left)

    def _note_commit(self, commit: Commit) -> None:
        for run in commit.ended:
            self._note(_Waiting(run.id))

    def note_attempt(self, delivery_id: str, tried: DeliveryAttempt) -> None:
        """Trace an attempt to send a delivery, which this process has made and is on disk."""
        self._note(_Waiting(delivery_id, tried.at))

    def _note(self, one: _Waiting) -> None:
        if len(self._waiting) >= MAX_WAITING_TRACES:
            self.counts.dropped += 1
            return
        self._waiting.append(one)
        self._loop.wake()

    async def _send_next(self) -> float:
        """Send a batch. Returns the seconds until the next one."""
        if not self._batches:
            self._batches.extend(await self._make_batches())
        if not self._batches:
            return 0.0 if self._waiting else IDLE_TRACE_SLEEP_SECONDS
        batch = self._batches[0]
        result = await self._export_batch(batch)
        batch.tries += 1
        self._note_result(result)
        if result.is_sent:
            self.counts.sent += batch.traces
        elif result.is_refused or batch.tries >= MAX_EXPORT_TRIES:
            self.counts.failed += batch.traces
        else:
            return min(MIN_EXPORT_PAUSE_SECONDS * float(1 << (batch.tries - 1)), MAX_EXPORT_PAUSE_SECONDS)
        self._batches.popleft()
        return 0.0 if self._waiting or self._batches else IDLE_TRACE_SLEEP_SECONDS

    async def _export_batch(self, batch: _Batch) -> ExportResult:
        """Send a batch once. A collector that answers without end is told in the log while it does."""
        exporting = asyncio.ensure_future(self._exporter.export_spans(batch.spans))
        try:
            await asyncio.wait({exporting}, timeout=SLOW_EXPORT_SECONDS)
            if not exporting.done():
                self._note_result(ExportResult(is_sent=False, error="the collector does not finish its answer"))
            return await exporting
        finally:
            exporting.cancel()

    def _note_result(self, result: ExportResult) -> None:
        """Log that the collector does not take traces any more, or does again."""
        if result.is_sent == (not self._is_failing):
            return
        self._is_failing = not result.is_sent
        if self._is_failing:
            _log.warning("tracing.cannot_send", error=result.error, is_refused=result.is_refused)
        else:
            _log.info("tracing.sends_again")

    async def _make_batches(self) -> list[_Batch]:
        """Return what is sent next: one request, or several if a trace has very much."""
        spans: list[Span] = []
        traces = characters = 0
        while (
            self._waiting
            and traces < MAX_TRACES_PER_EXPORT
            and len(spans) < MAX_SPANS_PER_EXPORT
            and characters < MAX_CHARACTERS_PER_EXPORT
        ):
            one = self._waiting.popleft()
            with contextlib.suppress(GatewayError):  # it was deleted meanwhile, or cannot be read
                if one.tried_at is None:
                    made = await self._make_run_spans(one.id)
                else:
                    made = await self._make_delivery_spans(one.id, one.tried_at)
                spans += made
                traces += bool(made)
                characters += sum(map(_count_characters, made))
        pieces = list(_split_spans(spans))
        return [_Batch(traces if piece is pieces[-1] else 0, piece) for piece in pieces]

    async def _make_run_spans(self, run_id: str) -> list[Span]:
        found = await self._timelines.read_log(run_id)
        run = found.run
        build = partial(
            build_run_spans,
            run,
            found.events,
            self._agents.find_by_id(run.spec.agent),
            self._agents.display_name(run.spec.agent),
            self._settings,
            is_whole=found.is_whole,
            linked=await self._read_linked(run),
        )
        return await asyncio.to_thread(build) if len(found.events) > MAX_EVENTS_ON_LOOP else build()

    async def _read_linked(self, run: Run) -> dict[str, Run]:
        """Return the run that this one retries, and the one whose agent submitted it."""
        linked = {}
        for what, run_id in (("retry_of", run.spec.retry_of), ("parent", run.spec.parent)):
            if run_id is not None:
                with contextlib.suppress(GatewayError):
                    linked[what] = await self._store.runs.get(run_id)
        return linked

    async def _make_delivery_spans(self, delivery_id: str, tried_at: int) -> list[Span]:
        """Return the span of a try, and of those right before it that died with their process."""
        tries = _cut_tries(await self._store.deliveries.list_attempts(delivery_id), tried_at)
        sent = await self._store.deliveries.get(delivery_id)
        run = await self._store.runs.get(sent.run)
        made = [build_delivery_span(run, sent, one, self._settings) for one in tries]
        return [one for one in made if one is not None]


def _split_spans(spans: Sequence[Span]) -> Iterator[Sequence[Span]]:
    """Yield spans in pieces, each small enough for one request."""
    piece: list[Span] = []
    characters = 0
    for span in spans:
        count = _count_characters(span)
        if piece and characters + count > MAX_CHARACTERS_PER_EXPORT:
            yield piece
            piece, characters = [], 0
        piece.append(span)
        characters += count
    if piece:
        yield piece


def _count_characters(span: Span) -> int:
    return len(span.error) + sum(len(value) for value in span.attributes.values() if isinstance(value, str))


def _cut_tries(tries: Sequence[DeliveryAttempt], tried_at: int) -> Sequence[DeliveryAttempt]:
    """Return the try that began at a time, after those right before it that were interrupted; none if it is gone."""
    last = next((place for place, one in enumerate(tries) if one.at == tried_at), None)
    if last is None:
        return []
    first = last
    while first > 0 and tries[first - 1].took is None:
        first -= 1
    return tries[first : last + 1]
