"""The owner of a run: the serving process that works on it. Its name tells whether that process still lives."""

from __future__ import annotations

from typing import NamedTuple

from gateway.process import identity
from gateway.process.identity import Identity


class Owner(NamedTuple):
    """A serving process."""

    #: id of the instance; each start has a new one
    instance: str
    process: Identity

    def __str__(self) -> str:
        return f"{self.instance}@{self.process}"

    @classmethod
    def parse_owner(cls, text: str) -> Owner:
        instance, _, process = text.partition("@")
        return cls(instance, Identity.parse_identity(process))

    @property
    def is_alive(self) -> bool:
        return identity.is_alive(self.process)
