"""The record that a running gateway writes into its lock file. Information only: the kernel lock counts.

Standard library only, so that `gateway status` is quick.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from gateway import private_file
from gateway.process import identity
from gateway.process.identity import Identity

#: bytes of a lock file that are read
MAX_RECORD_BYTES = 64 * 1024
#: number of reads of an invalid record: another process may be writing it
MAX_RECORD_READS = 3


class Record(NamedTuple):
    """The fields of the seed's lock file, and fields that detect a recycled PID."""

    pid: int
    #: start of the gateway, in milliseconds since 1970 UTC
    createdAt: int  # noqa: N815 the seed's name
    configPath: str  # noqa: N815
    #: start time of the process in the system's own unit
    startTime: str  # noqa: N815
    bootId: str  # noqa: N815
    #: id of this start
    instance: str
    host: str
    port: int
    version: str

    @property
    def process_identity(self) -> Identity:
        return Identity(self.pid, self.startTime, self.bootId)

    @property
    def is_alive(self) -> bool:
        """Whether the process that wrote this record still runs."""
        return identity.is_alive(self.process_identity)

    def encode_line(self) -> bytes:
        return json.dumps(self._asdict()).encode() + b"\n"


def read_record(path: Path) -> Record | None:
    """Return the record in a lock file; None if there is no file or no valid record.

    This takes no lock and changes nothing, and does not follow a link.
    """
    for _ in range(MAX_RECORD_READS):
        try:
            found = parse_record(private_file.read_private_file(path, MAX_RECORD_BYTES))
        except OSError:
            return None
        if found is not None:
            return found
    return None


def parse_record(data: bytes) -> Record | None:
    try:
        found = json.loads(data)
        record = Record(**found)
    except (ValueError, TypeError, RecursionError):
        return None
    numbers = {"pid", "createdAt", "port"}
    fits = all(type(value) is (int if name in numbers else str) for name, value in record._asdict().items())
    return record if fits and record.pid > 0 else None
