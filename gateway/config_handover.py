"""The config on its way from a supervisor to a generation: what one reading found, in a file without a name.

The generation parses what the supervisor parsed, even if somebody edits the config file in between.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, MutableMapping
from typing import IO

import msgspec

from gateway.config import ConfigSources

#: environment variable with the number of the inherited descriptor; a supervisor of 0.1.0 does not set it
CONFIG_DESCRIPTOR_VARIABLE = "MOONGATE_CONFIG_FD"


@contextlib.contextmanager
def open_handover(sources: ConfigSources) -> Iterator[int]:
    """Write what a reading found into a file without a name; its descriptor is open for the time of the block.

    Raises:
        OSError: no descriptor or no space is left.
    """
    with _open_nameless_file() as file:
        file.write(msgspec.json.encode(sources))
        file.flush()
        file.seek(0)
        yield file.fileno()


def take_sources(env: MutableMapping[str, str]) -> ConfigSources | None:
    """Return what the supervisor handed over; None if it handed over nothing.

    The descriptor is closed and its variable removed: no child process is to inherit them.
    """
    descriptor = env.pop(CONFIG_DESCRIPTOR_VARIABLE, None)
    if descriptor is None:
        return None
    with os.fdopen(int(descriptor), "rb") as file:
        return msgspec.json.decode(file.read(), type=ConfigSources)


def _open_nameless_file() -> IO[bytes]:
    """Return a file that only this process and those that inherit it can read."""
    try:
        return os.fdopen(os.memfd_create("moongate-config"), "w+b")
    except (AttributeError, OSError):  # not every system has it
        import tempfile  # late: few need it, and the supervisor keeps all that it ever loads

        return tempfile.TemporaryFile()
