"""Takes a sample once a minute: how many runs there are, how quick the disk is, what the process needs."""

from __future__ import annotations

import time
from collections.abc import Callable

from gateway.domain.ports.store import Store
from gateway.domain.sample import SAMPLE_INTERVAL_MILLISECONDS, Sample
from gateway.domain.times import Clock
from gateway.engine.service_loop import ServiceLoop, log_errors

#: seconds between two samples
SAMPLE_INTERVAL_SECONDS = SAMPLE_INTERVAL_MILLISECONDS / 1000


class Sampler:
    """The service that stores samples while this process leads. A minute in which the disk refuses has none."""

    def __init__(self, store: Store, take_loop_lag: Callable[[], float], clock: Clock) -> None:
        """Args:
        take_loop_lag: returns the most seconds that the event loop was late since the last call.
        """
        self._store = store
        self._take_loop_lag = take_loop_lag
        self._clock = clock
        self._processor = ProcessorMeter()
        self._loop = ServiceLoop(
            "sampler", self.take_sample, log_errors("sample.missed"), retry_seconds=SAMPLE_INTERVAL_SECONDS
        )

    def start(self) -> None:
        """Take the first sample after a minute: a gateway that starts has enough to do."""
        self._loop.start(delay=SAMPLE_INTERVAL_SECONDS)

    async def stop(self) -> None:
        """End the loop. Stopping twice is fine."""
        await self._loop.stop()

    async def take_sample(self) -> float:
        """Store how things are now. Returns the seconds until the next time."""
        accept_seconds = await self._time_write()
        found = await self._store.samples.measure()
        await self._store.samples.add(
            Sample(
                at=self._clock(),
                running=found.running,
                queued=found.queued,
                ended=found.ended,
                failed=found.failed,
                accept_ms=accept_seconds * 1000,
                memory_bytes=read_own_memory(),
                cpu_percent=self._processor.take_percent(),
                loop_lag_ms=self._take_loop_lag() * 1000,
                database_bytes=found.database_bytes,
            )
        )
        return SAMPLE_INTERVAL_SECONDS

    async def _time_write(self) -> float:
        """Return the seconds that a small write takes. It goes the way that a run goes which is accepted."""
        began = time.perf_counter()
        await self._store.check_writable()
        return time.perf_counter() - began


class ProcessorMeter:
    """Tells how busy this process was since it was asked before."""

    def __init__(self) -> None:
        self._used, self._at = time.process_time(), time.monotonic()

    def take_percent(self) -> float:
        """Return the share of one core that this process has used since the last call, in percent."""
        used, now = time.process_time(), time.monotonic()
        percent = 100 * (used - self._used) / max(now - self._at, 0.001)
        self._used, self._at = used, now
        return percent


def read_own_memory() -> int:
    """Return the bytes of memory that this process has in use."""
    import psutil  # late: opening a database has loaded it already

    return int(psutil.Process().memory_info().rss)
