"""Unpacks the members of a verified backup into drafts, below directories that only this process knows."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from gateway.backup import manifest, reading, verifying
from gateway.backup.manifest import Part
from gateway.backup.progress import Progress, Report
from gateway.backup.reading import BackupReader, Member
from gateway.backup.verifying import VerifiedBackup
from gateway.domain.file import describe_size
from gateway.errors import Conflict

#: parts whose files keep their permissions: agents made them
_PARTS_WITH_MODES = frozenset({Part.WORKSPACES, Part.AGENTS})


class _LateChange(NamedTuple):
    """What is done when all files are there: a link could lead elsewhere, a directory could be closed."""

    path: Path
    mode: int
    link: str | None


def unpack_backup(found: VerifiedBackup, places: Mapping[Part, Path], report: Report) -> None:
    """Unpack the members of some parts: each one into the directory of its part, which does not exist yet.

    Args:
        places: the directory of each part that is wanted.

    Raises:
        Conflict: the file is not the one that was verified, or it is damaged.
        OSError: the disk refuses.
    """
    late: list[_LateChange] = []
    digest, size, progress = hashlib.sha256(), 0, Progress(report)
    for place in places.values():
        place.mkdir(parents=True, mode=0o700)
    with reading.open_backup(found.file) as reader:
        reader.read_header()
        for member in reader.read_members():
            if member.name == manifest.LISTING_NAME:
                break
            part, _, below = member.name.partition("/")
            base = places.get(Part(part)) if below else None
            if base is None:
                digest.update(verifying.describe_member(reader, member))
                continue
            digest.update(_unpack_member(reader, member, base / below, Part(part), late))
            size += member.size
            progress.show(f"unpacking: {describe_size(size)} of {describe_size(found.manifest.bytes)}")
    if digest.hexdigest() != found.manifest.listing:
        raise reading.refuse_backup(found.file, "it has changed since it was verified.")
    for change in reversed(late):
        if change.link is not None:
            os.symlink(change.link, change.path)
        else:
            change.path.chmod(change.mode)


def _unpack_member(reader: BackupReader, member: Member, path: Path, part: Part, late: list[_LateChange]) -> bytes:
    """Write a member to its place. Returns its line in the listing."""
    keeps_mode = part in _PARTS_WITH_MODES
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if member.is_directory:
            path.mkdir(mode=0o700, exist_ok=True)
            if keeps_mode:
                late.append(_LateChange(path, member.mode, None))
        elif member.link is not None:
            late.append(_LateChange(path, 0, member.link))
        else:
            sha256 = _write_content(reader, path, member.mode if keeps_mode else 0o600)
            if member.changed:
                with contextlib.suppress(OSError, OverflowError):
                    os.utime(path, (member.changed, member.changed))
            return manifest.encode_member_line(member.name, member.size, sha256)
    except (FileExistsError, NotADirectoryError):
        raise Conflict(f"{member.name!a} is in it twice.") from None
    return manifest.encode_member_line(member.name, member.size, "", member.link)


def _write_content(reader: BackupReader, path: Path, mode: int) -> str:
    """Write the content of a member to a new file. Returns its SHA-256."""
    digest = hashlib.sha256()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        for data in reader.read_chunks():
            digest.update(data)
            file.write(data)
        if hasattr(os, "fchmod"):
            os.fchmod(file.fileno(), mode)
    return digest.hexdigest()
