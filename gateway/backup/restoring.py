"""Restores a backup: it is verified and unpacked as a draft, settled, and put in place by renames."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from gateway import config, paths, private_file
from gateway.backup import contents, memory_restoring, mounts, pending, settling, unpacking
from gateway.backup.contents import DATABASE_NAME, DUMP_NAME, Installation
from gateway.backup.manifest import Part
from gateway.backup.memory_restoring import RestoredMemories
from gateway.backup.pending import Move
from gateway.backup.progress import Report
from gateway.backup.settling import SettledWork
from gateway.backup.verifying import VerifiedBackup
from gateway.config_files import env_file, json_file, variables
from gateway.domain.file import describe_size
from gateway.errors import ConfigError, Conflict, StorageFull, explain_disk_error
from gateway.store.sqlite import copies

#: how the names of directories with drafts begin, and those in which a restore keeps what was there before
_DRAFT_PREFIX, _KEPT_PREFIX = ".restore-", "before-restore-"
#: bytes that a member needs on disk in addition to its size, on average
_BYTES_PER_MEMBER = 4096


class RestoreOptions(NamedTuple):
    """What the user wants of a restore."""

    replace: bool = False
    #: whether open work goes on; None: only if no gateway worked while the backup was made
    resume: bool | None = None
    fire_missed: bool = False


class RestoredBackup(NamedTuple):
    """What a restore has done."""

    work: SettledWork
    resumed: bool
    #: directories with what was there before
    kept: Sequence[Path]
    #: files of secrets that the backup does not contain, and that stay as they were
    kept_secrets: Sequence[Path]
    memories: RestoredMemories
    #: a dump of PostgreSQL that the user must load
    dump: Path | None


def find_installation(home: Path, config_file: Path, env: Mapping[str, str], found: VerifiedBackup) -> Installation:
    """Return the places into which a backup is restored: its own settings say where the data is.

    Raises:
        ConfigError: the path of the data directory cannot be used.
    """
    shown = paths.display_path(config_file)
    content = found.settings.get(contents.CONFIG_NAME)
    written = {} if content is None else json_file.decode_config(content, shown)
    if (own := found.settings.get(contents.ENV_NAME)) is not None:
        dotenv = env_file.parse_env_content(own, ".env")
    else:
        dotenv = env_file.read_env_file(paths.env_file(home))
    setting = next(setting for setting in config.list_settings() if setting.name == "data.directory")
    for values in (env, dotenv):
        for name in setting.env:
            if values.get(name):
                return Installation(home, config_file, paths.expand_path(values[name], name))
    given = json_file.get_nested(written, setting.name)
    if isinstance(given, str) and given:
        given = str(variables.substitute_variables(given, {**dotenv, **env}, shown, setting.name))
        return Installation(home, config_file, paths.expand_path(given, setting.name))
    return Installation(home, config_file, home / "data")


class Restorer:
    """Restores one backup. The caller holds the locks of the gateway and of restores."""

    def __init__(self, place: Installation, found: VerifiedBackup, options: RestoreOptions, report: Report) -> None:
        self._place = place
        self._found = found
        self._options = options
        self._report = report
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        self._kept_name = f"{_KEPT_PREFIX}{moment}"
        bases = {place.home, place.data, place.config.parent}
        while any(os.path.lexists(base / self._kept_name) for base in bases):  # another restore of this second
            self._kept_name += "-again"
        self._draft_name = f"{_DRAFT_PREFIX}{os.urandom(4).hex()}"
        self._kept: list[Path] = []

    def restore_backup(self, env: Mapping[str, str]) -> RestoredBackup:
        """Restore the backup.

        Args:
            env: says where the programs of agents keep their conversations.

        Raises:
            Conflict: something is there already, or the backup is damaged.
            StorageFull, Unavailable: the disk refuses.
            ConfigError: the database cannot be used.
        """
        remove_leftovers(self._place)
        drafts = {part: self._draft_of(part) for part in self._parts}
        try:
            in_use = [path for path in self._list_targets().values() if _is_in_use(path)]
            if in_use and not self._options.replace:
                raise self._refuse_in_use(in_use)
            _refuse_mounts((*self._list_targets().values(), *self._list_companions()))
            self._require_space()
            with self._removed_on_error():
                unpacking.unpack_backup(self._found, drafts, self._report)
                resumed, work = self._settle(drafts)
                memories = self._restore_memories(drafts, env)
                for draft in self._draft_directories:
                    private_file.give_tree_to_owner(draft, self._place.home)
                self._report("putting it in place")
                _sync_disks()
                kept_secrets = [file for file in self._place.secret_files if self._stays(file)]
                moves = list(self._plan_moves(drafts))
                pending.write_plan(self._place.home, moves, self._draft_directories)
            pending.carry_out_plan(self._place.home)
            holders = {place for move in moves for place in Path(move.target).parents}
            private_file.give_names_to_owner(
                [place for place in holders if any(place.is_relative_to(kept) for kept in self._kept)], self._place.home
            )
        except OSError as error:
            at = f" at {paths.display_path(Path(error.filename))}" if isinstance(error.filename, str) else ""
            raise explain_disk_error(error, f"the backup cannot be restored, and nothing has changed{at}") from error
        dump = self._place.dump if self._place.dump.exists() else None
        return RestoredBackup(work, resumed, self._kept, kept_secrets, memories, dump)

    # --- what goes where --------------------------------------------------------------------------

    @property
    def _parts(self) -> list[Part]:
        return [part for part in Part if part in self._found.manifest.parts]

    def _base_of(self, part: Part) -> Path:
        """Return the directory in which a part has its place, and which is on the same disk."""
        if part is Part.CONFIG:
            return self._place.config.parent
        return self._place.data if part in (Part.DATABASE, Part.FILES) else self._place.home

    def _draft_of(self, part: Part) -> Path:
        return self._base_of(part) / self._draft_name / part

    @property
    def _draft_directories(self) -> list[Path]:
        return sorted({self._draft_of(part).parent for part in Part})

    def _list_targets(self) -> dict[str, Path]:
        """Return the places that this backup fills, by the names in it."""
        place, home, parts = self._place, self._place.home, self._parts
        found: dict[str, Path] = {}
        if contents.CONFIG_NAME in self._found.settings:
            found[contents.CONFIG_NAME] = place.config
        if Part.STATE in parts:
            found[f"{Part.STATE}/found-agent.json"] = paths.found_agent_file(home)
        if Part.SECRETS in parts:
            found |= {f"{Part.SECRETS}/{file.name}": file for file in place.secret_files}
        if Part.DATABASE in parts:
            found |= {
                DATABASE_NAME: place.database,
                DUMP_NAME: place.dump,
                Part.FILES: place.files,
                Part.OUTPUTS: place.outputs,
            }
        if Part.WORKSPACES in parts:
            found[Part.WORKSPACES] = place.workspaces
        return found

    def _list_companions(self) -> Iterator[Path]:
        """Yield what belongs to something that is replaced, and must not stay with what replaces it."""
        if contents.CONFIG_NAME in self._found.settings:
            for ending in (".last-good", ".rejected"):
                yield self._place.config.with_name(self._place.config.name + ending)
        if Part.DATABASE in self._parts:
            database = self._place.database  # an update keeps copies of it, which it would put back
            yield from (database.with_name(database.name + ending) for ending in ("-wal", "-shm"))
            yield from copies.list_all(database)

    def _plan_moves(self, drafts: Mapping[Part, Path]) -> Iterator[Move]:
        targets = self._list_targets()
        for path in (*targets.values(), *self._list_companions()):
            # A secret that the backup has not got stays. So do other things if they are no part of it.
            if os.path.lexists(path) and not self._stays(path):
                yield Move(str(path), str(self._keep(path)))
        for name, path in targets.items():
            part, _, below = name.partition("/")
            if Part(part) not in drafts:
                continue
            draft = drafts[Part(part)] / below if below else drafts[Part(part)]
            if os.path.lexists(draft):
                yield Move(str(draft), str(path))

    def _stays(self, path: Path) -> bool:
        """Return whether a file of secrets stays, because the backup does not contain it."""
        if path not in self._place.secret_files or not path.exists():
            return False
        return Part.SECRETS not in self._parts or not (self._draft_of(Part.SECRETS) / path.name).exists()

    def _keep(self, path: Path) -> Path:
        """Return where something is kept that is replaced: on its own disk."""
        kept = path.parent / self._kept_name
        home = self._place.home
        if path.is_relative_to(home) and (path.parent == home or mounts.can_move(path.parent, home)):
            kept = home / self._kept_name / path.relative_to(home).parent
        root = home / self._kept_name if kept.is_relative_to(home / self._kept_name) else kept
        if root not in self._kept:
            self._kept.append(root)
        return kept / path.name

    # --- the steps --------------------------------------------------------------------------------

    def _settle(self, drafts: Mapping[Part, Path]) -> tuple[bool, SettledWork]:
        resume = self._options.resume
        resumed = not self._found.worked if resume is None else resume
        database = drafts[Part.DATABASE] / Path(DATABASE_NAME).name if Part.DATABASE in drafts else None
        if database is None or not database.exists():
            return resumed, SettledWork()
        self._report("preparing the database")
        work = settling.settle_database(
            database, self._found.header, resume=resumed, fire_missed=self._options.fire_missed
        )
        return resumed, work

    def _restore_memories(self, drafts: Mapping[Part, Path], env: Mapping[str, str]) -> RestoredMemories:
        if Part.AGENTS not in drafts:
            return RestoredMemories()
        return memory_restoring.restore_memories(
            drafts[Part.AGENTS], env, Path(self._found.header.home), self._place.home
        )

    @contextlib.contextmanager
    def _removed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            for draft in self._draft_directories:
                shutil.rmtree(draft, ignore_errors=True)
            raise

    def _require_space(self) -> None:
        """Refuse a backup that does not fit on the disk.

        Raises:
            StorageFull: it does not.
        """
        wanted: dict[int, int] = {}
        for part, size in self._found.manifest.parts.items():
            base = self._make_base(Part(part))
            needs = size.bytes + size.files * _BYTES_PER_MEMBER
            if part == Part.DATABASE:
                needs += size.bytes  # a copy is made before it is migrated
            wanted[base.stat().st_dev] = wanted.get(base.stat().st_dev, 0) + needs
            free = shutil.disk_usage(base).free
            if wanted[base.stat().st_dev] > free:
                raise StorageFull(
                    f"the backup needs {describe_size(wanted[base.stat().st_dev])} on the disk of"
                    f" {paths.display_path(base)}, which has {describe_size(free)} left.",
                    remedy="Free some space; nothing has changed.",
                )

    def _make_base(self, part: Part) -> Path:
        """Return the directory in which a part has its place, which is made if it is missing.

        Raises:
            ConfigError: it cannot be used.
        """
        base = self._base_of(part)
        try:
            is_new = not base.exists()
            paths.make_private_directory(base)
            if is_new:
                private_file.give_tree_to_owner(base, self._place.home)
            return base
        except OSError as error:
            remedy = "Correct that, or use another state directory: MOONGATE_HOME."
            if base == self._place.data:
                remedy = "The config of the backup names it. To use another one, set MOONGATE_DATA_DIR."
            raise ConfigError(f"cannot use {paths.display_path(base)}: {error.strerror}.", remedy=remedy) from error

    def _refuse_in_use(self, in_use: Iterable[Path]) -> Conflict:
        named = ", ".join(paths.display_path(path) for path in in_use)
        return Conflict(
            f"there is something already in {paths.display_path(self._place.home)}: {named}.",
            remedy="To replace it, say --replace: what is there now is kept in a directory of its own.",
        )


def remove_leftovers(place: Installation) -> None:
    """Remove the drafts of restores that were killed. The caller holds the lock of restores, and none is to finish."""
    for base in {place.home, place.data, place.config.parent}:
        with contextlib.suppress(OSError):
            for draft in base.glob(f"{_DRAFT_PREFIX}????????"):
                shutil.rmtree(draft, ignore_errors=True)
            for probe in base.glob(f"{mounts.PROBE_PREFIX}*"):
                probe.unlink(missing_ok=True)


def _is_in_use(path: Path) -> bool:
    """Return whether there is something that a restore would replace: an empty directory is nothing."""
    if not os.path.lexists(path):
        return False
    return not path.is_dir() or path.is_symlink() or any(path.iterdir())


def _refuse_mounts(places: Iterable[Path]) -> None:
    """Refuse to change the name of a mount point.

    Raises:
        ConfigError: something that would be replaced is one, or has one in it, though it may be empty.
    """
    for path in places:
        if (mount := mounts.find_mount(path)) is not None:
            raise ConfigError(
                f"{paths.display_path(mount)} is a mount point, which a restore cannot replace; nothing has changed.",
                remedy="Unmount it, or leave that volume of the container out, until the restore has ended. Then move"
                f" {paths.display_path(path)} to where it was mounted from, and mount it again."
                "\nThe whole state directory and the whole data directory may be mount points.",
            )


def _sync_disks() -> None:
    """Make all that was written durable."""
    if sys.platform != "win32":
        os.sync()
