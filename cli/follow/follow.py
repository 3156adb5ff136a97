"""Follows a run to its end, on a terminal or in a pipe, and returns its answer."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from typing import Any, NamedTuple, Protocol

from cli import output
from cli.command import Interrupted, current
from cli.follow.permission_prompt import Asking
from cli.follow.screen import Screen
from cli.remote.client import Client, part
from cli.remote.sse import Event
from gateway.errors import AgentError, Conflict, GatewayError, OverBudget, TimedOut

#: what to show while waiting, by the status of the run
_WAITS = {"queued": "waiting for its turn", "running": "waiting for the answer"}

#: seconds that a run may be queued before the user is told what it waits for
LONG = 3.0


class Asked(Protocol):
    """Reads from the HTTP API; the client does."""

    def get(self, path: str) -> Any: ...


class Answer(NamedTuple):
    """The result of a run."""

    reply: str
    #: tokens `input`, `output` and `cached`, and `cost`
    usage: dict[str, float]


def answer(client: Client, run: str, opened: HTTPResponse | None, *, live: bool, talk: bool = False) -> Answer:
    """Follow a run to its end and return its answer.

    Args:
        live: print the answer as it arrives; with `--json` a line for each event.
        talk: also print what else happens.

    Raises:
        AgentError, TimedOut, OverBudget, Conflict: the run did not succeed.
        Interrupted: the user pressed Ctrl-C; the run goes on.
    """
    usage: dict[str, float] = {"input": 0, "output": 0, "cached": 0, "cost": 0.0}
    as_json = current().json
    with leaving(run), output.waiting(_WAITS["queued"]) as waiting, explained(client, run, waiting.note) as queued:
        screen = Screen(waiting.stop, text=live, talk=talk and not as_json, note=waiting.note)
        show, asking = _json_lines if live and as_json else screen, Asking(client, run, waiting, here=not as_json)
        for event in client.follow(run, waiting.note, opened):
            if event.data.get("status", "queued") != "queued":
                queued.cancel()
            waiting.say(_WAITS.get(event.data.get("status", ""), _WAITS["running"]))
            if event.kind == "permission" and show is screen:
                screen.close()
                asking(event.data)
            show(event)
            if event.kind == "usage":
                usage = {name: count + event.data.get(name, 0) for name, count in usage.items()}
    return Answer(_result(run, event.data), usage)


@contextlib.contextmanager
def explained(client: Asked, run: str, note: Callable[[str], None]) -> Iterator[threading.Timer]:
    """Print what a run waits for if it is queued for long. Yields a timer to cancel when the run starts."""

    def print_wait() -> None:
        with contextlib.suppress(GatewayError):  # only a hint: on an error, following the run goes on
            wait = client.get(f"/api/tasks/{part(run)}")["task"]["waits"]
            if wait is not None:
                note(f"It waits: {output.first_line(wait['why'], 500)}.")

    timer = threading.Timer(LONG, print_wait)
    timer.daemon = True
    timer.start()
    try:
        yield timer
    finally:
        timer.cancel()


def _json_lines(event: Event) -> None:
    output.line({"id": event.id, "data": event.data})


@contextlib.contextmanager
def beginning() -> Iterator[None]:
    """On Ctrl-C before the gateway has answered, say where to look for the task."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("Stopped before the gateway answered.", remedy="See: gateway tasks list") from None


@contextlib.contextmanager
def leaving(run: str) -> Iterator[None]:
    """On Ctrl-C, let the run go on, and say how to follow it again."""
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
    kind = {"timeout": TimedOut, "over_budget": OverBudget}.get(str(outcome), AgentError)
    return _raise(kind(error or f"the task ended as {end.get('status')}.", remedy=remedy, details=details))


def _raise(error: GatewayError) -> str:
    raise error
