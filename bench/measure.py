"""Numbers from a noisy machine: samples, and pairs of slices that alternate between two sides."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

T = TypeVar("T")

#: largest width of the middle half of the ratios, as a part of their median; above it, more slices are taken
STEADY = 0.08
#: largest multiple of the planned slices
PATIENCE = 2

_TICKS = os.sysconf("SC_CLK_TCK")


class Sample(NamedTuple):
    """The median of some numbers, and the middle half of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, numbers: Iterable[float]) -> Sample:
        values = sorted(numbers)
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)

    @classmethod
    def exactly(cls, number: float) -> Sample:
        return cls(number, number, number)

    @property
    def steady(self) -> bool:
        return self.high - self.low <= STEADY * self.median


def pairs(ours: Callable[[], T], theirs: Callable[[], T], count: int, ratio: Callable[[T, T], float]) -> list[T]:
    """Take slices of both sides in turn; take more than `count` pairs while the ratio is not steady.

    Returns:
        The slices of our side and of theirs, alternating.
    """
    slices: list[T] = []
    ratios: list[float] = []
    while len(ratios) < count or (len(ratios) < PATIENCE * count and not Sample.of(ratios).steady):
        # The side that goes first changes with each pair, so a machine that gets slower favours neither.
        if len(ratios) % 2:
            second, first = theirs(), ours()
        else:
            first, second = ours(), theirs()
        slices += [first, second]
        ratios.append(ratio(first, second))
    return slices


def halves(slices: list[T]) -> Iterator[tuple[T, T]]:
    """Yield the pairs of slices, ours first."""
    return zip(slices[::2], slices[1::2], strict=True)


def percentile(numbers: Iterable[float], part: float) -> float:
    values = sorted(numbers)
    return values[min(int(len(values) * part), len(values) - 1)]


def cpu(pid: int) -> float:
    """Return the CPU seconds (user and system, all threads) of a process and its descendants: see proc(5).
    The gateway serves in a child of its supervisor.
    """
    stat = Path(f"/proc/{pid}/stat").read_bytes()
    fields = stat[stat.rindex(b")") + 2 :].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS + sum(cpu(child) for child in _children(pid))


def memory(pid: int) -> float:
    """Return the MiB of a process and its descendants; shared pages count in parts (PSS)."""
    own = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            own = int(line.split()[1])
    return own / 1024 + sum(memory(child) for child in _children(pid))


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
