"""One serving process of the supervisor: its start, its messages, its log and its end."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from gateway import config_handover
from gateway.config import ConfigSources
from gateway.control_channel import ControlChannel, Message, MessageType
from gateway.process.own_environment import find_own_executable
from gateway.supervisor.early_start import EarlyProcess
from gateway.supervisor.signals import KILL_SIGNAL

#: exit code of a generation whose configuration cannot be used
BAD_CONFIG_EXIT_CODE = 78
#: bytes of one read of the log, and reads in one turn: together they empty the largest pipe, so that
#: one turn reads everything that a dead process wrote
_LOG_BLOCK_BYTES = 64 * 1024
_LOG_BLOCKS_PER_TURN = 16
#: bytes of a log line; a longer one is written in pieces
_MAX_LOG_LINE_BYTES = 256 * 1024


class GenerationState(Enum):
    STARTING = "starting"
    #: answers requests, but does not claim runs
    STANDBY = "standby"
    #: was asked to step down, and has not confirmed it yet
    YIELDING = "yielding"
    LEADING = "leading"
    #: accepts nothing new, finishes its runs and requests
    DRAINING = "draining"


#: the only moves. A generation that was asked to step down may be asked again for a later successor,
#: and one that drains may be asked to end sooner.
GENERATION_MOVES: Mapping[GenerationState, frozenset[GenerationState]] = {
    GenerationState.STARTING: frozenset({GenerationState.STANDBY, GenerationState.DRAINING}),
    GenerationState.STANDBY: frozenset({GenerationState.LEADING, GenerationState.DRAINING}),
    GenerationState.LEADING: frozenset({GenerationState.YIELDING, GenerationState.DRAINING}),
    GenerationState.YIELDING: frozenset({GenerationState.YIELDING, GenerationState.DRAINING}),
    GenerationState.DRAINING: frozenset({GenerationState.DRAINING}),
}
#: log event of a state, if it has one
_STATE_EVENTS = {GenerationState.LEADING: "generation.leads"}


class Generation:
    """A serving process with its number. Its log comes over a pipe, its messages over the control channel."""

    def __init__(
        self,
        number: int,
        pid: int,
        line: ControlChannel,
        log: int,
        log_event: Callable[..., None],
        *,
        state: GenerationState = GenerationState.STARTING,
        started: float | None = None,
        deadline: float | None = None,
        rest: bytes = b"",
    ) -> None:
        """Args:
        log: the pipe that its log comes over.
        log_event: told of its moves.
        state: where it begins; another one than STARTING if it was started before a re-execution.
        started: monotonic seconds of its start; None is now.
        deadline: monotonic seconds when it is killed, if it has not ended by then.
        rest: the beginning of a log line whose end has not come yet.
        """
        self.number = number
        self.pid = pid
        self.line = line
        self.log = log
        self._log_event = log_event
        self.state = state
        #: monotonic seconds of its last sign of life
        self.heard = time.monotonic()
        #: monotonic seconds of its start
        self.started = self.heard if started is None else started
        #: monotonic seconds when it is killed, if it has not ended by then
        self.deadline = deadline
        #: why it failed, in its own words
        self.error = ""
        #: whether it waits until all others have ended, to migrate the database
        self.migrates = False
        #: whether it was asked to log where it hangs
        self.hangs = False
        self._rest = rest
        self._open: dict[str, Any] = {"log": log, "line": line.end}

    @classmethod
    def start_process(
        cls,
        number: int,
        listener: socket.socket,
        env: Mapping[str, str],
        sources: ConfigSources,
        log_event: Callable[..., None],
        early: EarlyProcess | None = None,
    ) -> Generation:
        """Start a serving process on a bound socket, with the settings that `sources` and `env` give.

        Args:
            early: a process that may wait for that; if none does, another one is started.

        Raises:
            OSError: no process, no descriptor or no space is left.
        """
        if early is not None and early.waits:
            if number == 1 and _hand_over(early, listener, env, sources):
                early.take()
                os.set_blocking(early.log, False)
                return cls(number, early.pid, ControlChannel(early.line), early.log, log_event)
            early.discard()
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as undo:
            undo.callback(ours.close)
            try:
                pid, log = cls._spawn_process(number, listener, theirs, env, sources)
            finally:
                theirs.close()
            undo.pop_all()
        return cls(number, pid, ControlChannel(ours), log, log_event)

    @staticmethod
    def _spawn_process(
        number: int, listener: socket.socket, line: socket.socket, env: Mapping[str, str], sources: ConfigSources
    ) -> tuple[int, int]:
        """Return the PID of a new process, and the pipe for its log."""
        reader, writer = os.pipe()
        try:
            with config_handover.open_handover(sources) as handover:
                process = subprocess.Popen(
                    [
                        find_own_executable(),
                        "-m",
                        "gateway.serve",
                        str(listener.fileno()),
                        str(line.fileno()),
                        str(number),
                    ],
                    env={**env, config_handover.CONFIG_DESCRIPTOR_VARIABLE: str(handover)},
                    stdin=subprocess.DEVNULL,
                    stdout=writer,
                    stderr=writer,
                    pass_fds=(listener.fileno(), line.fileno(), handover),
                )
        except OSError:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        process.returncode = 0  # `reap_exit_code` reaps it, also after a re-execution
        os.set_blocking(reader, False)
        return process.pid, reader

    @classmethod
    def from_kept(cls, kept: Mapping[str, Any], log_event: Callable[..., None]) -> Generation:
        """Rebuild, from the state that the supervisor kept, a generation that it started before it re-executed."""
        for descriptor in (kept["line"], kept["log"]):
            os.set_inheritable(descriptor, False)
        return cls(
            kept["number"],
            kept["pid"],
            ControlChannel(socket.socket(fileno=kept["line"])),
            kept["log"],
            log_event,
            state=GenerationState(kept["state"]),
            started=kept["started"],
            deadline=kept["deadline"],
            rest=kept["rest"].encode("latin-1"),
        )

    def keep_for_reexec(self) -> dict[str, Any]:
        """Return what `from_kept` needs, and make its descriptors inheritable."""
        for descriptor in (self.line.end.fileno(), self.log):
            os.set_inheritable(descriptor, True)
        return {
            "number": self.number,
            "pid": self.pid,
            "line": self.line.end.fileno(),
            "log": self.log,
            "state": self.state.value,
            "started": self.started,
            "deadline": self.deadline,
            "rest": self._rest.decode("latin-1"),
        }

    # --- moves ------------------------------------------------------------------------------

    def move_to(self, to: GenerationState) -> None:
        """Move to another state: check that the table has the move, and log it.

        Raises:
            ValueError: the table does not have it.
        """
        if to not in GENERATION_MOVES[self.state]:
            raise ValueError(f"generation {self.number} cannot move from {self.state.value} to {to.value}")
        self.state = to
        if to in _STATE_EVENTS:
            self._log_event(_STATE_EVENTS[to], generation=self.number)

    def stand_by(self) -> None:
        """Note that it answers requests."""
        self.move_to(GenerationState.STANDBY)

    def start_leading(self) -> None:
        """Ask it to claim runs."""
        self.move_to(GenerationState.LEADING)
        self.line.send_message(MessageType.LEAD)

    def step_down(self, drain: float, within: float, reason: str = "") -> None:
        """Ask it to stop claiming, finish its runs and end; it must confirm the first within `within` seconds.

        Args:
            reason: why the gateway restarts, if somebody said that.
        """
        self.move_to(GenerationState.YIELDING)
        self.line.send_message(MessageType.STEP_DOWN, seconds=drain, reason=reason)
        self.deadline = time.monotonic() + within

    def start_draining(self, seconds: float) -> None:
        """Set the deadline of a generation that has stepped down."""
        self.move_to(GenerationState.DRAINING)
        self.deadline = time.monotonic() + seconds

    def stop_within(self, grace: float, within: float, reason: str = "") -> None:
        """Ask it to end within `grace` seconds; kill it `within` seconds after that.

        Args:
            reason: why it is to end, if that is known.
        """
        self.move_to(GenerationState.DRAINING)
        self.line.send_message(MessageType.STOP, seconds=grace, reason=reason)
        self.deadline = min(self.deadline or float("inf"), time.monotonic() + grace + within)

    def send_signal(self, number: int = KILL_SIGNAL) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    # --- receiving --------------------------------------------------------------------------

    def receive_messages(self) -> list[Message]:
        """Return its new messages; any message is a sign of life."""
        said = self.line.receive_messages()
        if said is None:
            self._open.pop("line", None)
        elif said:
            self.heard = time.monotonic()
        return said or []

    @property
    def open_sources(self) -> list[Any]:
        """The descriptors to wait on, without closed ones: these would always be readable."""
        return list(self._open.values())

    def read_log(self, write: Callable[[bytes], None]) -> None:
        """Write the complete log lines that one turn of reading brings."""
        for _ in range(_LOG_BLOCKS_PER_TURN):
            try:
                data = os.read(self.log, _LOG_BLOCK_BYTES)
            except BlockingIOError:
                return
            if not data:
                self._open.pop("log", None)
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                write(line)
            if len(self._rest) > _MAX_LOG_LINE_BYTES:
                self.flush_log(write)

    def flush_log(self, write: Callable[[bytes], None]) -> None:
        """Write the last line, which has no line end."""
        if self._rest:
            write(self._rest)
        self._rest = b""

    def reap_exit_code(self) -> int | None:
        """Reap the process if it has ended; return its exit code, negative for a signal, or None while it lives."""
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return -1
        return os.waitstatus_to_exitcode(status) if pid else None

    def close(self) -> None:
        self.line.end.close()
        os.close(self.log)

    def silent_for(self) -> float:
        """Return the seconds since its last sign of life."""
        return time.monotonic() - self.heard


def _hand_over(early: EarlyProcess, listener: socket.socket, env: Mapping[str, str], sources: ConfigSources) -> bool:
    """Send a process that waits what it needs to be a generation. Returns False if it has ended."""
    try:
        config_handover.send_start(early.line, listener, env, sources)
    except OSError:
        return False
    return True
