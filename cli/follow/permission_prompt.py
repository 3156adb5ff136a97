"""Shows the permission requests and questions of a followed run, and on a terminal lets the user answer them."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import Any, NamedTuple

from cli import output
from cli.command import complete_commands, current_invocation
from cli.follow.dialogs import Dialog, format_deadline, open_dialog
from cli.follow.keyboard import forget_typed_keys
from cli.output import WaitIndicator
from cli.questions import describe_request, suggest_command
from cli.remote.client import GatewayClient, quote_part
from cli.remote.open_requests import is_request_open
from gateway.errors import Conflict, GatewayError, InvalidRequest


class _Asked(NamedTuple):
    """A request without an answer, as its event showed it, and the dialog that reads one."""

    data: dict[str, Any]
    dialog: Dialog


class PermissionPrompt:
    """Handles the permission events of one run.

    A separate thread reads the keyboard, and the run is followed meanwhile: somebody else may answer first, or
    the request may expire.
    """

    def __init__(self, client: GatewayClient, run: str, waiting: WaitIndicator, *, here: bool) -> None:
        """Args:
        here: ask the user if this is a terminal. If not, print the command that answers.
        """
        self._here = here and _is_interactive()
        self._client = client
        self._run = run
        self._waiting = waiting
        self._env = current_invocation().merged_environment
        #: requests without an answer, by id; the first one is on the screen
        self._open: dict[str, _Asked] = {}
        self._lock = threading.Lock()
        self._reading = False
        #: ids of the requests that were answered here
        self._told: set[str] = set()

    def __call__(self, data: dict[str, Any]) -> None:
        if data.get("answer"):
            self._close_request(data["id"])
        elif is_request_open(self._client, self._run, data["id"]):
            if self._here:
                self._ask_user(data)
            else:
                output.print_note(self._format_hint(data))

    def _format_hint(self, data: dict[str, Any]) -> str:
        command = complete_commands(suggest_command(self._run, data), self._env)
        return f"{describe_request(data)}\nAnswer before {format_deadline(data)}: {command}"

    def _ask_user(self, data: dict[str, Any]) -> None:
        with self._lock:
            self._open[data["id"]] = asked = _Asked(data, open_dialog(data))
            if len(self._open) == 1:
                self._waiting.pause_showing()
                _show_dialog(asked.dialog)
        if not self._reading:
            self._reading = True
            threading.Thread(target=self._read_keyboard, name="keyboard", daemon=True).start()

    def _close_request(self, request: str) -> None:
        """Remove a request that has an answer, and show the next one, if there is one."""
        with self._lock:
            asked = next(iter(self._open), None) == request
            if self._open.pop(request, None) is None or not asked:
                return
            if request not in self._told:
                output.print_note("")  # ends the line of the question
            following = next(iter(self._open.values()), None)
            if following is not None:
                _show_dialog(following.dialog)
            else:
                self._waiting.resume_showing()

    def _read_keyboard(self) -> None:
        # Not sys.stdin: a thread that waits in it keeps the interpreter from exiting.
        with contextlib.suppress(OSError):  # the terminal is gone
            while line := os.read(0, 4096):
                self._read_line(line.decode("utf-8", "replace").strip())
        self._leave_keyboard()

    def _leave_keyboard(self) -> None:
        """After Ctrl-D, say how to answer what is asked now and later."""
        with self._lock:
            self._here = False
            left, self._open = [*self._open.values()], {}
            if not left:
                return
            output.print_note("")  # ends the line of the question
            for asked in left:
                output.print_note(self._format_hint(asked.data))
            self._waiting.resume_showing()

    def _read_line(self, line: str) -> None:
        """Read a line from the keyboard as an answer to the request on the screen."""
        with self._lock:
            request, asked = next(iter(self._open.items()), ("", None))
        if asked is None or request in self._told:
            return
        try:
            body = asked.dialog.read_line(line)
        except InvalidRequest as error:
            body = None
            output.print_note(str(error))
        if body is None:
            output.ask_question(asked.dialog.prompt)
        else:
            self._send_answer(request, body)

    def _send_answer(self, request: str, body: dict[str, Any]) -> None:
        self._told.add(request)
        try:
            self._client.post(f"/api/tasks/{quote_part(self._run)}/permissions/{quote_part(request)}", body)
        except GatewayError as error:
            output.print_note(complete_commands(str(error), self._env))
            if not isinstance(error, Conflict):  # else it has an answer, whose event follows
                self._ask_again(request)

    def _ask_again(self, request: str) -> None:
        """Ask from the beginning: the answer has not reached the gateway."""
        with self._lock:
            self._told.discard(request)
            asked = self._open.get(request)
            if asked is not None:
                self._open[request] = again = _Asked(asked.data, open_dialog(asked.data))
                _show_dialog(again.dialog)


def _show_dialog(dialog: Dialog) -> None:
    """Show a question. What was typed before is no answer to it, and is forgotten."""
    forget_typed_keys()
    output.ask_question(dialog.prompt)


def _is_interactive() -> bool:
    """Return whether the user can answer here. A background process that reads the keyboard would be stopped."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    return sys.platform == "win32" or os.getpgrp() == os.tcgetpgrp(0)
