"""Reads and replaces the files of a service: its unit, other units like it, and what the service printed."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from gateway.errors import ConfigError
from service_templates import ServiceSpec

#: bytes that are read of the last line that a service printed
MAX_PRINTED_LINE_BYTES = 4096
#: errors of reading a file that does not exist
_MISSING_FILE_ERRORS = (FileNotFoundError, NotADirectoryError)


def read_content(file: Path) -> bytes | None:
    """Return the content of a file; None if it does not exist."""
    try:
        return file.read_bytes()
    except _MISSING_FILE_ERRORS:
        return None


def read_spec(file: Path, parse: Callable[[bytes], ServiceSpec]) -> ServiceSpec | None:
    """Return the spec of the unit in a file; None if the file does not exist.

    Raises:
        ConfigError: the file cannot be read, or was not written by Moongate.
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
    """Return the last line of a file; empty if the file has not changed since `since`, or does not exist."""
    try:
        if file.stat().st_mtime < since:
            return ""
        with file.open("rb") as opened:
            opened.seek(max(0, file.stat().st_size - MAX_PRINTED_LINE_BYTES))
            lines = opened.read(MAX_PRINTED_LINE_BYTES).decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def find_rivals(
    own: Path, directories: Iterable[Path], parse: Callable[[bytes], ServiceSpec], spec: ServiceSpec
) -> list[Path]:
    """Return units other than our own in some directories that would run a gateway with the same config."""
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
    """Replace the content of a file, as a whole or not at all; None removes the file."""
    if content is None:
        with contextlib.suppress(*_MISSING_FILE_ERRORS):
            file.unlink()
        return
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as draft:
        try:
            draft.write(content)
            draft.flush()
            os.fsync(draft.fileno())
            draft.close()  # Windows does not move an open file
            Path(draft.name).chmod(0o644)
            Path(draft.name).replace(file)
        except BaseException:
            with contextlib.suppress(OSError):  # on a full disk it fails again
                draft.close()
            Path(draft.name).unlink(missing_ok=True)
            raise
