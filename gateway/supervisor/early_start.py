"""Starts the first generation while the supervisor starts: the two work at the same time, and share memory.

The process is a fork of a supervisor that has loaded its modules and done nothing else. It loads what a generation
needs, touches nothing, and waits for the socket, the environment and the config. If they never come, because the
gateway is refused or the supervisor ends, it ends. Later generations are executed: they may be another version.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

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
        platform == "linux"  # libraries of macOS may crash in a process that was forked and not executed
        and not any(env.get(name) for name in _REFUSING_VARIABLES)
        # Options may be shortened: `--env` is `--environment`.
        and not any(option.startswith(word) for word in given if word.startswith("-") for option in _REFUSING_OPTIONS)
    )


def start_process(arguments: Sequence[str], serve: Callable[[int], int]) -> EarlyProcess | None:
    """Start the process for the first generation; None if there will be none, or if it cannot be started now.

    Call it before anything else: the process has all that this one has.

    Args:
        arguments: the command line arguments of the supervisor.
        serve: called in the process with the descriptor of its end of the control channel; returns its exit code.
    """
    if not may_start(arguments, os.environ, sys.platform) or None in (sys.stdin, sys.stdout, sys.stderr):
        return None  # a stream that was closed: its number is that of something else soon
    with contextlib.suppress(OSError):  # whatever is wrong, the supervisor finds it, too, and reports it
        return _fork_process(serve)
    return None


def _fork_process(serve: Callable[[int], int]) -> EarlyProcess:
    """Raises:
    OSError: no process or no descriptor is left.
    """
    gc.freeze()  # a collection would write to the memory that both share
    with contextlib.ExitStack() as undo:
        ours, theirs = socket.socketpair()
        undo.callback(ours.close)
        with theirs:
            reader, writer = os.pipe()
            undo.callback(os.close, reader)
            try:
                pid = os.fork()
            except OSError:
                os.close(writer)
                raise
            if pid == 0:
                _run_process(theirs.fileno(), writer, serve)
            os.close(writer)
        undo.pop_all()
    return EarlyProcess(pid, ours, reader)


def _run_process(line: int, log: int, serve: Callable[[int], int]) -> NoReturn:
    """Serve in the new process, and end it: nothing of the supervisor may run here, whatever happens."""
    code = 1
    try:
        try:
            gc.disable()  # until it is ready
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            _replace_streams(log)
            _close_others(line)
            code = serve(line)
        except BaseException:  # also one that would end the supervisor
            sys.excepthook(*sys.exc_info())
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    finally:
        os._exit(code)


def _replace_streams(log: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    for number, source in enumerate((null, log, log)):
        os.dup2(source, number)


def _close_others(line: int) -> None:
    """Close what another program would not have inherited."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != line:
            with contextlib.suppress(OSError):
                os.close(int(name))
