"""What the engine asks of a store to remember about the gateway itself: samples and generations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.domain.generation import GenerationRecord
from gateway.domain.sample import Sample, StoreMeasure


class SampleStore(Protocol):
    """Samples of how the gateway is doing."""

    async def measure(self) -> StoreMeasure:
        """Return what the next sample has of the store."""
        ...

    async def add(self, sample: Sample) -> None:
        """Store a sample. It replaces one of the same moment."""
        ...

    async def list(self, since: int, until: int, step: int) -> Sequence[Sample]:
        """Return samples from `since` to before `until`, oldest first; those of one step are one.

        It has the mean of their values, and the highest lag of the event loop. A step without samples is left out.

        Args:
            step: milliseconds. Steps begin at its multiples.
        """
        ...


class GenerationStore(Protocol):
    """Serving processes that led."""

    async def add(self, record: GenerationRecord) -> None:
        """Store that a process leads; do nothing if that is known."""
        ...

    async def close(self, owner: str, generation: int, reason: str) -> None:
        """Store that a process ends now, and why; do nothing if it has ended, or never led."""
        ...

    async def list_open(self) -> Sequence[GenerationRecord]:
        """Return those that have not ended, oldest first."""
        ...

    async def list(self, limit: int) -> Sequence[GenerationRecord]:
        """Return the last ones, newest first."""
        ...
