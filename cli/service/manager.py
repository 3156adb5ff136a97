"""How a system looks after the gateway: what its service managers promise, and what they share.

A manager is one file here, with one class that keeps the protocol below for one service; the unit's
text comes from `service_templates`. `cli/service/unit.py` chooses among them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from cli.command import Interrupted
from gateway.errors import ConfigError, GatewayError, Unavailable
from service_templates import ServiceSpec

#: seconds that a manager's own command may take
PATIENCE = 90.0
#: what to do without a service
OTHERWISE = "Without a service: gateway start"
#: what to do about a file that cannot be written
UNWRITTEN = "See who may write there, and whether the disk is full."
#: bytes of a line that a service printed, at most
LINE = 4096
#: seconds between looks at what a manager was asked for
LOOK = 0.05
#: what reading a file raises that is not there
_ABSENT = (FileNotFoundError, NotADirectoryError)


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


#: runs a command of the service manager to its end, with an environment, within so many seconds
Run = Callable[[Sequence[str], Mapping[str, str], float], Done]


class Site(NamedTuple):
    """Which service is meant: the one of a config, of a user or of the whole system."""

    #: as `ServiceSpec` has it
    suffix: str
    #: as `ServiceSpec` has it
    system: bool
    #: name of the user that the gateway runs as
    user: str
    #: as `ServiceSpec` has it
    output: str
    #: the user's environment
    env: Mapping[str, str]


class Step(NamedTuple):
    """One step of an installation or a removal, that can be taken back."""

    #: what it does, for messages: "enable the service"
    name: str
    #: as a user would type it, for --dry-run
    shown: str
    do: Callable[[], None]
    #: makes things as they were before `do`; also called when `do` failed half way
    undo: Callable[[], None]
    #: what to do when it fails
    remedy: str


class Status(NamedTuple):
    """How the manager sees the service."""

    #: the manager's own word
    state: str
    running: bool
    pid: int | None
    #: whether it starts by itself, at login or at boot
    enabled: bool


class Manager(Protocol):
    """Looks after one service, installed or not. Made from a `Site` and a `Run`."""

    #: what people call it
    name: str

    @property
    def service(self) -> str:
        """What it calls the service."""

    @property
    def file(self) -> Path:
        """Where the unit is, once it is installed."""

    @property
    def present(self) -> bool:
        """Whether anything of it is on disk, as when its unit alone was deleted by hand."""

    @property
    def journal(self) -> str:
        """The command that shows what the service printed: why it could not begin, say."""

    def printed(self, since: float) -> str:
        """Return the last line that the service printed since then; empty if there is none, or nobody kept it.

        Args:
            since: seconds since 1970 UTC.
        """

    def require(self) -> None:
        """See that the manager is there, and can be talked to.

        Raises:
            Unavailable: it is not; the remedy says what to do instead.
        """

    def render(self, spec: ServiceSpec) -> bytes:
        """Return the unit as it is to be on disk.

        Raises:
            ConfigError: the manager cannot carry it.
        """

    def installed(self) -> ServiceSpec | None:
        """Return what is installed; None if nothing is.

        Raises:
            ConfigError: what is there was not written by us.
        """

    def installation(self, spec: ServiceSpec, *, start: bool = True) -> list[Step]:
        """Return the steps that install it, or put another unit in its place, and start it anew.

        Args:
            start: whether to start it; without, what runs goes on as it is.
        """

    def removal(self) -> list[Step]:
        """Return the steps that stop it and leave nothing of it."""

    def status(self) -> Status:
        """Tell how it is; of one that is not installed, too."""

    def start(self) -> None:
        """Have it started."""

    def stop(self, *, force: bool = False) -> None:
        """Have it stopped, and not started again until the next login; returns when it has ended.

        Args:
            force: kill it at once.
        """

    def rivals(self, spec: ServiceSpec) -> list[Path]:
        """Return other units that would run a gateway with the same config."""

    def hints(self) -> list[str]:
        """Return what the user should know after an installation, a line each."""


def call(words: Sequence[str], env: Mapping[str, str], patience: float) -> Done:
    """Run a command to its end: the usual `Run`.

    Raises:
        Unavailable: there is no such command, or it does not end.
    """
    try:
        program = shutil.which(words[0], path=env.get("PATH")) or words[0]
        done = subprocess.run(
            [program, *words[1:]],
            env=dict(env),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=patience,
            check=False,
        )
    except OSError as error:
        raise Unavailable(f"cannot run {words[0]}: {error.strerror}.") from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{' '.join(words)} did not end within {patience:g} s.") from error
    return Done(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))


def said(done: Done) -> str:
    """Return what a command had to say about its failure."""
    return done.err.strip() or done.out.strip() or f"exit code {done.code}"


def content(file: Path) -> bytes | None:
    """Return what is in a unit's file; None if there is none."""
    try:
        return file.read_bytes()
    except _ABSENT:
        return None


