"""Asks a program for its version."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from gateway.errors import AgentError, TimedOut
from gateway.process.child import Children
from gateway.process.terminal_text import clean_bytes

#: seconds that a program has to tell its version
VERSION_TIMEOUT_SECONDS = 10.0
#: bytes of the answer that are read
MAX_VERSION_BYTES = 1024


class NoVersion(AgentError):
    """The program works, and does not know `--version`."""


async def ask_version(children: Children, command: Sequence[str], env: Mapping[str, str]) -> str:
    """Return what a program prints for `--version`.

    Raises:
        NoVersion: it has no such option.
        AgentError: it cannot be started, fails, or says nothing.
        TimedOut: it does not end in time.
    """
    child = await children.spawn_child([*command, "--version"], cwd="/", env=env)
    try:
        child.close_stdin()
        async with asyncio.timeout(VERSION_TIMEOUT_SECONDS):
            said = await child.stdout.read(MAX_VERSION_BYTES)
            code = await child.wait_ended()
    except TimeoutError as error:
        raise TimedOut(f"`{' '.join(command)} --version` does not end.") from error
    finally:
        await child.stop_group()
    version = clean_bytes(said).strip()
    if code != 0 and "--version" in child.stderr_tail():  # codex-acp of Zed: "unexpected argument '--version' found"
        raise NoVersion(f"`{command[0]}` does not know --version.")
    if code != 0 or not version:
        raise AgentError(f"`{' '.join(command)} --version` fails: {child.stderr_tail()}")
    return version
