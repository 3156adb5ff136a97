"""Prints for people and programs: results on stdout, notes on stderr, colour and emoji only on a terminal.

Everything that a command prints goes through this module, because it makes text from outside safe to show:
`tests/cli/test_output.py` checks that no other module prints. A result in a pipe is data, and stays as it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TextIO

import click

from cli.command import current_invocation
from gateway import paths
from gateway.security.unsafe_text import escape_unsafe, protect_terminal, replace_unsafe

#: columns of text, which may be folded on a terminal; ids, dates and addresses stay whole, so that they can be copied
FOLDED_HEADERS = frozenset({"input", "prompt", "error", "action", "reason", "detail", "title", "value"})
#: least characters of a folded column
MIN_FOLDED_WIDTH = 16
#: blanks between two columns
_COLUMN_GAP = 2


def wants_decoration(stream: TextIO) -> bool:
    """Return whether to use colour and emoji on a stream: on a terminal, unless `NO_COLOR` is set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def add_mark(mark: str, text: str) -> str:
    """Return a line of the result, with an emoji if stdout may have them."""
    return f"{mark} {text}" if wants_decoration(sys.stdout) else text


def dim_text(text: str) -> str:
    """Return a note in dim style, if stderr may have colour."""
    return click.style(text, dim=True) if wants_decoration(sys.stderr) else text


def print_text(text: str, *, end: str = "\n") -> None:
    """Print a result, or a part of it, as text."""
    click.echo(protect_terminal(text, sys.stdout) + end, nl=False, color=True)  # in a pipe unchanged, with all escapes


def print_light_on_dark(lines: Sequence[str]) -> None:
    """Print the lines of a picture in white on black, if stdout may have colour."""
    for line in lines:
        styled = click.style(line, fg="bright_white", bg="black") if wants_decoration(sys.stdout) else line
        click.echo(styled, color=True)


def print_bytes(data: bytes) -> None:
    """Print a piece of a file as it is; not for terminals."""
    sys.stdout.buffer.write(data)


def print_note(text: str, *, end: str = "\n") -> None:
    """Print a note, or a part of it, on stderr: something that is not the result."""
    click.echo(dim_text(replace_unsafe(text)) + end, nl=False, err=True)


def print_thread_note(text: str) -> None:
    """Print a note from a thread that may outlive the command: it must not hold the lock of `sys.stderr` then."""
    if sys.stderr is not None:  # the command was started without one
        with contextlib.suppress(OSError):  # nobody reads it any more
            os.write(sys.stderr.fileno(), f"{replace_unsafe(text)}\n".encode("utf-8", "backslashreplace"))


def join_sentences(parts: Sequence[str]) -> str:
    """Return the sentences and commands of a message on one line, so that none runs into the next one."""
    said = ""
    for part in parts:
        if said and said[-1] not in ".!?:;,…":
            said += "; "
            part = part[:1].lower() + part[1:] if part[1:2].islower() else part
        elif said:
            said += " "
        said += part
    return said


def end_sentence(text: str) -> str:
    """Return a text with a full stop, unless it ends with a mark of its own."""
    return text if not text or text.rstrip()[-1:] in ".!?:;,…" else f"{text.rstrip()}."


def print_error(text: str) -> None:
    """Print on stderr what went wrong."""
    click.echo(replace_unsafe(text), err=True)


def ask_question(text: str) -> None:
    """Print a question on stderr; the user types the answer on the same line."""
    click.echo(replace_unsafe(text), err=True, nl=False)


def print_refused_webhooks(refused: Sequence[str]) -> None:
    """Warn on stderr of webhooks that the settings refuse."""
    for one in refused:
        print_note(f"Refused by these settings: {one}.")
    if refused:
        print_note("To allow them, add their hosts or networks to webhooks.allow_private.")


def print_json(value: Any) -> None:
    """Print a result as JSON: one line, or several on a terminal."""
    _print_document(value, 2 if sys.stdout.isatty() else None)


def print_json_line(value: Any) -> None:
    """Print one of many results as one line of JSON."""
    _print_document(value, None)


def _print_document(value: Any, indent: int | None) -> None:
    click.echo(escape_unsafe(json.dumps(value, ensure_ascii=False, indent=indent)))


def print_result(value: Any, text: str, *, as_line: bool = False) -> None:
    """Print a result: as JSON with `--json`, else as text."""
    if not current_invocation().json:
        print_text(text)
    else:
        (print_json_line if as_line else print_json)(value)


def print_list(headers: Sequence[str], rows: Sequence[Sequence[object]], more: object = None) -> None:
    """Print the rows of a list. Say on stderr if there are none, or if there are more."""
    if rows:
        print_table(headers, rows)
    else:
        print_note("None.")
    if more is not None:
        print_note("There are more. To see them, use --limit.")


