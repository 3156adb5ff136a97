"""Starts the first generation before the supervisor has loaded its own modules: the two load at the same time.

The process imports what a generation needs, touches nothing, and waits for the socket, the environment and the
config. If they never come, because the gateway is refused or the supervisor ends, it ends. Import little here: all of
it comes before the start.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence

#: variables that keep a gateway in one process
SINGLE_PROCESS_VARIABLES = ("MOONGATE_NO_RESPAWN", "XOPC_NO_RESPAWN")
#: variables of a supervisor that already has generations, or descriptors that no generation may inherit
_REFUSING_VARIABLES = (*SINGLE_PROCESS_VARIABLES, "MOONGATE_RESUME", "LISTEN_FDS")
#: options after which the environment is another one, or the process is executed again, or nothing starts
_REFUSING_OPTIONS = ("--environment", "--token", "--help", "-h")


class EarlyProcess:
    """A serving process that waits for its generation."""

    def __init__(self, pid: int, line: socket.socket, log: int) -> None:
        self.pid = pid
        #: our end of its control channel
        self.line = line
        #: the pipe that its log comes over; reading blocks
        self.log = log
        #: whether it can become a generation; False once it is one, or has ended
        self.waits = True

    def take(self) -> None:
        """Note that it is a generation now, which `discard` leaves alone."""
        self.waits = False

    def discard(self) -> None:
        """End it if it still waits."""
        if not self.waits:
            return
        self.waits = False
        self.line.close()
        os.close(self.log)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def may_start(arguments: Sequence[str], env: Mapping[str, str], platform: str) -> bool:
    """Return whether a gateway with these command line arguments will start a generation, and in this environment."""
    given = [word.partition("=")[0] for word in arguments]
    return (
        platform != "win32"
        and not any(env.get(name) for name in _REFUSING_VARIABLES)
        # Options may be shortened: `--env` is `--environment`.
        and not any(option.startswith(word) for word in given if word.startswith("-") for option in _REFUSING_OPTIONS)
    )


def start_process(arguments: Sequence[str]) -> EarlyProcess | None:
    """Start the process for the first generation; None if there will be none, or if it cannot be started now.

    Args:
        arguments: the command line arguments of the supervisor.
    """
    if not may_start(arguments, os.environ, sys.platform):
        return None
    with contextlib.suppress(OSError):  # whatever is wrong, the supervisor finds it, too, and reports it
        return _spawn_process()
    return None


def _spawn_process() -> EarlyProcess:
    """Raises:
    OSError: no process or no descriptor is left.
    """
    with contextlib.ExitStack() as undo:
        ours, theirs = socket.socketpair()
        undo.callback(ours.close)
        with theirs:
            reader, writer = os.pipe()
            undo.callback(os.close, reader)
            try:
                theirs.set_inheritable(True)
                pid = os.posix_spawn(
                    sys.executable,
                    [sys.executable, "-m", "gateway.serve", str(theirs.fileno()), "1"],
                    os.environ,
                    file_actions=[
                        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                        (os.POSIX_SPAWN_DUP2, writer, 1),
                        (os.POSIX_SPAWN_DUP2, writer, 2),
                    ],
                    setsigmask=[],
                )
            finally:
                os.close(writer)
        undo.pop_all()
    return EarlyProcess(pid, ours, reader)
