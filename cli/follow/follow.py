"""Follows a run to its end, on a terminal or in a pipe, and returns its answer."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from cli import output
from cli.command import Interrupted, current_invocation
from cli.files.saving import save_made_files
from cli.follow.permission_prompt import PermissionPrompt
from cli.follow.screen import EventScreen
from cli.remote.client import GatewayClient, quote_part
from cli.remote.sse import Event
from gateway.errors import AgentError, Conflict, GatewayError, OverBudget, TimedOut

#: what to show while waiting, by the status of the run
_WAIT_TEXTS = {"queued": "waiting for its turn", "running": "waiting for the answer"}

#: seconds that a run may be queued before the user is told what it waits for
EXPLAIN_AFTER_SECONDS = 3.0


class TaskReader(Protocol):
    """Reads from the HTTP API; the client does."""

    def get(self, path: str) -> Any: ...


class Answer(NamedTuple):
    """The result of a run."""

    reply: str
    #: why the reply ended: `stop`, `length` or `content_filter`; None if an older gateway does not say it
    finish: str | None
    #: tokens `input`, `output` and `cached`, and `cost`
    usage: dict[str, float]
    #: what the API tells about the conversation behind the answer
    notices: dict[str, bool]
    #: what the agent made, as the API shows it, each with its `path` if it was saved
    files: list[dict[str, Any]]


def follow_run(
    client: GatewayClient,
    run: str,
    opened: HTTPResponse | None,
    *,
    live: bool,
    talk: bool = False,
    save: Path | None = None,
) -> Answer:
    """Follow a run to its end and return its answer.

    Args:
        live: print the answer as it arrives; with `--json` a line for each event.
        talk: also print what else happens.
        save: directory for what the agent makes, also if the run does not succeed.

    Raises:
        AgentError, TimedOut, OverBudget, Conflict: the run did not succeed.
        Interrupted: the user pressed Ctrl-C; the run goes on.
    """
    usage: dict[str, float] = {"input": 0, "output": 0, "cached": 0, "cost": 0.0}
    notices: dict[str, bool] = {}
    has_files = False
    as_json = current_invocation().json
    with (
        hint_on_interrupt(run),
        output.show_waiting(_WAIT_TEXTS["queued"]) as waiting,
        explain_long_wait(client, run, waiting.print_above) as queued,
    ):
        screen = EventScreen(
            waiting.stop_showing,
            text=live,
            talk=talk and not as_json,
            notices=not as_json,
            note=waiting.print_above,
        )
        show, asking = (
            _print_json_event if live and as_json else screen,
            PermissionPrompt(client, run, waiting, here=not as_json),
        )
        for event in client.follow_events(run, waiting.print_above, opened):
            if event.data.get("status", "queued") != "queued":
                queued.cancel()
            waiting.set_text(_WAIT_TEXTS.get(event.data.get("status", ""), _WAIT_TEXTS["running"]))
            if event.kind == "permission" and show is screen:
                screen.end_line()
                asking(event.data)
            show(event)
            if event.kind == "usage":
                usage = {name: count + event.data.get(name, 0) for name, count in usage.items()}
            if event.kind == "log" and event.data.get("notice"):
                notices[event.data["notice"]] = True
            has_files = has_files or event.kind == "file"
    made = client.get(f"/api/tasks/{quote_part(run)}")["task"]["files"] if has_files else []
    made = save_made_files(client, made, save)
    reply = read_result(run, event.data)
    return Answer(reply, event.data.get("finish"), usage, notices, made)


@contextlib.contextmanager
def explain_long_wait(client: TaskReader, run: str, note: Callable[[str], None]) -> Iterator[threading.Timer]:
    """Print what a run waits for if it is queued for long. Yields a timer to cancel when the run starts."""

    def print_wait() -> None:
        with contextlib.suppress(GatewayError):  # only a hint: on an error, following the run goes on
            wait = client.get(f"/api/tasks/{quote_part(run)}")["task"]["waits"]
            if wait is not None:
                note(f"It waits: {output.shorten_text(wait['why'], 500)}.")

    timer = threading.Timer(EXPLAIN_AFTER_SECONDS, print_wait)
    timer.daemon = True
    timer.start()
    try:
        yield timer
    finally:
        timer.cancel()


def _print_json_event(event: Event) -> None:
    output.print_json_line({"id": event.id, "data": event.data})


@contextlib.contextmanager
def hint_on_early_interrupt() -> Iterator[None]:
    """On Ctrl-C before the gateway has answered, say where to look for the task."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("Stopped before the gateway answered.", remedy="See: gateway tasks list") from None


@contextlib.contextmanager
def hint_on_interrupt(run: str) -> Iterator[None]:
    """On Ctrl-C, let the run go on, and say how to follow it again."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("Left; the task goes on.", remedy=f"Come back: gateway tasks watch {run}") from None


def read_result(run: str, end: dict[str, Any]) -> str:
    """Return the answer of a run, from its last event.

    Raises:
        AgentError, TimedOut, OverBudget, Conflict: the run did not succeed.
    """
    outcome = end.get("outcome")
    if outcome == "completed":
        return str(end.get("result") or "")
    details = {"run_id": run, "outcome": outcome}
    error = end.get("error")
    remedy = f"See: gateway tasks show {run}"
    if outcome == "cancelled_by_user":
        return _raise_error(Conflict("the task was cancelled.", remedy=remedy, details=details))
    kind = {"timeout": TimedOut, "over_budget": OverBudget}.get(str(outcome), AgentError)
    return _raise_error(kind(error or f"the task ended as {end.get('status')}.", remedy=remedy, details=details))


def _raise_error(error: GatewayError) -> str:
    raise error