def format_duration(seconds: float) -> str:
    """Return a duration as people read it: `0.4s`, `3m 12s`, `3d 4h`."""
    if 0 < seconds < 10 and seconds % 1:
        return f"{seconds:.1f}s"
    whole = max(0, int(seconds))
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "m"), (whole % 60, "s")]
    first = next((at for at, (count, _) in enumerate(parts) if count), 3)
    return " ".join(f"{count}{unit}" for count, unit in parts[first : first + 2] if count or first == 3)


def format_time(text: str | None) -> str:
    """Return an RFC 3339 time as local time with its zone; `-` for none."""
    if text is None:
        return "-"
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def format_cost(cost: float, *, unknown: bool = False) -> str:
    """Return a cost in US dollars as people read it; an unknown one is not shown as nothing."""
    if unknown:
        return "unknown"
    return f"${cost:,.2f}" if round(cost, 4) == round(cost, 2) else f"${cost:,.4f}"


def format_rfc3339(milliseconds: int) -> str:
    """Return a time in milliseconds since 1970 UTC, in the form of the HTTP API."""
    text = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def shorten_home(path: Path) -> str:
    """Return a path with `~` for the home directory."""
    return paths.display_path(path)


def format_elapsed(start: str | None, end: str | None) -> str:
    """Return how long something took, or has taken so far; `-` if it has not started."""
    if start is None:
        return "-"
    begun = datetime.fromisoformat(start)
    ended = datetime.fromisoformat(end) if end is not None else datetime.now(begun.tzinfo)
    return format_duration((ended - begun).total_seconds())


def shorten_text(text: str, width: int = 60) -> str:
    """Return a text as one line of at most `width` characters; a text that is cut ends with "…"."""
    joined = " ".join(text.split())
    return joined if len(joined) <= width else joined[: width - 1] + "…"


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows in columns; on a terminal that is too narrow for them, one below the other with their names."""
    cells = [[replace_unsafe(str(cell)).replace("\n", " ") for cell in row] for row in rows]
    if sys.stdout.isatty() and not _fits_terminal(headers, cells, folds=wants_decoration(sys.stdout)):
        for number, row in enumerate(cells):
            print_text("\n" * bool(number), end="")
            print_fields([(header.capitalize(), cell) for header, cell in zip(headers, row, strict=True)])
    elif wants_decoration(sys.stdout):
        _print_rich_table(headers, cells)
    else:
        _print_aligned([[header.upper() for header in headers], *cells])


def _fits_terminal(headers: Sequence[str], rows: Sequence[Sequence[str]], *, folds: bool) -> bool:
    """Return whether the columns fit next to each other.

    Args:
        folds: whether columns of text can be folded.
    """
    from rich.cells import cell_len  # late, as below

    widths = [max(map(cell_len, column)) for column in zip(headers, *rows, strict=True)]
    least = [
        min(width, max(MIN_FOLDED_WIDTH, cell_len(header))) if folds and header in FOLDED_HEADERS else width
        for header, width in zip(headers, widths, strict=True)
    ]
    return sum(least) + _COLUMN_GAP * (len(headers) - 1) <= shutil.get_terminal_size().columns


def print_fields(pairs: Sequence[tuple[str, object]]) -> None:
    """Print names and values, one pair a line."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        shown = replace_unsafe(str(value)).replace("\n", "\n" + " " * (width + 3))
        print_text(f"{name:<{width}}   {shown}".rstrip())


def _print_aligned(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print_text("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_rich_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, header_style="bold", pad_edge=False, padding=(0, _COLUMN_GAP, 0, 0))
    for header in headers:
        made.add_column(header, overflow="fold", no_wrap=header not in FOLDED_HEADERS)
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    Console().print(made)


class WaitIndicator(Protocol):
    """Shows on a terminal what the command waits for."""

    def set_text(self, what: str) -> None:
        """Show that the command now waits for something else."""

    def print_above(self, text: str) -> None:
        """Print a note above it."""

    def pause_showing(self) -> None:
        """Hide it, so that the user can type."""

    def resume_showing(self) -> None:
        """Show it again, unless it was stopped."""

    def stop_showing(self) -> None:
        """Hide it for good."""


class _SilentIndicator:
    """Used without a terminal: shows only notes."""

    def set_text(self, what: str) -> None: ...

    def print_above(self, text: str) -> None:
        print_note(text)

    def pause_showing(self) -> None: ...

    def resume_showing(self) -> None: ...

    def stop_showing(self) -> None: ...


@contextlib.contextmanager
def show_waiting(what: str) -> Iterator[WaitIndicator]:
    """Show on a terminal what the command waits for, and how long it has waited."""
    if not wants_decoration(sys.stderr):
        yield _SilentIndicator()
        return
    from cli.spinner import Spinner  # late: imports rich

    with Spinner(what) as spinner:
        yield spinner
