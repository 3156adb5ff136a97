"""What the engine asks of a store for files: which there are and what refers to them, and their bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from gateway.domain.file import File, StoredFile
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.reach import Reach


class StagedFile(Struct, frozen=True):
    """A file whose bytes are on disk, and that no transaction has stored yet."""

    file: File
    #: puts its content in place again if it has been removed meanwhile; the transaction that stores the file calls it.
    #: Raises what the disk says, as an `OSError`
    place: Callable[[], None]


class FileStore(Protocol):
    """The files that are stored, and how many runs, messages and schedules refer to each."""

    async def add(self, staged: StagedFile, key: IdempotencyKey | None = None) -> File:
        """Store a file to which nothing refers yet. Returns the earlier one if the key was used before.

        Raises:
            Conflict: the idempotency key was used with another file.
            StorageFull: all files together would be larger than the quota.
        """
        ...

    async def get(self, file_id: str) -> StoredFile:
        """Return a file by its id, or by a part of it that fits exactly one file.

        Raises:
            FileUnknown: no file fits, or more than one.
        """
        ...

    async def list(self, page: Page, reach: Reach | None = None) -> Sequence[StoredFile]:
        """Return a page of files, newest first; of those that a limited caller reaches."""
        ...

    async def is_reached(self, seq: int, reach: Reach) -> bool:
        """Return whether a run or a message refers to a file that a limited caller reaches."""
        ...

    async def delete(self, file_id: str) -> str:
        """Delete a file to which nothing refers. Returns the SHA-256 of its content, which may now be nobody's.

        Raises:
            FileUnknown: there is none with that id.
            Conflict: something refers to it.
        """
        ...

    async def prune(self, before: int) -> Sequence[str]:
        """Delete some files to which nothing refers, and that were stored before then.

        Returns the SHA-256 of contents that are now nobody's: of none if there is nothing left to delete.
        """
        ...

    async def find_unowned(self, hashes: Sequence[str]) -> Sequence[str]:
        """Return those of some contents that no file has."""
        ...

    async def remove_unowned(self, hashes: Sequence[str], remove: Callable[[str], None]) -> int:
        """Call a function for each of some contents that no file has, while no file can be stored.

        Returns how many they were.
        """
        ...

    async def count_bytes(self) -> int:
        """Return the size of all contents together."""
        ...


class ContentDraft(Protocol):
    """Content that is being received. Its methods block: call them in a thread.

    What belongs to contents on a server raises `StorageFull` or `Unavailable` where a disk raises an `OSError`.
    """

    @property
    def size(self) -> int:
        """Bytes that were written so far."""
        ...

    @property
    def sha256(self) -> str | None:
        """The SHA-256 of the content, once it is in its place or about to be."""
        ...

    def write(self, data: bytes) -> None:
        """Write more of it. Raises an `OSError` if the disk refuses, or the draft was discarded."""
        ...

    def finish(self, data: bytes = b"") -> str:
        """Write the last of it, put it on disk and in its place, and return its SHA-256.

        Raises an `OSError` if the disk refuses, or the draft was discarded.
        """
        ...

    def place(self) -> None:
        """Put the content in its place again if it is not there. Raises an `OSError` if the disk refuses."""
        ...

    def discard(self) -> None:
        """Forget the draft, as soon as no other thread works with it. Content that is in its place stays there.

        Discarding twice is fine.
        """
        ...


class ContentStore(Protocol):
    """The bytes of files, each content once, by its SHA-256. Its methods block, but for `fetch`: call them in a thread.

    Contents on a server raise `StorageFull` or `Unavailable` where a disk raises an `OSError`.
    """

    def open_draft(self) -> ContentDraft:
        """Begin new content. This does not block: the disk is asked when something is written."""
        ...

    async def fetch(self, sha256: str) -> Path:
        """Return the local file with a content; bring it to this machine first if it is elsewhere.

        It must not be changed; it may be gone. It is there for some minutes at least if it was there at all, so open it
        soon. Raises an `OSError` if the disk refuses.
        """
        ...

    def remove(self, sha256: str) -> None:
        """Remove a content; it may be gone already. Raises an `OSError` if the disk refuses."""
        ...

    def list_contents(self) -> Iterator[Sequence[str]]:
        """Yield the SHA-256 of all contents, some at a time."""
        ...

    def remove_abandoned_drafts(self) -> int:
        """Remove the drafts of processes that have ended. Returns their number."""
        ...
