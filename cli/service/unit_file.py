"""The unit's file on disk: reads and replaces it, finds other units like it, and reads what a service printed."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from gateway.errors import ConfigError
from service_templates import ServiceSpec

#: bytes of a line that a service printed, at most
LINE = 4096
#: what reading a file raises that is not there
_ABSENT = (FileNotFoundError, NotADirectoryError)


def read_content(file: Path) -> bytes | None:
    """Return what is in a unit's file; None if there is none."""
    try:
        return file.read_bytes()
    except _ABSENT:
        return None


def read_spec(file: Path, parse: Callable[[bytes], ServiceSpec]) -> ServiceSpec | None:
    """Return what the unit in a file says; None if there is none.

    Raises:
        ConfigError: it cannot be read, or was not written by us.
    """
    try:
        data = read_content(file)
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}.") from error
    try:
        return None if data is None else parse(data)
    except ValueError as error:
        raise ConfigError(f"{file}: {error}", remedy="Move it away if it is yours, then: gateway install") from error


def read_last_line(file: Path, since: float) -> str:
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


def find_rivals(
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


def replace_content(file: Path, content: bytes | None) -> None:
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
