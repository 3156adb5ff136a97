"""Receives the files of one message or answer, and keeps them until a transaction stores them. The content of a file is
never in memory whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from gateway import log
from gateway.domain import ids
from gateway.domain.file import File, FileLimits, clean_file_name, describe_size, make_quota_error
from gateway.domain.media_type import SNIFFED_BYTES, find_media_type
from gateway.domain.ports.file_store import ContentDraft, ContentStore, StagedFile
from gateway.domain.ports.store import Store
from gateway.domain.times import Clock
from gateway.errors import GatewayError, TooLarge, explain_disk_error

#: bytes that are written together if they come in small pieces
WRITE_BYTES = 128 * 1024
#: threads that write to the disk, for all files together
WRITING_THREADS = 8
#: contents that are removed at once: nothing can be stored meanwhile
MAX_REMOVED_AT_ONCE = 20

_log = log.get()
T = TypeVar("T")


class Staging:
    """The files of one message, or of one answer, until a transaction stores them.

    New ones are on disk, and are forgotten with the staging unless they were stored. It is a context manager for those
    who know where it ends; others close it.
    """

    def __init__(
        self,
        store: Store,
        contents: ContentStore,
        threads: ThreadPoolExecutor,
        limits: FileLimits,
        clock: Clock,
        *,
        within_quota: bool = True,
    ) -> None:
        """Args:
        threads: those that write to the disk.
        within_quota: whether the quota counts: not for what agents have made, whose work would be lost.
        """
        self._store = store
        self._threads = threads
        self._contents = contents
        self._limits = limits
        self._clock = clock
        self._within_quota = within_quota
        self._drafts: list[ContentDraft] = []
        self._files: list[File] = []
        self._staged: list[StagedFile] = []

    @property
    def files(self) -> tuple[File, ...]:
        """All files, in the order in which they came."""
        return tuple(self._files)

    @property
    def staged(self) -> tuple[StagedFile, ...]:
        """Those that are not stored yet."""
        return tuple(self._staged)

    @property
    def has_new_files(self) -> bool:
        """Whether there is something to forget."""
        return bool(self._drafts)

    async def __aenter__(self) -> Staging:
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self.has_new_files:  # most messages have none
            await asyncio.shield(self.close())

    async def add_stored(self, file_id: str) -> File:
        """Add a file that is stored.

        Raises:
            FileUnknown: there is none with that id.
            TooLarge: the message has too many files, or too large ones.
        """
        self._check_count()
        file = (await self._store.files.get(file_id)).file
        self._check_total(file.size)
        self._files.append(file)
        return file

    async def add_bytes(self, data: bytes, *, name: str = "", media_type: str = "") -> File:
        """Add a file that is in memory. Raises as `add_stream` does."""

        async def as_stream() -> AsyncGenerator[bytes, None]:
            for start in range(0, len(data), WRITE_BYTES):
                yield data[start : start + WRITE_BYTES]

        return await self.add_stream(as_stream(), name=name, media_type=media_type, size=len(data))

    async def add_stream(
        self, pieces: AsyncIterable[bytes], *, name: str = "", media_type: str = "", size: int | None = None
    ) -> File:
        """Add a file while it comes.

        Args:
            name: as its sender gives it; a safe one is made of it.
            media_type: as its sender gives it; what the content shows counts more.
            size: its size in bytes, if its sender tells that before: too large a file is refused at once.

        Raises:
            TooLarge: it is too large, or the message has too many files, or too large ones.
            StorageFull: the disk is full, or all files together would be larger than the quota.
            Unavailable: the disk refuses.
        """
        self._check_count()
        if size is not None:
            self._check_total(size)
        draft = self._contents.open_draft()
        self._drafts.append(draft)
        try:
            beginning, last = await self._write_pieces(draft, pieces)
        except Exception:  # the message may do without it: a request may have many such files
            await asyncio.get_running_loop().run_in_executor(self._threads, _discard_drafts, [draft])
            raise
        sha256 = await self._ask_disk(draft.finish, last)
        if self._within_quota:
            await self._check_quota(sha256, draft.size)
        file = File(
            id=ids.make_ulid(self._clock()),
            name=clean_file_name(name),
            media_type=find_media_type(media_type, name, beginning),
            size=draft.size,
            sha256=sha256,
        )
        self._files.append(file)
        self._staged.append(StagedFile(file, draft.place))
        return file

    async def _write_pieces(self, draft: ContentDraft, pieces: AsyncIterable[bytes]) -> tuple[bytes, bytes]:
        """Write pieces as they come: while some are being written, who sends them may buffer the next ones.

        Returns:
            the beginning, and the end that is not written yet.
        """
        beginning = b""
        waiting: list[bytes] = []
        size = written = 0
        async for piece in pieces:
            size += len(piece)
            self._check_total(size)
            if len(beginning) < SNIFFED_BYTES:
                beginning += piece[: SNIFFED_BYTES - len(beginning)]
            waiting.append(piece)
            if size - written >= WRITE_BYTES:
                await self._ask_disk(draft.write, b"".join(waiting))
                waiting, written = [], size
        return beginning, b"".join(waiting)

    async def _ask_disk(self, call: Callable[[bytes], T], data: bytes) -> T:
        """Call a function in one of the threads that write, and translate what the disk says.

        Raises:
            StorageFull, Unavailable: the disk refuses.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call, data)
        except OSError as error:
            raise explain_disk_error(error, "the file cannot be stored") from error

    async def close(self) -> None:
        """Forget what was not stored. Raises nothing: what cannot be removed now is left to the sweep."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, _discard_drafts, self._drafts)
            await remove_unowned(self._store, self._contents, [draft.sha256 for draft in self._drafts if draft.sha256])
        except (GatewayError, OSError) as error:
            _log.warning("files.not_forgotten", error=str(error))

    def _check_count(self) -> None:
        if len(self._files) >= self._limits.per_message:
            raise TooLarge(
                f"a message may have {self._limits.per_message} files.",
                remedy="Send fewer, or raise files.per_message.",
            )

    def _check_total(self, size: int) -> None:
        """Refuse a file of that size if it, or all files of the message together, would be too large."""
        if size > self._limits.size:
            raise TooLarge(
                f"a file may have {self._limits.size} bytes ({describe_size(self._limits.size)}).",
                remedy="Send a smaller one, or raise files.size.",
            )
        if size + sum(file.size for file in self._files) > self._limits.message_size:
            raise TooLarge(
                f"the files of a message may have {self._limits.message_size} bytes together"
                f" ({describe_size(self._limits.message_size)}).",
                remedy="Send fewer, or raise files.message_size.",
            )

    async def _check_quota(self, sha256: str, size: int) -> None:
        """Refuse new content for which there is no room; the transaction that stores the file checks again."""
        total = await self._store.files.count_bytes() + size
        if total > self._limits.quota and await self._store.files.find_unowned([sha256]):
            raise make_quota_error(total, self._limits.quota)


def _discard_drafts(drafts: Sequence[ContentDraft]) -> None:
    """Discard all drafts, even if one of them cannot be: the sweep removes that after the end of this process."""
    for draft in drafts:
        try:
            draft.discard()
        except OSError as error:
            _log.warning("files.not_forgotten", error=str(error))


async def remove_unowned(store: Store, contents: ContentStore, hashes: Sequence[str]) -> int:
    """Remove those of some contents that no file has. Returns how many they were.

    A content that cannot be removed now is found by a later sweep.
    """

    def remove(sha256: str) -> None:
        try:
            contents.remove(sha256)
        except (GatewayError, OSError) as error:
            _log.warning("files.not_removed", sha256=sha256, error=str(error))

    found = await store.files.find_unowned(hashes)
    removed = 0
    for start in range(0, len(found), MAX_REMOVED_AT_ONCE):
        removed += await store.files.remove_unowned(found[start : start + MAX_REMOVED_AT_ONCE], remove)
    return removed


def make_digest(files: Sequence[File]) -> bytes:
    """Return what tells the files of one message from others, wherever they are stored: for idempotency keys."""
    return msgspec.json.encode([(file.name, file.media_type, file.sha256) for file in files])
