"""The rows, their results, and the report."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import apsw

from bench.measure import Sample
from gateway.store.sqlite.opening import find_file_system

#: packages that the numbers depend on
PACKAGES = ("aiohttp", "apsw", "click", "msgspec", "structlog")

_HEAD = ("what", "value", "spread", "reach", "kept", "before")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number in a row's result."""

    name: str
    sample: Sample
    unit: str
    #: the goal: the largest good value, or the smallest if not `at_most`; None means information only
    reach: float | None = None
    at_most: bool = True

    @property
    def kept(self) -> str:
        if self.reach is None:
            return ""
        value = self.sample.median
        return "yes" if (value <= self.reach if self.at_most else value >= self.reach) else "NO"

    def cells(self, before: Mapping[str, str]) -> list[str]:
        sample, aim = self.sample, ""
        if self.reach is not None:
            aim = f"{'<=' if self.at_most else '>='} {_shown(self.reach, self.unit)}"
        spread = f"{_shown(sample.low, self.unit)} to {_shown(sample.high, self.unit)}"
        value = _shown(sample.median, self.unit)
        return [self.name, value, spread, aim, self.kept, self._compared(before.get(self.name, ""))]

    def _compared(self, before: str) -> str:
        """Return the earlier value, with a mark if the new one is worse by more than its spread."""
        number = re.match(r"[\d.,]+", before)
        if self.reach is None or number is None:
            return before
        earlier = float(number[0].replace(",", ""))
        fell = self.sample.low > earlier if self.at_most else self.sample.high < earlier
        return f"{before}, fell" if fell else before


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of one run of a row."""

    figures: list[Figure] = field(default_factory=list)
    #: absolute numbers, shares, and other information that helps to judge the figures
    notes: list[str] = field(default_factory=list)
    #: why nothing could be measured
    skipped: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement; a row module's attribute `ROW`."""

    title: str
    #: the setup and the comparison, for the report
    setup: str
    #: measures; with True, only enough to run every line
    run: Callable[[bool], Result]


def table(found: Iterable[tuple[Row, Result]], before: Mapping[str, str]) -> str:
    """Return the figures as a Markdown table."""
    rows = [_HEAD, tuple("---" for _ in _HEAD)]
    for row, result in found:
        rows += [tuple(figure.cells(before)) for figure in result.figures]
        if result.skipped:
            rows.append((row.title, "skipped", result.skipped, "", "", ""))
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(_HEAD))]
    lines = (" | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) for cells in rows)
    return "\n".join(f"| {line} |" for line in lines)


def document(found: list[tuple[Row, Result]], before: Mapping[str, str], place: Path) -> str:
    """Return the content of `RESULTS.md`.

    Args:
        place: a directory on the disk that the benchmarks wrote to.
    """
    parts = [
        "# Results",
        "Written by `scripts/bench`. Ratios are medians over slices that alternate between the two sides in one run;"
        " the spread is the middle half of the slices. CPU is user and system time of all threads of the server."
        ' "fell" marks a number that is worse than the one before by more than its spread.',
        *machine(place),
        table(found, before),
    ]
    for row, result in found:
        parts += [f"## {row.title}", row.setup, "\n".join(f"- {note}" for note in result.notes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def machine(place: Path) -> list[str]:
    """Return lines that describe the machine and the versions."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    return [
        f"{datetime.now(UTC):%Y-%m-%d}. {_processor()}, {os.cpu_count()} cores, {platform.system()}"
        f" {platform.release()}, {find_file_system(place) or 'unknown'} disk.",
        f"Python {platform.python_version()}, SQLite {apsw.sqlite_lib_version()}, {versions}.",
    ]


def earlier(text: str) -> dict[str, str]:
    """Return `{figure: value}` of an earlier `RESULTS.md`."""
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines() if line[:1] == "|"]
    return {cells[0]: cells[1] for cells in rows[2:] if len(cells) > 2 and cells[1] != "skipped"}


def _shown(value: float, unit: str) -> str:
    if unit == "x":
        return f"{value:.2f}x"
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def _processor() -> str:
    with open("/proc/cpuinfo") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.machine()
