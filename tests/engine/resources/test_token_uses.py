"""When tokens were last used: kept in memory until the disk has it."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.domain.token import TokenUse
from gateway.engine.resources.token_uses import TokenUses
from gateway.errors import Unavailable


class Disk:
    """Keeps uses, unless it is full."""

    def __init__(self) -> None:
        self.kept: dict[str, TokenUse] = {}
        self.is_full = False
        self.writes = 0

    async def save_uses(self, uses: Sequence[TokenUse]) -> None:
        if self.is_full:
            raise Unavailable("the disk is full.")
        self.writes += 1
        self.kept |= {use.token: use for use in uses}

    async def list_uses(self) -> Sequence[TokenUse]:
        return list(self.kept.values())


def make(disk: Disk, moment: list[int]) -> TokenUses:
    return TokenUses(cast("Any", SimpleNamespace(tokens=disk)), lambda: moment[0])


async def test_a_full_disk_loses_no_use_and_later_ones_count() -> None:
    moment = [1]
    disk = Disk()
    uses = make(disk, moment)
    uses.note_use("a", "::1", "")
    uses.note_use("b", "::1", "")
    disk.is_full = True
    with pytest.raises(Unavailable):
        await uses.store_uses()
    moment[0] = 2
    uses.note_use("a", "::2", "")
    disk.is_full = False
    await uses.store_uses()

    assert {use.token: use.at for use in disk.kept.values()} == {"a": 2, "b": 1}


async def test_many_requests_are_one_write_and_none_without_requests() -> None:
    disk = Disk()
    uses = make(disk, [1])
    for _ in range(1000):
        uses.note_use("a", "::1", "")
    for _ in range(3):
        await uses.store_uses()

    assert disk.writes == 1


async def test_the_later_use_is_shown_whoever_stored_it() -> None:
    disk = Disk()
    uses = make(disk, [5])
    disk.kept["a"] = TokenUse(token="a", at=9, address="elsewhere", client="")
    disk.kept["b"] = TokenUse(token="b", at=1, address="elsewhere", client="")
    uses.note_use("a", "here", "")
    uses.note_use("b", "here", "")

    assert {token: use.address for token, use in (await uses.list_uses()).items()} == {"a": "elsewhere", "b": "here"}