def read(file: Path, parse: Callable[[bytes], ServiceSpec]) -> ServiceSpec | None:
    """Return what the unit in a file says; None if there is none.

    Raises:
        ConfigError: it cannot be read, or was not written by us.
    """
    try:
        data = content(file)
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}.") from error
    try:
        return None if data is None else parse(data)
    except ValueError as error:
        raise ConfigError(f"{file}: {error}", remedy="Move it away if it is yours, then: gateway install") from error


def last_line(file: Path, since: float) -> str:
    """Return the last line of a file that was written to since then; empty if there is none."""
    try:
        if file.stat().st_mtime < since:
            return ""
        with file.open("rb") as opened:
            opened.seek(max(0, file.stat().st_size - LINE))
            lines = opened.read(LINE).decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def rivals(
    own: Path, directories: Iterable[Path], parse: Callable[[bytes], ServiceSpec], spec: ServiceSpec
) -> list[Path]:
    """Return units beside our own, of its kind, that would run a gateway with the same config."""
    found = []
    for directory in dict.fromkeys(directories):
        with contextlib.suppress(OSError):
            found += [file for file in sorted(directory.glob(f"*{own.suffix}")) if file != own]
    return [file for file in found if _same_config(file, parse, spec)]


def _same_config(file: Path, parse: Callable[[bytes], ServiceSpec], spec: ServiceSpec) -> bool:
    try:
        other = parse(file.read_bytes())
    except (OSError, ValueError):
        return False
    return (other.directory, other.environment) == (spec.directory, spec.environment)


def wait(met: Callable[[], bool], patience: float) -> bool:
    """Wait until something is so, at most so many seconds; returns whether it is."""
    deadline = time.monotonic() + patience
    while not met():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK)
    return True


def put(file: Path, content: bytes | None) -> None:
    """Make a unit's file what it is to be, whole or not at all; None removes it."""
    if content is None:
        with contextlib.suppress(*_ABSENT):
            file.unlink()
        return
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as draft:
        try:
            draft.write(content)
            draft.flush()
            os.fsync(draft.fileno())
            draft.close()  # Windows moves no file that is open
            Path(draft.name).chmod(0o644)
            Path(draft.name).replace(file)
        except BaseException:
            with contextlib.suppress(OSError):  # on a full disk it fails once more
                draft.close()
            Path(draft.name).unlink(missing_ok=True)
            raise


def nothing() -> None:
    """Nothing is to be taken back."""


def carry_out(steps: Iterable[Step], say: Callable[[str], None] = lambda _: None) -> None:
    """Take all steps, or none: at the first that fails, those before it are taken back.

    Args:
        say: told what is done now.

    Raises:
        GatewayError: a step failed; the message names it, and the remedy says what to do.
        Interrupted: Ctrl-C; all was taken back.
    """
    taken: list[Step] = []
    for step in steps:
        taken.append(step)
        try:
            say(step.name)
            step.do()
        except (GatewayError, OSError, ValueError) as error:
            after = _take_back(taken, say)
            raise GatewayError(f"cannot {step.name}: {error}", remedy=f"{after}\n{step.remedy}") from error
        except KeyboardInterrupt:
            raise Interrupted("Interrupted.", remedy=_take_back(taken, say)) from None


def _take_back(taken: Sequence[Step], say: Callable[[str], None]) -> str:
    """Undo steps, the last one first; return how things are afterwards."""
    say("put everything back")
    left = []
    for step in reversed(taken):
        undone = False
        with contextlib.suppress(GatewayError, OSError, ValueError, KeyboardInterrupt):  # the rest is undone still
            step.undo()
            undone = True
        if not undone:
            left.append(step.name)
    return f"Left undone: {', '.join(left)}." if left else "Everything is as it was before."
