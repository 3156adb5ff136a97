"""The config on its way from a supervisor to a generation: what one reading found, in a file without a name.

The generation parses what the supervisor parsed, even if somebody edits the config file in between.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping, MutableMapping
from typing import IO, NamedTuple

import msgspec

from gateway.config import ConfigSources

#: environment variable with the number of the inherited descriptor; a supervisor of 0.1.0 does not set it
CONFIG_DESCRIPTOR_VARIABLE = "MOONGATE_CONFIG_FD"


class LateStart(NamedTuple):
    """What a process gets that was started before its supervisor had these."""

    #: bound
    listener: socket.socket
    env: dict[str, str]
    sources: ConfigSources


@contextlib.contextmanager
def open_handover(sources: ConfigSources) -> Iterator[int]:
    """Write what a reading found into a file without a name; its descriptor is open for the time of the block.

    Raises:
        OSError: no descriptor or no space is left.
    """
    with _open_nameless_file() as file:
        _write_content(file, msgspec.json.encode(sources))
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


def send_start(line: socket.socket, listener: socket.socket, env: Mapping[str, str], sources: ConfigSources) -> None:
    """Send a process that waits in `receive_start` what it needs to serve.

    Args:
        line: our end of its control channel; blocking.

    Raises:
        OSError: it has ended, or no descriptor or no space is left.
    """
    with open_handover(sources) as handover, _open_nameless_file() as file:
        _write_content(file, b"\0".join(os.fsencode(f"{name}={value}") for name, value in env.items()))
        socket.send_fds(line, [b"\0"], [listener.fileno(), handover, file.fileno()])


def receive_start(line: socket.socket) -> LateStart | None:
    """Wait for what `send_start` sends; return None if the supervisor has ended."""
    data, descriptors, _, _ = socket.recv_fds(line, 1, 3)
    if not data:
        return None
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    listener, handover, environment = descriptors
    with os.fdopen(handover, "rb") as file:
        sources = msgspec.json.decode(file.read(), type=ConfigSources)
    with os.fdopen(environment, "rb") as file:
        pairs = [pair.partition(b"=") for pair in file.read().split(b"\0")]
    env = {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs if name}
    return LateStart(socket.socket(fileno=listener), env, sources)


def _write_content(file: IO[bytes], content: bytes) -> None:
    file.write(content)
    file.flush()
    file.seek(0)


def _open_nameless_file() -> IO[bytes]:
    """Return a file that only this process and those that inherit it can read."""
    try:
        return os.fdopen(os.memfd_create("moongate-config"), "w+b")
    except (AttributeError, OSError):  # not every system has it
        import tempfile  # late: few need it, and the supervisor keeps all that it ever loads

        return tempfile.TemporaryFile()
