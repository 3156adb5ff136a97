"""Prints for people and programs: results on stdout, notes on stderr, colour and emoji only on a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TextIO

import click

from cli.command import current

#: control characters that could take over a terminal, and their replacement; tab and line feed stay
_CONTROLS = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)), "\N{REPLACEMENT CHARACTER}")


def fancy(stream: TextIO) -> bool:
    """Return whether to use colour and emoji on a stream: on a terminal, unless `NO_COLOR` is set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def marked(mark: str, text: str) -> str:
    """Return a line of the result, with an emoji if stdout may have them."""
    return f"{mark} {text}" if fancy(sys.stdout) else text


def dim(text: str) -> str:
    """Return a note in dim style, if stderr may have colour."""
    return click.style(text, dim=True) if fancy(sys.stderr) else text


def safe(text: str, stream: TextIO) -> str:
    """Return text for a stream; on a terminal, without control characters that could take it over."""
    return text.translate(_CONTROLS) if stream.isatty() else text


def show(text: str) -> None:
    """Print a result as text."""
    click.echo(safe(text, sys.stdout), color=True)  # in a pipe unchanged, with all escapes


def talk(text: str) -> None:
    """Print a note on stderr: something that is not the result."""
    click.echo(dim(safe(text, sys.stderr)), err=True)


def emit(value: Any) -> None:
    """Print a result as JSON: one line, or several on a terminal."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))


def line(value: Any) -> None:
    """Print one of many results as one line of JSON."""
    click.echo(json.dumps(value, ensure_ascii=False))


def result(value: Any, text: str, *, as_line: bool = False) -> None:
    """Print a result: as JSON with `--json`, else as text."""
    if not current().json:
        show(text)
    else:
        (line if as_line else emit)(value)


def listing(headers: Sequence[str], rows: Sequence[Sequence[object]], more: object = None) -> None:
    """Print the rows of a list. Say on stderr if there are none, or if there are more."""
    if rows:
        table(headers, rows)
    else:
        talk("None.")
    if more is not None:
        talk("There are more. To see them, use --limit.")


def duration(seconds: float) -> str:
    """Return a duration as people read it: `0.4s`, `3m 12s`, `3d 4h`."""
    if 0 < seconds < 10 and seconds % 1:
        return f"{seconds:.1f}s"
    whole = max(0, int(seconds))
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "m"), (whole % 60, "s")]
    first = next((at for at, (count, _) in enumerate(parts) if count), 3)
    return " ".join(f"{count}{unit}" for count, unit in parts[first : first + 2] if count or first == 3)


def moment(text: str | None) -> str:
    """Return an RFC 3339 time as local time with its zone; `-` for none."""
    if text is None:
        return "-"
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def rfc3339(milliseconds: int) -> str:
    """Return a time in milliseconds since 1970 UTC, in the form of the HTTP API."""
    text = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def home(path: Path) -> str:
    """Return a path with `~` for the home directory."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except ValueError:
        return str(path)


def between(start: str | None, end: str | None) -> str:
    """Return how long something took, or has taken so far; `-` if it has not started."""
    if start is None:
        return "-"
    begun = datetime.fromisoformat(start)
    ended = datetime.fromisoformat(end) if end is not None else datetime.now(begun.tzinfo)
    return duration((ended - begun).total_seconds())


def first_line(text: str, width: int = 60) -> str:
    """Return the beginning of a text on one line of at most `width` characters."""
    joined = " ".join(text.split())
    return joined if len(joined) <= width else joined[: width - 1] + "…"


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows in columns."""
    cells = [[str(cell) for cell in row] for row in rows]
    if fancy(sys.stdout):
        _rich_table(headers, cells)
    else:
        _aligned([[header.upper() for header in headers], *cells])


def fields(pairs: Sequence[tuple[str, object]]) -> None:
    """Print names and values, one pair a line."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        shown = str(value).replace("\n", "\n" + " " * (width + 3))
        show(f"{name:<{width}}   {shown}".rstrip())


def _aligned(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        show("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _rich_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for header in headers:
        made.add_column(header, overflow="fold")
    for row in rows:
        made.add_row(*(Text(safe(cell, sys.stdout)) for cell in row))
    Console().print(made)


class Waiting(Protocol):
    """Shows on a terminal what the command waits for."""

    def say(self, what: str) -> None:
        """Show that the command now waits for something else."""

    def note(self, text: str) -> None:
        """Print a note above it."""

    def pause(self) -> None:
        """Hide it, so that the user can type."""

    def resume(self) -> None:
        """Show it again, unless it was stopped."""

    def stop(self) -> None:
        """Hide it for good."""


class _Silent:
    """Used without a terminal: shows only notes."""

    def say(self, what: str) -> None: ...

    def note(self, text: str) -> None:
        talk(text)

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def stop(self) -> None: ...


@contextlib.contextmanager
def waiting(what: str) -> Iterator[Waiting]:
    """Show on a terminal what the command waits for, and how long it has waited."""
    if not fancy(sys.stderr):
        yield _Silent()
        return
    from cli.spinner import Spinner  # late: imports rich

    with Spinner(what) as spinner:
        yield spinner
