"""The contents of files move with their rows."""

from __future__ import annotations

import hashlib
from pathlib import Path

from gateway.domain.ports.file_store import ContentStore
from gateway.store.moving import contents
from tests.support import postgres


def put(store: ContentStore, data: bytes) -> str:
    draft = store.open_draft()
    draft.write(data)
    sha256 = draft.finish()
    draft.discard()
    return sha256


async def test_contents_are_the_same_there_and_back(tmp_path: Path) -> None:
    url = postgres.shared_server().url(postgres.create_database())
    before, after = contents.open_directory(tmp_path / "before"), contents.open_directory(tmp_path / "after")
    large = put(before, b"x" * 3_000_000)
    hashes = [put(before, b""), put(before, b"small"), large]
    told: list[str] = []
    async with contents.open_server(url, tmp_path / "there") as server:
        assert await contents.copy_contents(before, server, hashes, told.append) == []
        assert await contents.copy_contents(before, server, hashes, told.append) == []  # all are there already
    async with contents.open_server(url, tmp_path / "back") as server:
        assert await contents.copy_contents(server, after, hashes, told.append) == []

    for sha256 in hashes:
        assert hashlib.sha256((await after.fetch(sha256)).read_bytes()).hexdigest() == sha256
    assert told[2] == "copying files: 2 of 3"


async def test_a_content_that_is_gone_or_damaged_is_named_and_the_others_are_copied(tmp_path: Path) -> None:
    url = postgres.shared_server().url(postgres.create_database())
    before = contents.open_directory(tmp_path / "before")
    good, damaged, gone = put(before, b"good"), put(before, b"damaged"), hashlib.sha256(b"gone").hexdigest()
    (await before.fetch(damaged)).chmod(0o600)
    (await before.fetch(damaged)).write_bytes(b"other")
    async with contents.open_server(url, tmp_path / "there") as server:
        missing = await contents.copy_contents(before, server, [gone, damaged, good], [].append)
        there = [sha256 for found in server.list_contents() for sha256 in found]

    assert missing == [gone, damaged]
    assert good in there
