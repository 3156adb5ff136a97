"""The files of this gateway: received, found, read and deleted here."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gateway.domain.file import File, FileLimits, StoredFile
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.ports.file_store import ContentStore, StagedFile
from gateway.domain.ports.store import Store
from gateway.domain.times import Clock
from gateway.engine.file_staging import WRITING_THREADS, Staging, remove_unowned
from gateway.errors import FileUnknown, explain_disk_error


class Files:
    """Receives, finds and deletes files."""

    def __init__(
        self,
        store: Store,
        contents: ContentStore,
        limits: FileLimits,
        clock: Clock,
        threads: ThreadPoolExecutor | None = None,
    ) -> None:
        """Args: threads: those that write to the disk; new ones if not given."""
        self._store = store
        self._contents = contents
        self._clock = clock
        self._threads = threads or ThreadPoolExecutor(WRITING_THREADS, thread_name_prefix="files")
        self.limits = limits

    def with_store(self, store: Store) -> Files:
        """Return the same on top of another store."""
        return Files(store, self._contents, self.limits, self._clock, self._threads)

    def open_staging(self, *, within_quota: bool = True) -> Staging:
        """Return a staging for the files of one message or answer: at its end, what was not stored is forgotten.

        Args:
            within_quota: whether the quota counts.
        """
        return Staging(self._store, self._contents, self._threads, self.limits, self._clock, within_quota=within_quota)

    async def close(self) -> None:
        """End the threads that write, when they have written what they were given."""
        await asyncio.to_thread(self._threads.shutdown)

    async def store_upload(self, staged: StagedFile, key: IdempotencyKey | None = None) -> File:
        """Store a file to which nothing refers yet: when this returns, it is on disk.

        Raises:
            Conflict: the idempotency key was used with another file.
            StorageFull, Unavailable: it was not stored.
        """
        return await self._store.files.add(staged, key)

    async def get_file(self, file_id: str) -> StoredFile:
        """Return a file by its id, or by a part of it that fits exactly one.

        Raises:
            FileUnknown: no file fits, or more than one.
        """
        return await self._store.files.get(file_id)

    async def list_files(self, page: Page) -> Sequence[StoredFile]:
        """Return a page of files, newest first."""
        return await self._store.files.list(page)

    async def count_bytes(self) -> int:
        """Return the size of all contents together."""
        return await self._store.files.count_bytes()

    async def delete_file(self, file_id: str) -> None:
        """Delete a file to which nothing refers.

        Raises:
            FileUnknown: there is none with that id.
            Conflict: something refers to it.
        """
        sha256 = await self._store.files.delete(file_id)
        await remove_unowned(self._store, self._contents, [sha256])

    async def fetch_content(self, file: File) -> Path:
        """Return the local file with the content of a file; bring it to this machine first if it is elsewhere.

        It must not be changed; it may be gone. Open it soon.

        Raises:
            StorageFull, Unavailable: it cannot be brought here.
        """
        try:
            return await self._contents.fetch(file.sha256)
        except OSError as error:
            raise explain_disk_error(error, f"the file {file.name!r} cannot be read") from error

    async def read_content(self, file: File) -> bytes:
        """Return the whole content of a file.

        Raises:
            FileUnknown: it is gone.
            StorageFull, Unavailable: it cannot be brought to this machine.
        """
        content = await self.fetch_content(file)
        try:
            return await asyncio.to_thread(content.read_bytes)
        except OSError as error:
            raise FileUnknown(f"the file {file.name!r} cannot be read: {error.strerror or error}.") from error
