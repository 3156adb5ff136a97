"""The file `update-status.json` in the state directory: what the last question about newer versions found.

`gateway update --check` writes it; status, doctor and alerts read it.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec
from msgspec import Struct

from gateway import paths, private_file

_MAX_UPDATE_STATUS_BYTES = 64 * 1024


class UpdateStatus(Struct, frozen=True):
    """What the last question about newer versions found. Other fields, which other versions write, are no fault."""

    #: when it was asked, in milliseconds since 1970 UTC
    checked_at: int
    #: the newest released version that is known, if the last question failed that of an earlier one; None without one
    latest: str | None = None
    #: why the last question failed; None if it did not
    error: str | None = None


def write_update_status(home: Path, status: UpdateStatus) -> None:
    """Write the file; if that fails, the next question writes it."""
    with contextlib.suppress(OSError):
        private_file.replace_private_file(paths.update_status_file(home), msgspec.json.encode(status), durable=False)


def read_update_status(home: Path) -> UpdateStatus | None:
    """Return what the file says; None if nobody asked, or the file cannot be read."""
    try:
        found = private_file.read_private_file(paths.update_status_file(home), _MAX_UPDATE_STATUS_BYTES)
        return msgspec.json.decode(found, type=UpdateStatus)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
