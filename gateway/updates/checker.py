"""Asks for a newer version so often as the settings say, with the command that people use: `gateway update --check`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path

from gateway import log
from gateway.process.own_environment import find_own_executable
from gateway.updates.status import now_ms, read_update_status

#: seconds after the start before the first question, at least: a gateway that starts has enough to do
FIRST_CHECK_SECONDS = 60.0
#: seconds that one question may take
CHECK_TIMEOUT_SECONDS = 300.0

_log = log.get()


async def check_regularly(home: Path, environ: Mapping[str, str], seconds: float) -> None:
    """Ask for a newer version again and again, until this is cancelled.

    Args:
        seconds: between two questions, also over restarts.
    """
    while True:
        await asyncio.sleep(max(FIRST_CHECK_SECONDS, seconds_until_due(home, seconds)))
        try:
            await ask_once(environ)
        except OSError as error:  # no process is left
            _log.warning("update.unchecked", error=str(error))
        status = read_update_status(home)
        if status is not None and status.error is not None:
            _log.warning("update.unchecked", error=status.error)


def seconds_until_due(home: Path, seconds: float) -> float:
    """Return the seconds until the next question is due."""
    status = read_update_status(home)
    return 0.0 if status is None else min(seconds, seconds - (now_ms() - status.checked_at) / 1000)


async def ask_once(environ: Mapping[str, str]) -> None:
    """Ask once; the command stores what it finds. The process does not outlive this call.

    Raises:
        OSError: it cannot be started.
    """
    process = await asyncio.create_subprocess_exec(
        *(find_own_executable(), "-P", "-m", "cli.main", "update", "--check", "--json"),
        env=dict(environ),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            await process.wait()
    except TimeoutError:
        _log.warning("update.unchecked", error=f"no answer within {CHECK_TIMEOUT_SECONDS:g} s")
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
