"""Reads the members of a backup, whoever made it: every name, type and size is checked before it is used."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import msgspec

from gateway import __version__, paths, private_file
from gateway.backup import manifest
from gateway.backup.archive import ARCHIVE_CHUNK_BYTES
from gateway.backup.manifest import BACKUP_FORMAT, MAX_MEMBER_DEPTH, MAX_MEMBER_NAME_BYTES, BackupHeader, Part
from gateway.errors import ConfigError, Conflict

#: bytes of the headers that tar puts before a member for its long name
_MAX_EXTENSION_BYTES = 64 * 1024
#: types of members
_MEMBER_TYPES = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE})
#: what reading damaged bytes raises
_DAMAGE = (zlib.error, gzip.BadGzipFile, EOFError, tarfile.TarError, RecursionError, UnicodeError, msgspec.DecodeError)


class _CheckedInfo(tarfile.TarInfo):
    """The header of a member, of which only the plain kinds are read, and no large one into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _CheckedInfo:
        found = super().frombuf(buf, encoding, errors)
        if found.type in (tarfile.XHDTYPE, tarfile.XGLTYPE):
            if found.size > _MAX_EXTENSION_BYTES:
                raise tarfile.ReadError("a name is too long")
        elif found.type not in _MEMBER_TYPES:
            raise tarfile.ReadError(f"a member has the type {found.type!r}: only files, directories and links are read")
        return found


class Member(NamedTuple):
    """A member of a backup."""

    name: str
    size: int
    #: permission bits
    mode: int
    #: seconds since 1970 UTC
    changed: float
    is_directory: bool
    #: where it leads, if it is a symbolic link
    link: str | None

    @property
    def is_file(self) -> bool:
        return self.link is None and not self.is_directory


class BackupReader:
    """Reads a backup once, from beginning to end."""

    def __init__(self, tar: tarfile.TarFile, unpacked: gzip.GzipFile) -> None:
        self._tar = tar
        self._unpacked = unpacked
        self._content: IO[bytes] | None = None

    def read_header(self) -> BackupHeader:
        """Read the first member.

        Raises:
            ConfigError: a newer version made the backup.
            Conflict: the file is none, or it is damaged.
        """
        first = next(self.read_members(), None)
        if first is None or first.name != manifest.HEADER_NAME:
            raise Conflict("it does not begin as a backup of Moongate does.")
        content = self.read_content(manifest.MAX_HEADER_BYTES)
        told = msgspec.json.decode(content)
        number = told.get("format") if isinstance(told, dict) else None
        if isinstance(number, int) and number > BACKUP_FORMAT:
            raise ConfigError(
                f"the backup has the format {number}, which Moongate {told.get('version')} made; this is {__version__}"
                f" and reads the formats up to {BACKUP_FORMAT}.",
                remedy="Install that version, or a newer one, and restore with it.",
            )
        return msgspec.json.decode(content, type=BackupHeader)

    def read_members(self) -> Iterator[Member]:
        """Yield the members in their order. Read the content of each before the next one, or skip it."""
        while (info := self._tar.next()) is not None:
            self._tar.members = []  # type: ignore[attr-defined]  # otherwise it keeps all of them in memory
            self._content = self._tar.extractfile(info) if info.isreg() else None
            yield _check_member(info)

    def read_chunks(self) -> Iterator[bytes]:
        """Yield the content of the member that was read last."""
        if self._content is not None:
            while data := self._content.read(ARCHIVE_CHUNK_BYTES):
                yield data

    def read_content(self, most: int) -> bytes:
        """Return the content of the member that was read last.

        Raises:
            Conflict: it is larger than so many bytes.
        """
        found = b"" if self._content is None else self._content.read(most + 1)
        if len(found) > most:
            raise Conflict(f"a member that describes the backup is larger than {most:,} bytes.")
        return found

    def read_rest(self) -> None:
        """Read to the end of the file, so that its last checksum is compared."""
        total = 0
        while rest := self._unpacked.read(ARCHIVE_CHUNK_BYTES):
            total += len(rest)
            if rest.strip(b"\0") or total > ARCHIVE_CHUNK_BYTES:
                raise Conflict("something follows after its end.")


@contextlib.contextmanager
def open_backup(file: Path) -> Iterator[BackupReader]:
    """Open a backup for reading.

    Raises:
        Conflict: it is none, or damaged, or not made by Moongate; the message says what is wrong.
        ConfigError: it cannot be opened.
    """
    with contextlib.ExitStack() as stack:
        try:
            descriptor = stack.enter_context(private_file.open_plain_file(file, follow=True))
        except OSError as error:
            raise ConfigError(
                f"cannot read {paths.display_path(file)}: {error.strerror or error}.",
                remedy="Give the path of a backup.",
            ) from error
        source = stack.enter_context(os.fdopen(descriptor, "rb", closefd=False))
        unpacked = gzip.GzipFile(fileobj=source, mode="rb")
        try:
            with tarfile.open(
                fileobj=cast("Any", unpacked),
                mode="r|",
                tarinfo=_CheckedInfo,
                encoding="utf-8",
                errors="surrogateescape",
            ) as tar:
                yield BackupReader(tar, unpacked)
        except Conflict as error:
            raise refuse_backup(file, error.message) from error
        except _DAMAGE as error:
            raise refuse_backup(file, f"{str(error) or type(error).__name__}.".replace("..", ".")) from error


def refuse_backup(file: Path, why: str) -> Conflict:
    """Return the error for a file that is no whole backup."""
    shown = paths.display_path(file)
    why = why.removeprefix(f"the file {shown} is damaged, or no backup of Moongate: ")
    return Conflict(f"the file {shown} is damaged, or no backup of Moongate: {why}", remedy="Use another backup.")


def hash_content(reader: BackupReader, copy: Path | None = None) -> str:
    """Return the SHA-256 of the content of the member that was read last.

    Args:
        copy: file to which it is written.

    Raises:
        OSError: that is refused.
    """
    digest = hashlib.sha256()
    with contextlib.nullcontext() if copy is None else copy.open("wb") as file:
        for data in reader.read_chunks():
            digest.update(data)
            if file is not None:
                file.write(data)
    return digest.hexdigest()


def _check_member(info: tarfile.TarInfo) -> Member:
    """Return a member whose name leads nowhere else.

    Raises:
        Conflict: it does, or it is of a kind that its part has not.
    """
    name = info.name
    parts = name.split("/")
    shown = ascii(name[:200])
    if (
        not name
        or len(os.fsencode(name)) > MAX_MEMBER_NAME_BYTES
        or len(parts) > MAX_MEMBER_DEPTH
        or "\0" in name
        or any(part in ("", ".", "..") for part in parts)
        or (os.name == "nt" and re.search(r"[\\:]", name))
    ):
        raise Conflict(f"the name {shown} of a member leads out of the backup.")
    link = info.linkname if info.issym() else None
    if link is not None and (not manifest.may_be_link(name) or "\0" in link):
        raise Conflict(f"{shown} is a link, which only workspaces may have.")
    if len(parts) > 1 and parts[0] not in list(Part):
        raise Conflict(f"{shown} belongs to no part of a backup.")
    return Member(name, info.size if info.isreg() else 0, info.mode & 0o777, info.mtime, info.isdir(), link)
