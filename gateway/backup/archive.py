"""Writes the members of a backup one after the other, and lists them."""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import os
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from gateway.backup import manifest
from gateway.backup.manifest import Omission, PartSize

#: bytes that are read and written at once
ARCHIVE_CHUNK_BYTES = 1 << 20
#: how hard the archive is compressed: a higher level takes several times as long
_COMPRESSION_LEVEL = 1
#: characters that are kept of the name of something that was left out
_MAX_SHOWN_NAME_CHARACTERS = 300

#: called with the number of bytes that were just read
OnBytes = Callable[[int], None]


class ArchiveWriter:
    """A compressed tar archive that is written from beginning to end. Its memory does not grow with its size."""

    def __init__(self, file: BinaryIO, directory: Path, on_bytes: OnBytes) -> None:
        """Args:
        file: what to write to.
        directory: where the listing is kept meanwhile, as a file without a name.
        """
        self._zip = gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=_COMPRESSION_LEVEL, mtime=0)
        self._listing = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 closed with the archive
        self._listing_hash = hashlib.sha256()
        self._on_bytes = on_bytes
        self.members = 0
        self.bytes = 0
        self.parts: dict[str, PartSize] = {}
        self.omissions: list[Omission] = []
        self.omitted = 0
        self.lost = 0

    def add_bytes(self, name: str, data: bytes, *, mode: int = 0o600, listed: bool = True) -> None:
        """Add a member with this content.

        Args:
            listed: whether it is one of the members that the listing names.
        """
        self._write_header(name, size=len(data), mode=mode)
        self._zip.write(data)
        self._pad(len(data))
        if listed:
            self._list_member(name, len(data), hashlib.sha256(data).hexdigest())

    def add_file(self, name: str, path: Path, *, expected_sha256: str | None = None) -> None:
        """Add a file as it is now. One that cannot be read, or has gone, is left out and named.

        Args:
            expected_sha256: the hash that it must have; otherwise it is damaged, and named.
        """
        try:
            descriptor = os.open(path, os.O_RDONLY | _flag("O_NOFOLLOW") | _flag("O_NONBLOCK") | _flag("O_CLOEXEC"))
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                raise
            self.note_unreadable(name, error)
            return
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                self.note_omission(name, "it is not a plain file")
                return
            try:
                first = file.read(ARCHIVE_CHUNK_BYTES)
            except OSError as error:
                self.note_unreadable(name, error)
                return
            size = len(first) if len(first) < ARCHIVE_CHUNK_BYTES else max(found.st_size, len(first))
            self._write_header(name, size=size, mode=stat.S_IMODE(found.st_mode) & 0o777, changed=found.st_mtime)
            whole = self._write_content(name, file, first, size, expected_sha256)
            after = os.fstat(descriptor)
            if whole and (after.st_size, after.st_mtime_ns) != (found.st_size, found.st_mtime_ns):
                self.note_omission(name, "it changed while it was read: it may be partly old and partly new")

    def _write_content(self, name: str, file: BinaryIO, first: bytes, size: int, expected_sha256: str | None) -> bool:
        """Write the content of a member. Returns whether it is neither too short nor damaged."""
        digest, left, data = hashlib.sha256(), size, first
        while data:
            data = data[:left]
            digest.update(data)
            self._zip.write(data)
            left -= len(data)
            self._on_bytes(len(data))
            data = self._read_more(file) if left else b""
        if left:  # it has become shorter: what was promised must follow
            self.note_omission(name, "it became shorter while it was read: its end is filled with zeros", lost=True)
            for at in range(0, left, ARCHIVE_CHUNK_BYTES):
                zeros = bytes(min(ARCHIVE_CHUNK_BYTES, left - at))
                digest.update(zeros)
                self._zip.write(zeros)
        self._pad(size)
        found = digest.hexdigest()
        if expected_sha256 not in (None, found):
            self.note_omission(name, "it is damaged on this disk: its content does not have its hash", lost=True)
        self._list_member(name, size, found)
        return not left and expected_sha256 in (None, found)

    def _read_more(self, file: BinaryIO) -> bytes:
        try:
            return file.read(ARCHIVE_CHUNK_BYTES)
        except OSError:
            return b""

    def add_link(self, name: str, path: Path) -> None:
        """Add a symbolic link as it is; what it leads to is not added."""
        try:
            target = os.readlink(path)
        except OSError as error:
            self.note_unreadable(name, error)
            return
        self._write_header(name, kind=tarfile.SYMTYPE, link=target, mode=0o777)
        self._list_member(name, 0, "", target)

    def add_directory(self, name: str, mode: int) -> None:
        """Add a directory; what is in it is added one by one."""
        self._write_header(name, kind=tarfile.DIRTYPE, mode=mode & 0o777)
        self._list_member(name, 0, "")

    def note_omission(self, name: str, reason: str, *, lost: bool = False) -> None:
        """Note something that is left out, or not as it was.

        Args:
            lost: whether the backup lacks something for that reason.
        """
        self.omitted += 1
        self.lost += lost
        if len(self.omissions) < manifest.MAX_NAMED_OMISSIONS:
            shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            if len(shown) > _MAX_SHOWN_NAME_CHARACTERS:
                shown = "…" + shown[1 - _MAX_SHOWN_NAME_CHARACTERS :]
            self.omissions.append(Omission(name=shown, reason=reason))

    def note_unreadable(self, name: str, error: OSError) -> None:
        """Note something that could not be opened. What was removed meanwhile is not lost: it is gone here, too."""
        if isinstance(error, FileNotFoundError):
            self.note_omission(name, "it was removed meanwhile")
        else:
            self.note_omission(name, f"it cannot be read: {(error.strerror or str(error)).lower()}", lost=True)

    def add_listing(self) -> str:
        """Add the listing of all members so far; return its SHA-256."""
        size = self._listing.tell()
        self._listing.seek(0)
        self._write_header(manifest.LISTING_NAME, size=size)
        while data := self._listing.read(ARCHIVE_CHUNK_BYTES):
            self._zip.write(data)
        self._pad(size)
        return self._listing_hash.hexdigest()

    def finish(self) -> None:
        """Write the end of the archive."""
        self._zip.write(bytes(2 * tarfile.BLOCKSIZE))
        self._zip.close()

    def close(self) -> None:
        """Give up what is kept; the archive may be incomplete."""
        self._listing.close()
        with contextlib.suppress(OSError, ValueError):
            self._zip.close()

    def _list_member(self, name: str, size: int, sha256: str, link: str | None = None) -> None:
        line = manifest.encode_member_line(name, size, sha256, link)
        self._listing.write(line)
        self._listing_hash.update(line)
        self.members += 1
        self.bytes += size
        manifest.add_member(self.parts, name, size, is_file=bool(sha256))

    def _write_header(
        self,
        name: str,
        *,
        size: int = 0,
        kind: bytes = tarfile.REGTYPE,
        link: str = "",
        mode: int = 0o600,
        changed: float = 0,
    ) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.type, info.linkname, info.mode, info.mtime = size, kind, link, mode, int(changed)
        self._zip.write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))

    def _pad(self, size: int) -> None:
        if rest := size % tarfile.BLOCKSIZE:
            self._zip.write(bytes(tarfile.BLOCKSIZE - rest))


def walk_tree(root: Path, on_error: Callable[[str, OSError], None]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield what is below a directory, parents first: the relative path with `/`, and the entry. No link is followed.

    Args:
        on_error: called with the relative path of a directory that cannot be read.
    """
    waiting: list[str] = [""]
    while waiting:
        below = waiting.pop()
        try:
            with os.scandir(root / below if below else root) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            on_error(below, error)
            continue
        for entry in entries:
            path = f"{below}/{entry.name}" if below else entry.name
            yield path, entry
            if entry.is_dir(follow_symlinks=False):
                waiting.append(path)


def _flag(name: str) -> int:
    return int(getattr(os, name, 0))
