"""Who works on a run: one serving process, named so that it can be told whether it still lives."""

from __future__ import annotations

from typing import NamedTuple

from gateway.process import identity
from gateway.process.identity import Identity


class Owner(NamedTuple):
    """A serving process."""

    #: id of the instance, new with each start
    instance: str
    process: Identity

    def __str__(self) -> str:
        return f"{self.instance}@{self.process}"

    @classmethod
    def parse(cls, text: str) -> Owner:
        instance, _, process = text.partition("@")
        return cls(instance, Identity.parse(process))

    @property
    def alive(self) -> bool:
        return identity.alive(self.process)
