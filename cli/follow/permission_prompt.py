"""Shows the permission requests of a followed run, and on a terminal lets the user answer them."""

from __future__ import annotations

import os
import sys
import threading
from datetime import datetime
from typing import Any

import click

from cli import output
from cli.output import Waiting
from cli.remote.client import Client, part
from gateway.errors import GatewayError

_KEYS = {"y": "allow", "yes": "allow", "a": "allow_always", "always": "allow_always", "n": "deny", "no": "deny"}
_OFFERS = {"allow": "[y]es", "allow_always": "[a]lways", "deny": "[n]o"}


class Asking:
    """Handles the permission events of one run.

    A separate thread reads the keyboard, and the run is followed meanwhile: somebody else may answer first, or
    the request may expire.
    """

    def __init__(self, client: Client, run: str, waiting: Waiting, *, here: bool) -> None:
        """Args:
        here: ask the user if this is a terminal. If not, print the command that answers.
        """
        self._here = here and _at_terminal()
        self._client = client
        self._run = run
        self._waiting = waiting
        #: requests without an answer, by id; the first one is on the screen
        self._open: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._reading = False
        #: ids of the requests that were answered here
        self._told: set[str] = set()

    def __call__(self, data: dict[str, Any]) -> None:
        if data.get("answer"):
            self._settled(data["id"])
        elif self._waits(data["id"]):
            if self._here:
                self._ask(data)
            else:
                output.talk(self._hint(data))

    def _waits(self, request: str) -> bool:
        """Return whether a request is still open: the events may be of long ago."""
        try:
            found = self._client.get(f"/api/tasks/{part(self._run)}")["permissions"]
        except GatewayError:  # then the answer shows whether it was open
            return True
        return request in [one["id"] for one in found]

    def _hint(self, data: dict[str, Any]) -> str:
        choices = " | ".join(data["choices"])
        return f"{_wanted(data)}\nAnswer before {_until(data)}: gateway tasks answer {self._run} {data['id']} {choices}"

    def _ask(self, data: dict[str, Any]) -> None:
        with self._lock:
            self._open[data["id"]] = data
            if len(self._open) == 1:
                self._waiting.pause()
                _show(data)
        if not self._reading:
            self._reading = True
            threading.Thread(target=self._read, name="keyboard", daemon=True).start()

    def _settled(self, request: str) -> None:
        """Remove a request that has an answer, and show the next one, if there is one."""
        with self._lock:
            asked = next(iter(self._open), None) == request
            if self._open.pop(request, None) is None or not asked:
                return
            if request not in self._told:
                click.echo(err=True)  # ends the line of the question
            following = next(iter(self._open.values()), None)
            if following is not None:
                _show(following)
            else:
                self._waiting.resume()

    def _read(self) -> None:
        # Not sys.stdin: a thread that waits in it keeps the interpreter from exiting.
        while line := os.read(0, 4096):
            self._take(line.decode("utf-8", "replace").strip().lower())

    def _take(self, word: str) -> None:
        """Send a line from the keyboard as the answer to the request on the screen."""
        with self._lock:
            data = next(iter(self._open.values()), None)
        if data is None:
            return
        answer = _KEYS.get(word)
        if answer not in data["choices"]:
            _show(data)
            return
        self._told.add(data["id"])
        try:
            self._client.post(f"/api/tasks/{part(self._run)}/permissions/{part(data['id'])}", {"answer": answer})
        except GatewayError as error:
            output.talk(str(error))


def _at_terminal() -> bool:
    """Return whether the user can answer here. A background process that reads the keyboard would be stopped."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    return sys.platform == "win32" or os.getpgrp() == os.tcgetpgrp(0)


def _show(data: dict[str, Any]) -> None:
    offers = ", ".join(_OFFERS[choice] for choice in data["choices"])
    question = f"{_wanted(data)}\nAllow it? {offers} (denied at {_until(data)}): "
    click.echo(output.safe(question, sys.stderr), err=True, nl=False)


def _wanted(data: dict[str, Any]) -> str:
    return f"The agent asks to be allowed: {output.first_line(data['action'], 500)}"


def _until(data: dict[str, Any]) -> str:
    return datetime.fromisoformat(data["expires_at"]).astimezone().strftime("%H:%M:%S %Z")
