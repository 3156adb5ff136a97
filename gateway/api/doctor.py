"""Runs `gateway doctor` in a child process, so that a page can show its findings.

The doctor is a command: it loads all of the gateway, and reads files and probes programs as it goes, which must not
keep the event loop from answering.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from gateway import log
from gateway.domain.times import Clock
from gateway.errors import TimedOut, Unavailable
from gateway.process.child import NO_TERMINAL, OUTPUT_BUFFER_BYTES, Child, Children
from gateway.process.own_command import mean_this_machine, spell_own_command

#: seconds that the doctor may take
DOCTOR_TIMEOUT_SECONDS = 20.0
#: seconds that its findings are reused
DOCTOR_ANSWER_LIFETIME_SECONDS = 10.0
#: bytes of its findings
MAX_DOCTOR_OUTPUT_BYTES = 1 << 20

_REMEDY = "Run it on the gateway's machine: gateway doctor"
_log = log.get()


class DoctorFinding(Struct, frozen=True, kw_only=True):
    """What one check found."""

    #: what was checked
    check: str
    #: how bad that is
    level: Literal["ok", "warning", "error"]
    #: what is so
    finding: str
    #: why, if that is known
    cause: str | None = None
    #: the command or step that mends it
    remedy: str | None = None


class DoctorReport(Struct, frozen=True, kw_only=True):
    """The findings of all checks."""

    findings: list[DoctorFinding]
    #: when they were made, in milliseconds since 1970 UTC
    checked: int


class _DoctorOutput(Struct, frozen=True):
    """What `gateway doctor --json` prints."""

    findings: list[DoctorFinding]


class Doctor:
    """Examines this gateway, once at a time. Requests that come meanwhile, and shortly after, share the findings.

    An async context manager; its end ends the child process.
    """

    def __init__(self, children: Children, environ: Mapping[str, str], home: Path, clock: Clock) -> None:
        """Args:
        environ: the whole environment of the gateway, which names its config and its state directory.
        home: the state directory, where the child works if the gateway's own directory is gone.
        """
        self._children = children
        self._environ = {**mean_this_machine(environ), **NO_TERMINAL}
        self._home = home
        self._clock = clock
        self._task: asyncio.Task[DoctorReport] | None = None
        self._ended_at = -math.inf

    async def __aenter__(self) -> Doctor:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def examine_gateway(self) -> DoctorReport:
        """Return the findings.

        Raises:
            TimedOut: the doctor has taken too long.
            Unavailable: it has failed.
            AgentError, Exhausted: it cannot be started.
        """
        task = self._task
        if task is None or (task.done() and time.monotonic() - self._ended_at >= DOCTOR_ANSWER_LIFETIME_SECONDS):
            task = self._task = asyncio.create_task(self._run_doctor(), name="doctor")
            task.add_done_callback(self._note_end)
        return await asyncio.shield(task)

    def _note_end(self, task: asyncio.Task[DoctorReport]) -> None:
        failed = task.cancelled() or task.exception() is not None
        self._ended_at = -math.inf if failed else time.monotonic()  # a failure is not kept

    async def _run_doctor(self) -> DoctorReport:
        checked = self._clock()
        child: Child | None = None
        try:
            async with asyncio.timeout(DOCTOR_TIMEOUT_SECONDS):
                child = await self._children.spawn_child(
                    spell_own_command("doctor", "--json"),
                    cwd=self._find_directory(),
                    env=self._environ,
                )
                child.close_stdin()
                output = await _read_output(child)
                await child.wait_ended()
        except TimeoutError:
            raise TimedOut(
                f"gateway doctor has taken more than {DOCTOR_TIMEOUT_SECONDS:g} s.", remedy=_REMEDY
            ) from None
        finally:
            if child is not None:
                await child.stop_group()
        return DoctorReport(findings=_parse_findings(output, child), checked=checked)

    def _find_directory(self) -> str:
        """Return the gateway's own working directory: paths in its environment may be relative to it."""
        with contextlib.suppress(OSError):
            return os.getcwd()
        return str(self._home)


async def _read_output(child: Child) -> bytes:
    output = bytearray()
    while data := await child.stdout.read(OUTPUT_BUFFER_BYTES):
        output += data
        if len(output) > MAX_DOCTOR_OUTPUT_BYTES:
            raise Unavailable("gateway doctor has found too much to show.", remedy=_REMEDY)
    return bytes(output)


def _parse_findings(output: bytes, child: Child) -> list[DoctorFinding]:
    try:
        return msgspec.json.decode(output, type=_DoctorOutput).findings
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _log.warning("doctor.failed", code=child.returncode, stderr=child.stderr_tail())
        raise Unavailable("gateway doctor has failed; the log says why.", remedy=_REMEDY) from error
