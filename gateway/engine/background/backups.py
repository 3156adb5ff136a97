"""Makes a backup every so many hours, while this process leads. A child process makes it: here, nothing waits for it.

When the next one is due follows from the last one, so that a restart neither makes one too many nor one too few.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from gateway import log
from gateway.backup import keeping, status
from gateway.backup.status import BackupStatus
from gateway.domain.times import Clock
from gateway.engine.service_loop import ServiceLoop, log_errors
from gateway.errors import GatewayError, TimedOut, Unavailable
from gateway.process.child import NO_TERMINAL, OUTPUT_BUFFER_BYTES, Child, Children
from gateway.process.own_command import mean_this_machine, spell_own_command

#: seconds that a backup may take
BACKUP_TIMEOUT_SECONDS = 12 * 3600.0
#: seconds until a backup that failed is tried again, and seconds that a start has before the first one
BACKUP_RETRY_SECONDS, FIRST_BACKUP_DELAY_SECONDS = 900.0, 60.0
#: seconds after which the clock is read again: it may be set forward
MAX_BACKUP_SLEEP_SECONDS = 600.0
#: bytes of what the command prints
MAX_BACKUP_OUTPUT_BYTES = 4 << 20

_log = log.get()


class BackupPlan(Struct, frozen=True, kw_only=True):
    """When backups are made, and where."""

    directory: Path
    #: the state directory
    home: Path
    #: milliseconds between two backups
    every: int
    #: how many are kept
    keep: int
    secrets: bool


class _BackupOutput(Struct, frozen=True):
    """What `gateway backup --json` prints."""

    file: str
    bytes: int
    lost: int


class Backups:
    """The service that makes backups."""

    def __init__(
        self,
        plan: BackupPlan,
        children: Children,
        environ: Mapping[str, str],
        clock: Clock,
        first_delay: float = FIRST_BACKUP_DELAY_SECONDS,
    ) -> None:
        """Args:
        environ: the whole environment of the gateway, which names its config and its state directory.
        first_delay: seconds after a start before it makes one: a gateway that starts has enough to do.
        """
        self._plan = plan
        self._children = children
        self._environ = {**mean_this_machine(environ), **NO_TERMINAL}
        self._clock = clock
        self._first_delay = first_delay
        self._loop: ServiceLoop | None = None

    def start(self) -> None:
        """Make backups from now on."""
        self._loop = ServiceLoop(
            "backups",
            self.make_due_backup,
            log_errors("backup.failed", "backup.broke"),
            retry_seconds=BACKUP_RETRY_SECONDS,
        )
        self._loop.start(delay=self._first_delay)

    async def stop(self) -> None:
        """End the loop, and the backup that is being made: nothing is left of it. Stopping twice is fine."""
        if self._loop is not None:
            await self._loop.stop()

    async def make_due_backup(self) -> float:
        """Make a backup if one is due. Returns the seconds until the service looks again."""
        due = await asyncio.to_thread(find_due_time, self._plan, self._clock())
        if (wait := (due - self._clock()) / 1000) > 0:
            return min(wait, MAX_BACKUP_SLEEP_SECONDS)
        began = time.monotonic()
        try:
            await asyncio.to_thread(_require_directory, self._plan)
            made = await self._run_command()
        except GatewayError as error:
            await asyncio.to_thread(status.record_failure, self._plan.home, error.message)
            raise
        _log.info("backup.made", file=made.file, bytes=made.bytes, seconds=round(time.monotonic() - began, 1))
        if made.lost:
            _log.warning("backup.incomplete", file=made.file, lost=made.lost)
        removed = await asyncio.to_thread(_remove_old_backups, self._plan, Path(made.file))
        for file in removed:
            _log.info("backup.removed", file=str(file))
        return min(self._plan.every / 1000, MAX_BACKUP_SLEEP_SECONDS)

    async def _run_command(self) -> _BackupOutput:
        """Run `gateway backup`.

        Raises:
            TimedOut: it has taken too long.
            Unavailable: it failed; the message says why.
            AgentError, Exhausted: it cannot be started.
        """
        child: Child | None = None
        options = ["--secrets"] if self._plan.secrets else []
        try:
            async with asyncio.timeout(BACKUP_TIMEOUT_SECONDS):
                child = await self._children.spawn_child(
                    spell_own_command("backup", str(self._plan.directory), "--for", "plan", "--json", *options),
                    cwd=str(self._plan.home),
                    env=self._environ,
                )
                child.close_stdin()
                output = bytearray()
                while data := await child.stdout.read(OUTPUT_BUFFER_BYTES):
                    output += data[: MAX_BACKUP_OUTPUT_BYTES - len(output)]
                await child.wait_ended()
        except TimeoutError:
            raise TimedOut(f"the backup has taken more than {BACKUP_TIMEOUT_SECONDS / 3600:g} hours.") from None
        finally:
            if child is not None:
                await child.stop_group()
        if child.returncode != 0:
            raise Unavailable(_find_reason(child.stderr_tail()))
        try:
            return msgspec.json.decode(output, type=_BackupOutput)
        except msgspec.DecodeError as error:
            raise Unavailable(f"the command gateway backup did not say what it made: {error}.") from error


def find_due_time(plan: BackupPlan, now: int) -> int:
    """Return when the next backup is due, in milliseconds since 1970 UTC."""
    found = status.read_backup_status(plan.home)
    last = _find_last_success(plan, found)
    due = now if last is None else min(last, now) + plan.every
    failure = found.failure_since
    if failure is not None and failure.at <= now:
        due = max(due, failure.at + round(BACKUP_RETRY_SECONDS * 1000))
    return due


def _require_directory(plan: BackupPlan) -> None:
    """Check that the directory of earlier backups has not gone: it may be on a disk that is not mounted.

    Raises:
        Unavailable: it has.
    """
    success = status.read_backup_status(plan.home).last_success
    if success is not None and os.path.dirname(success.file) == str(plan.directory) and not plan.directory.exists():
        raise Unavailable(
            f"the directory {plan.directory} of the earlier backups has gone.",
            remedy="Mount its disk, or make the directory again.",
        )


def _remove_old_backups(plan: BackupPlan, newest: Path) -> Sequence[Path]:
    installation = status.read_backup_status(plan.home).installation
    return keeping.remove_old_backups(plan.directory, installation, plan.keep, newest)


def _find_last_success(plan: BackupPlan, found: BackupStatus) -> int | None:
    """Return when the last full backup in the directory was made. One that has been removed does not count."""
    newest = next(keeping.list_planned_backups(plan.directory, found.installation), None)
    moment = None if newest is None else keeping.read_moment(newest)
    moments = [] if moment is None else [moment]
    success = found.last_success
    if success is not None and os.path.dirname(success.file) == str(plan.directory) and os.path.exists(success.file):
        moments.append(success.at)
    return max(moments, default=None)


def _find_reason(said: str) -> str:
    """Return what the command said last, on one line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1][:500] if lines else "the command gateway backup failed without a word."
