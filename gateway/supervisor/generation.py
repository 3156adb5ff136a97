"""One serving process under the supervisor: started, listened to, told, ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from gateway.link import Line, Message, Word
from gateway.supervisor import signals

#: seconds that a generation has to become ready
READY_WITHIN = 30.0
#: exit code of a generation whose configuration cannot be used
BAD_CONFIG = 78
#: bytes of log that are read at once
_BLOCK = 64 * 1024


class State(Enum):
    STARTING = "starting"
    #: answers requests, but does not claim runs
    STANDBY = "standby"
    #: has been told to step down, and has not yet said that it did
    YIELDING = "yielding"
    LEADING = "leading"
    #: answers nothing new, finishes what it has
    DRAINING = "draining"


class Generation:
    """A serving process, by its number. Its log comes to us over a pipe, its words over a line."""

    def __init__(self, number: int, pid: int, line: Line, log: int) -> None:
        self.number = number
        self.pid = pid
        self.line = line
        self.log = log
        self.state = State.STARTING
        #: monotonic seconds of its start, and of its last sign of life
        self.started = self.heard = time.monotonic()
        #: monotonic seconds when it is killed, if it has not ended by then
        self.deadline: float | None = None
        #: why it could not go on, in its own words
        self.error = ""
        self._rest = b""

    @classmethod
    def start(cls, number: int, listener: socket.socket, env: Mapping[str, str]) -> Generation:
        """Start a serving process on a bound socket."""
        ours, theirs = socket.socketpair()
        reader, writer = os.pipe()
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "gateway.serve", str(listener.fileno()), str(theirs.fileno()), str(number)],
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=writer,
                stderr=writer,
                pass_fds=(listener.fileno(), theirs.fileno()),
                preexec_fn=signals.unblock,
            )
        finally:
            theirs.close()
            os.close(writer)
        process.returncode = 0  # it is reaped by `ended`, which also works after we were re-executed
        os.set_blocking(reader, False)
        return cls(number, process.pid, Line(ours), reader)

    @classmethod
    def adopt(cls, kept: Mapping[str, Any]) -> Generation:
        """Take over a generation that our former self started."""
        found = cls(kept["number"], kept["pid"], Line(socket.socket(fileno=kept["line"])), kept["log"])
        found.state = State(kept["state"])
        return found

    def keep(self) -> dict[str, Any]:
        """Return what `adopt` needs, its descriptors made to survive a re-execution."""
        for descriptor in (self.line.end.fileno(), self.log):
            os.set_inheritable(descriptor, True)
        return {
            "number": self.number,
            "pid": self.pid,
            "line": self.line.end.fileno(),
            "log": self.log,
            "state": self.state.value,
        }

    # --- telling ----------------------------------------------------------------------------

    def lead(self) -> None:
        self.state = State.LEADING
        self.line.say(Word.LEAD)

    def step_down(self, drain: float, within: float) -> None:
        """Have it stop claiming, finish what it has for `drain` seconds, and end."""
        self.state = State.YIELDING
        self.line.say(Word.STEP_DOWN, seconds=drain)
        self.deadline = time.monotonic() + drain + within

    def stop(self, grace: float, within: float) -> None:
        """Have it end within its grace; it is killed `within` seconds after that."""
        self.state = State.DRAINING
        self.line.say(Word.STOP, seconds=grace)
        self.deadline = min(self.deadline or float("inf"), time.monotonic() + grace + within)

    def kill(self, number: int = signal.SIGKILL) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    # --- hearing ----------------------------------------------------------------------------

    def hear(self) -> list[Message]:
        """Return what it said; any word is a sign of life."""
        said = self.line.hear() or []
        if said:
            self.heard = time.monotonic()
        return said

    def read_log(self, write: Callable[[bytes], None]) -> bool:
        """Pass on the whole lines that it logged; returns whether there may be more to come."""
        while True:
            try:
                data = os.read(self.log, _BLOCK)
            except BlockingIOError:
                return True
            if not data:
                if self._rest:
                    write(self._rest)
                self._rest = b""
                return False
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                write(line)

    def ended(self) -> int | None:
        """Reap it if it has ended: its exit code, negative for a signal; None while it lives."""
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return -1
        return os.waitstatus_to_exitcode(status) if pid else None

    def close(self) -> None:
        self.line.end.close()
        os.close(self.log)

    def silent_for(self) -> float:
        """Seconds since its last sign of life."""
        return time.monotonic() - self.heard
