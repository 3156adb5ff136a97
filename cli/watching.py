"""Following a run on a terminal or in a pipe: what it says, what it does, how it ended."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from typing import Any

import click

from cli import output
from cli.client import Client, Interrupted
from cli.command import current
from cli.sse import Event
from gateway.errors import AgentError, Conflict, GatewayError, TimedOut

#: characters of a tool's arguments or output that are shown
SHOWN = 100


def answer(client: Client, run: str, opened: HTTPResponse | None, *, live: bool, talk: bool = False) -> str:
    """Follow a run to its end and return its answer.

    Args:
        live: show the answer as it comes; with `--json` a line for each event.
        talk: show what else happens, too.

    Raises:
        AgentError, TimedOut, Conflict: it ended otherwise.
        Interrupted: the user has had enough; the run goes on.
    """
    with leaving(run), output.waiting("waiting for the answer") as begin:
        show = _json_lines if live and current().json else Screen(begin, text=live, talk=talk and not current().json)
        for event in client.follow(run, opened):
            show(event)
    return _result(run, event.data)


def _json_lines(event: Event) -> None:
    output.line({"id": event.id, "data": event.data})


@contextlib.contextmanager
def beginning() -> Iterator[None]:
    """On Ctrl-C before the gateway has answered, say where to look."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("Left before the gateway answered.", remedy="See: gateway tasks list") from None


@contextlib.contextmanager
def leaving(run: str) -> Iterator[None]:
    """On Ctrl-C leave the run going, and say how to come back."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("Left; the task goes on.", remedy=f"Come back: gateway tasks watch {run}") from None


def _result(run: str, end: dict[str, Any]) -> str:
    outcome = end.get("outcome")
    if outcome == "completed":
        return str(end.get("result") or "")
    details = {"run_id": run, "outcome": outcome}
    error = end.get("error")
    remedy = f"See: gateway tasks show {run}"
    if outcome == "cancelled_by_user":
        return _raise(Conflict("the task was cancelled.", remedy=remedy, details=details))
    kind = TimedOut if outcome == "timeout" else AgentError
    return _raise(kind(error or f"the task ended as {end.get('status')}.", remedy=remedy, details=details))


def _raise(error: GatewayError) -> str:
    raise error


class Screen:
    """Shows events as they come: the answer on stdout, all else dim on stderr."""

    def __init__(self, begin: Callable[[], None], *, text: bool, talk: bool) -> None:
        #: called before anything is shown
        self._begin = begin
        #: whether to show the answer, and whether to show what else happens
        self._text = text
        self._talk = talk
        #: kind of the text whose line is not at its end
        self._open = ""

    def __call__(self, event: Event) -> None:
        kind, data = event.kind, event.data
        if kind == "text" and self._text:
            self._write("text", data["delta"])
        elif kind == "thinking" and self._talk:
            self._write("thinking", data["delta"])
        elif kind == "end":
            self.close()
        elif self._talk and (said := _told(kind, data)):
            self._begin()
            self.close()
            output.talk(said)

    def close(self) -> None:
        """End the line that is open."""
        if self._open:
            click.echo(err=self._open == "thinking")
        self._open = ""

    def _write(self, kind: str, delta: str) -> None:
        if not delta:
            return
        self._begin()
        if self._open != kind:
            self.close()
        if kind == "text":
            click.echo(output.safe(delta, sys.stdout), nl=False)
        else:
            click.echo(output.dim(output.safe(delta, sys.stderr)), nl=False, err=True)
        self._open = "" if delta.endswith("\n") else kind


def _told(kind: str, data: dict[str, Any]) -> str:
    """Return an event in words; nothing for one that says nothing to a reader."""
    match kind:
        case "status":
            return _status(data)
        case "tool":
            return output.first_line(f"· {data['name']} {data.get('args') or ''}", SHOWN)
        case "tool_end":
            return output.first_line(f"  failed: {data.get('output', '')}", SHOWN) if data.get("is_error") else ""
        case "permission":
            return f"· asked to {data['action']}: {data['answer']}"
        case "log":
            return f"· {data['message']}"
    return ""


def _status(data: dict[str, Any]) -> str:
    """Return a move in words, where it is not the plain way from queued to running to the end."""
    attempt, reason = data.get("attempt", 0), data.get("reason")
    if attempt < 2 and not reason:
        return ""
    return f"· {data['status']}, attempt {attempt}" + (f": {reason}" if reason else "")
