"""A user at a shell: runs commands of the CLI in separate processes, with pipes or in a terminal."""

from __future__ import annotations

import json
import os
import select
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from harness.waiting import PATIENCE

_PROGRAM = [sys.executable, "-m", "cli.main"]
#: commands that wait for a gateway, and options that make them wait long enough for a busy machine
_PATIENT = {"start": ["--wait", str(PATIENCE)], "restart": ["--wait", str(PATIENCE)]}


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


class Shell:
    """Runs `gateway …` with an environment."""

    def __init__(self, env: Mapping[str, str], cwd: Path) -> None:
        self.env = dict(env)
        self.cwd = cwd

    def __call__(self, *words: str, given: str = "", env: Mapping[str, str] | None = None) -> Result:
        """Run a command with pipes until it ends."""
        done = subprocess.run(
            _command(words),
            input=given,
            env={**self.env, **(env or {})},
            cwd=self.cwd,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
        )
        assert "Traceback" not in done.stderr
        home = {**self.env, **(env or {})}.get("MOONGATE_HOME")
        return Result(done.returncode, _leave_out_home(done.stdout, home), _leave_out_home(done.stderr, home))

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command with pipes. The caller must end it."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen(_command(words), env=self.env, cwd=self.cwd, text=True, **pipes)

    def terminal(self, *words: str, env: Mapping[str, str] | None = None) -> Terminal:
        """Start a command in a terminal."""
        return Terminal([*_PROGRAM, *words], {**self.env, "TERM": "xterm", **(env or {})}, self.cwd)


def _leave_out_home(text: str, home: str | None) -> str:
    """Return what a command printed, with its commands as for the usual state directory.

    Each test has a state directory of its own, which the commands that are printed name.
    """
    return text.replace(f"MOONGATE_HOME={shlex.quote(home)} gateway", "gateway") if home else text


def _command(words: Sequence[str]) -> list[str]:
    patient = [] if "--wait" in words else _PATIENT.get(words[0] if words else "", [])
    return [*_PROGRAM, *words, *patient]


class Terminal:
    """A command in its own terminal: reads its output, and presses keys."""

    def __init__(self, argv: list[str], env: Mapping[str, str], cwd: Path) -> None:
        self._master, inner = os.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _AT_TERMINAL, *argv],
            env=env,
            cwd=cwd,
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
        )
        os.close(inner)
        self._home = env.get("MOONGATE_HOME")
        self._raw = ""
        #: characters that were shown when the last question was answered
        self._answered = 0

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        os.close(self._master)

    @property
    def shown(self) -> str:
        return _leave_out_home(self._raw, self._home)

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def answer(self, question: str, keys: str, *, end: str = "\n") -> None:
        """Wait for a question that comes after the last answer, and type an answer to it."""
        self.wait_for(question, after=self._answered)
        self._answered = len(self.shown)
        self.press(keys + end)

    def wait_for(self, text: str, *, after: int = 0) -> None:
        """Wait until the terminal shows a text.

        Args:
            after: number of the character after which it must stand.
        """
        deadline = time.monotonic() + PATIENCE
        while text not in self.shown[after:]:
            assert time.monotonic() < deadline, f"not shown: {text!r} in {self.shown!r}"
            assert self._read(), f"ended without {text!r}: {self.shown!r}"

    def end(self) -> int:
        """Wait until the command ends, and return its exit code."""
        deadline = time.monotonic() + PATIENCE
        while self._read():
            assert time.monotonic() < deadline, f"it does not end: {self.shown!r}"
        return self.process.wait(PATIENCE)

    def _read(self) -> bool:
        try:
            ready, _, _ = select.select([self._master], [], [], PATIENCE)
            data = os.read(self._master, 65536) if ready else b""
        except OSError:  # the command has closed the terminal
            return False
        self._raw += data.decode("utf-8", "replace")
        return bool(data)


#: makes the terminal the controlling terminal, so that ^C reaches the program, then executes the program
_AT_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


def next_line(stream: IO[str] | None) -> Any:
    """Return the next line of JSON as soon as it comes; read no further."""
    assert stream is not None
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([stream], [], [], PATIENCE)
        assert ready, "no output came in time"
        piece = os.read(stream.fileno(), 1)
        assert piece, f"ended after {line!r}"
        line += piece
    return json.loads(line)
