"""Runs the commands of a service manager, such as `systemctl`, and waits for their effects."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from gateway.errors import Unavailable

#: seconds that a command of a manager may take
MANAGER_TIMEOUT_SECONDS = 90.0
#: seconds between two looks at whether a command has had its effect
MANAGER_POLL_SECONDS = 0.05


class CommandResult(NamedTuple):
    """The result of a command."""

    code: int
    out: str
    err: str


#: runs a command to its end; called with its words, environment and timeout in seconds
CommandRunner = Callable[[Sequence[str], Mapping[str, str], float], CommandResult]


def run_command(words: Sequence[str], env: Mapping[str, str], timeout_seconds: float) -> CommandResult:
    """Run a command to its end. This is the usual `CommandRunner`.

    Raises:
        Unavailable: there is no such command, or it does not end in time.
    """
    try:
        program = shutil.which(words[0], path=env.get("PATH")) or words[0]
        done = subprocess.run(
            [program, *words[1:]],
            env=dict(env),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout_seconds,
            check=False,
        )
    except OSError as error:
        raise Unavailable(f"cannot run {words[0]}: {error.strerror}.") from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{' '.join(words)} did not end within {timeout_seconds:g} s.") from error
    return CommandResult(
        done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    )


def describe_failure(done: CommandResult) -> str:
    """Return what a failed command printed; its exit code if it printed nothing."""
    return done.err.strip() or done.out.strip() or f"exit code {done.code}"


def wait_until(met: Callable[[], bool], timeout_seconds: float) -> bool:
    """Wait until a condition is met, for at most `timeout_seconds` seconds. Returns whether it is met."""
    deadline = time.monotonic() + timeout_seconds
    while not met():
        if time.monotonic() > deadline:
            return False
        time.sleep(MANAGER_POLL_SECONDS)
    return True
