"""Makes a backup: a draft next to its place, which gets its name only when it is whole and on disk."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from gateway import __version__, paths
from gateway.backup import agent_memory, config_secrets, contents, databases, drafts, manifest
from gateway.backup.archive import ArchiveWriter
from gateway.backup.contents import CONFIG_NAME, BackupChoice, Installation
from gateway.backup.manifest import AgentMemory, BackupHeader, BackupManifest, Part, Purpose
from gateway.backup.progress import Progress, Report
from gateway.domain.file import describe_size
from gateway.domain.times import wall_clock
from gateway.errors import ConfigError, Conflict, StorageFull, explain_disk_error
from gateway.store.sqlite import snapshot

#: how the names of backups begin and end that are made in a directory
NAME_PREFIX, NAME_SUFFIX = "moongate-", ".tar.gz"


class ConfigContent(NamedTuple):
    """The config file, and what in it is secret."""

    content: bytes
    #: what it says, before variables are replaced
    decoded: Any
    secrets: Collection[str]


class WrittenBackup(NamedTuple):
    """A backup that is complete."""

    file: Path
    #: bytes of the file
    size: int
    header: BackupHeader
    manifest: BackupManifest


def name_host() -> str:
    """Return the name of this machine as it stands in the names of backups."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", platform.node())[:64] or "localhost"


def choose_target(given: Path, now: float) -> Path:
    """Return the file to write: the path itself if it names an archive, else a new name in that directory."""
    if not given.is_dir() and given.name.endswith((".tar.gz", ".tgz")):
        return given
    while True:
        moment = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
        target = given / f"{NAME_PREFIX}{name_host()}-{moment}{NAME_SUFFIX}"
        if not os.path.lexists(target):
            return target
        now += 1  # another installation on this machine uses the same directory


