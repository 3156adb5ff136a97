"""Reads a backup through and compares every member with what its listing says."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from gateway import __version__, paths
from gateway.backup import manifest, reading
from gateway.backup.contents import CONFIG_NAME, DATABASE_NAME, ENV_NAME
from gateway.backup.manifest import BackupHeader, BackupManifest, PartSize, add_member
from gateway.backup.progress import Progress, Report
from gateway.backup.reading import BackupReader, Member
from gateway.domain.file import describe_size
from gateway.errors import ConfigError, Conflict, StorageFull, explain_disk_error
from gateway.store.sqlite import opening, snapshot

#: members whose contents a restore needs before it begins, and bytes that each may have
_SETTINGS_NAMES = frozenset({CONFIG_NAME, ENV_NAME})
MAX_SETTINGS_BYTES = 4 << 20


class VerifiedBackup(NamedTuple):
    """A backup that is whole."""

    file: Path
    header: BackupHeader
    manifest: BackupManifest
    #: the contents of the config file and of `.env`, if it has them, by their names in the backup
    settings: Mapping[str, bytes]

    @property
    def worked(self) -> bool:
        """Whether a gateway worked with the installation while the backup was made."""
        return self.header.running or self.manifest.running


def verify_backup(file: Path, report: Report) -> VerifiedBackup:
    """Read a backup through.

    Raises:
        Conflict: it is damaged; the message names the member.
        ConfigError: it cannot be read, or a newer version made it.
        StorageFull, Unavailable: the disk for temporary files refuses.
    """
    return _verify(file, report, None)


def verify_with_database(file: Path, report: Report) -> VerifiedBackup:
    """Read a backup through, and check its SQLite database, which is unpacked to a temporary file for that.

    Raises:
        GatewayError: as with `verify_backup`.
    """
    with tempfile.TemporaryDirectory(prefix="moongate-verify-") as directory:
        copy = Path(directory, "database")
        found = _verify(file, report, copy)
        if copy.exists():
            report("checking the database")
            if (wrong := snapshot.check_integrity(copy, thoroughly=True)) is not None:
                raise reading.refuse_backup(file, f"its database is damaged: {wrong}")
    return found


def _verify(file: Path, report: Report, database: Path | None) -> VerifiedBackup:
    """Read a backup through.

    Args:
        database: file to which its SQLite database is unpacked.
    """
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(reading.open_backup(file))
        stack.enter_context(_explain_temporary(file))
        listing = stack.enter_context(tempfile.TemporaryFile())
        parts: dict[str, PartSize] = {}
        header = reader.read_header()
        digest, members, size, described = hashlib.sha256(), 0, 0, None
        progress = Progress(report)
        settings: dict[str, bytes] = {}
        for member in reader.read_members():
            if member.name == manifest.LISTING_NAME:
                _compare_listing(reader, listing, digest.hexdigest())
            elif member.name == manifest.MANIFEST_NAME:
                described = msgspec.json.decode(reader.read_content(manifest.MAX_MANIFEST_BYTES), type=BackupManifest)
                break
            else:
                if member.name in _SETTINGS_NAMES:
                    settings[member.name] = reader.read_content(MAX_SETTINGS_BYTES)
                copied = database if member.name == DATABASE_NAME else None
                line = describe_member(reader, member, settings.get(member.name), copied)
                listing.write(line)
                digest.update(line)
                members, size = members + 1, size + member.size
                add_member(parts, member.name, member.size, is_file=member.is_file)
                progress.show(f"verifying: {members:,} members, {describe_size(size)}")
        if described is None:
            raise Conflict("its end is missing.")
        reader.read_rest()
        told = (described.listing, described.members, described.bytes, described.parts)
        if told != (digest.hexdigest(), members, size, parts):
            raise Conflict("its members are not those of its manifest.")
    return VerifiedBackup(file, header, described, settings)


def check_version(found: VerifiedBackup) -> None:
    """Check that this version can use the database of a backup.

    Raises:
        ConfigError: a newer version made it.
    """
    known, version = len(opening.read_migrations()), found.header.version
    if found.header.schema > known:
        raise ConfigError(
            f"the backup {paths.display_path(found.file)} was made by Moongate {found.header.version}: its database has"
            f" schema {found.header.schema}, newer than the {known} of this Moongate {__version__}.",
            remedy=f"Install {f'Moongate {version}' if version != __version__ else 'the build that made it'} or a newer"
            " one, and restore with it.",
        )


def describe_member(
    reader: BackupReader, member: Member, content: bytes | None = None, copy: Path | None = None
) -> bytes:
    """Return the line that the listing must have for a member.

    Args:
        content: what was read of it already.
        copy: file to which its content is written.
    """
    sha256 = ""
    if member.is_file:
        sha256 = reading.hash_content(reader, copy) if content is None else hashlib.sha256(content).hexdigest()
    return manifest.encode_member_line(member.name, member.size, sha256, member.link)


@contextlib.contextmanager
def _explain_temporary(file: Path) -> Iterator[None]:
    """Explain that what is written meanwhile has no room, or that the backup cannot be read.

    Raises:
        StorageFull, Unavailable: so it is.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:  # what was read is damaged
            raise
        told = explain_disk_error(error, f"the backup {paths.display_path(file)} cannot be verified")
        if isinstance(told, StorageFull):
            told.remedy = f"Free some space in {tempfile.gettempdir()}, or set TMPDIR to a directory on another disk."
        raise told from error


def _compare_listing(reader: BackupReader, own: IO[bytes], own_hash: str) -> None:
    """Compare the listing of a backup with what was read.

    Raises:
        Conflict: a member is not as it says; the message names it.
    """
    with tempfile.TemporaryFile() as told:
        digest = hashlib.sha256()
        for data in reader.read_chunks():
            digest.update(data)
            told.write(data)
        if digest.hexdigest() == own_hash:
            return
        told.seek(0)
        own.seek(0)
        for expected, found in _pair_lines(told, own):
            if expected != found:
                raise Conflict(f"{_name_member(expected) or _name_member(found)} has another content than it had.")
    raise Conflict("its listing is not that of its members.")


def _pair_lines(told: IO[bytes], own: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    while True:
        pair = told.readline(1 << 20), own.readline(1 << 20)
        if not any(pair):
            return
        yield pair


def _name_member(line: bytes) -> str:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return ascii(json.loads(line)["name"])
    return ""
