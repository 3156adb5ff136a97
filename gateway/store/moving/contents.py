"""Copies the contents of files from one store to the other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

from gateway.domain.ports.file_store import ContentStore
from gateway.store.file_directory import FileDirectory

#: bytes that are read of a content at once
COPY_BYTES = 1 << 20
#: name of the process that copies, where drafts are
COPIER_NAME = "copy"


async def copy_contents(
    source: ContentStore, target: ContentStore, hashes: Iterable[str], report: Callable[[str], None]
) -> list[str]:
    """Copy contents that the target has not got yet. Returns those that the source has not got.

    Raises:
        OSError, StorageFull, Unavailable: a disk or the database refuses; the copy can go on later.
    """
    wanted = list(hashes)
    there = {sha256 for found in target.list_contents() for sha256 in found}
    missing = []
    for done, sha256 in enumerate(wanted):
        report(f"copying files: {done:,} of {len(wanted):,}")
        if sha256 not in there and not await _copy_content(source, target, sha256):
            missing.append(sha256)
    return missing


async def _copy_content(source: ContentStore, target: ContentStore, sha256: str) -> bool:
    path = await source.fetch(sha256)
    if not path.is_file():
        return False
    return await asyncio.to_thread(_write_content, path, target, sha256)


def _write_content(path: Path, target: ContentStore, sha256: str) -> bool:
    """Return whether what the source has is what it should be."""
    draft = target.open_draft()
    try:
        with path.open("rb") as reading:
            while data := reading.read(COPY_BYTES):
                draft.write(data)
        return draft.finish() == sha256
    finally:
        draft.discard()


def open_directory(directory: Path) -> FileDirectory:
    """Return the contents next to a SQLite file. Nobody else uses them."""
    return FileDirectory(directory / "files", COPIER_NAME, lambda _: False)


@contextlib.asynccontextmanager
async def open_server(url: str, directory: Path) -> AsyncIterator[ContentStore]:
    """Open the contents in a database. Args: directory: where copies are kept on this machine."""
    from gateway.store.postgres.content_cache import ContentCache
    from gateway.store.postgres.contents import PostgresContents

    cache = ContentCache(FileDirectory(directory / "file-cache", COPIER_NAME, lambda _: False))
    contents = PostgresContents(url, cache)
    try:
        yield contents
    finally:
        await asyncio.to_thread(contents.close)