class BackupWriter:
    """Writes one backup."""

    def __init__(
        self,
        place: Installation,
        choice: BackupChoice,
        config: ConfigContent | None,
        *,
        is_running: Callable[[], bool],
        report: Report,
        purpose: Purpose = Purpose.HAND,
        installation: str = "",
        env: dict[str, str] | os._Environ[str] = os.environ,
    ) -> None:
        """Args:
        config: the config file; None if there is none.
        is_running: returns whether a gateway works with the installation now.
        installation: its id, by which a plan knows its own backups.
        """
        self._purpose = purpose
        self._installation = installation
        self._place = place
        self._choice = choice
        self._config = config
        self._is_running = is_running
        self._progress = Progress(report)
        self._env = env
        self._read = 0
        self._doing = ""

    def write_backup(self, target: Path, find_free: Callable[[], Path] | None = None) -> WrittenBackup:
        """Write the backup to a file that does not exist yet.

        Args:
            find_free: returns another name in the same directory, should this one be taken meanwhile.

        Raises:
            Conflict: the file exists.
            ConfigError: there is no database, or it cannot be used.
            StorageFull, Unavailable: the disk refuses; nothing is left of the backup.
        """
        if find_free is None and os.path.lexists(target):
            raise Conflict(
                f"there is a file {paths.display_path(target)} already.", remedy="Give another name, or a directory."
            )
        if self._choice.database and self._place.store_url is None and not self._place.database.exists():
            raise ConfigError(
                f"there is no database {paths.display_path(self._place.database)}.",
                remedy="Check MOONGATE_HOME and --config, or leave it out: gateway backup --no-database",
            )
        self._refuse_own_directory(target)
        try:
            paths.make_private_directory(target.parent)
            self._require_space(target.parent)
            with drafts.open_draft(target, find_free) as draft:
                archive = ArchiveWriter(draft.file, target.parent, self._on_bytes)
                with (
                    contextlib.closing(archive),
                    tempfile.TemporaryFile("w+", dir=target.parent) as hashes,
                    self._watch_database() as was_changed,
                ):
                    header, described = self._write_members(archive, draft.piece, hashes, was_changed)
            return WrittenBackup(draft.target, draft.target.stat().st_size, header, described)
        except OSError as error:
            raise explain_disk_error(error, f"the backup cannot be written to {target.parent}") from error

    def _refuse_own_directory(self, target: Path) -> None:
        """Refuse a target in a directory that is backed up: each backup would contain those before it.

        Raises:
            ConfigError: it is there.
        """
        place = self._place
        taken = [place.workspaces, place.outputs, place.files]
        if self._choice.agents:
            taken += [found.path for found in agent_memory.find_memories(self._env)]
        for directory in taken:
            if Path(os.path.realpath(target.parent)).is_relative_to(os.path.realpath(directory)):
                raise ConfigError(
                    f"the backup would be made in {paths.display_path(directory)}, which is backed up itself.",
                    remedy="Give another directory, or set backup.directory to one.",
                )

    def _require_space(self, directory: Path) -> None:
        """Refuse a disk that has no room for the copy of the database, which is there for a while.

        Raises:
            StorageFull: it has not.
        """
        if not self._choice.database or self._place.store_url is not None:
            return
        needs, free = snapshot.measure_database(self._place.database), shutil.disk_usage(directory).free
        if needs > free:
            raise StorageFull(
                f"the disk of {paths.display_path(directory)} is too full for a backup: the copy of the database alone"
                f" needs {describe_size(needs)}, and {describe_size(free)} are left.",
                remedy="Free some space, or give a directory on another disk.",
            )

    def _watch_database(self) -> contextlib.AbstractContextManager[Callable[[], bool]]:
        """Watch whether somebody works with the database, such as a gateway that starts and ends meanwhile."""
        if self._place.store_url is None and self._choice.database:
            return snapshot.watch_changes(self._place.database)
        return contextlib.nullcontext(lambda: False)

    def _write_members(
        self, archive: ArchiveWriter, piece: Path, hashes: IO[str], was_changed: Callable[[], bool]
    ) -> tuple[BackupHeader, BackupManifest]:
        schema, running = 0, self._is_running()
        if self._choice.database:
            self._begin("copying the database")
            schema = databases.copy_for_archive(self._place, piece, lambda: self._show_size(piece))
            running = running or self._is_running()
        header = BackupHeader(
            version=__version__,
            schema=schema,
            created_at=wall_clock(),
            host=platform.node(),
            home=str(self._place.home),
            running=running,
            purpose=self._purpose,
            installation=self._installation,
        )
        archive.add_bytes(manifest.HEADER_NAME, msgspec.json.encode(header), listed=False)
        variables = self._add_config(archive)
        if self._choice.secrets:
            contents.add_secret_files(archive, self._place)
        if self._choice.database:
            self._begin("writing the database")
            databases.add_copy(archive, self._place, piece)
            if self._place.store_url is None:
                hashes.writelines(f"{sha256}\n" for sha256 in snapshot.list_contents(piece))
                hashes.seek(0)
            drafts.remove_piece(piece)
            self._begin("writing files")  # after the database: it refers to none that came later
            contents.add_stored_files(archive, self._place)
            contents.note_missing_contents(archive, self._place, (line.rstrip("\n") for line in hashes))
            contents.add_tree(archive, Part.OUTPUTS, self._place.outputs)
        if self._choice.workspaces:
            self._begin("writing workspaces")
            contents.add_tree(archive, Part.WORKSPACES, self._place.workspaces)
        memories = agent_memory.find_memories(self._env)
        if self._choice.agents:
            self._begin("writing what agents remember")
            contents.add_memories(archive, [found for found in memories if found.path.is_dir()], piece)
        listing = archive.add_listing()
        described = BackupManifest(
            members=archive.members,
            bytes=archive.bytes,
            listing=listing,
            parts=archive.parts,
            omissions=archive.omissions,
            omitted=archive.omitted,
            lost=archive.lost,
            running=header.running or self._is_running() or was_changed(),
            variables=variables,
            agents=self._describe_memories(memories),
        )
        archive.add_bytes(manifest.MANIFEST_NAME, msgspec.json.encode(described), listed=False)
        archive.finish()
        return header, described

    def _add_config(self, archive: ArchiveWriter) -> list[str]:
        """Add the config. Returns the variables that stand for its secrets."""
        variables: list[str] = []
        if self._config is not None:
            content = self._config.content
            if not self._choice.secrets:
                content, variables = config_secrets.replace_secrets(content, self._config.secrets, self._config.decoded)
            archive.add_bytes(CONFIG_NAME, content)
            contents.note_outside_workspaces(archive, self._place, self._config.decoded)
        if (found := paths.found_agent_file(self._place.home)).exists():
            archive.add_file(f"{Part.STATE}/{found.name}", found)
        return variables

    def _describe_memories(self, memories: Sequence[agent_memory.MemoryPlace]) -> list[AgentMemory]:
        return [
            AgentMemory(
                agent=found.name,
                path=str(found.path),
                bytes=contents.measure_tree(found.path, found.is_skipped),
                included=self._choice.agents,
            )
            for found in memories
            if found.path.exists()
        ]

    # --- progress -------------------------------------------------------------------------------

    def _begin(self, doing: str) -> None:
        self._doing, self._read = doing, 0
        self._progress.begin(doing)

    def _on_bytes(self, count: int) -> None:
        self._read += count
        self._show(self._read)

    def _show_size(self, piece: Path) -> None:
        with contextlib.suppress(OSError):
            self._show(piece.stat().st_size)

    def _show(self, size: int) -> None:
        self._progress.show(f"{self._doing}: {describe_size(size)}")
