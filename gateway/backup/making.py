"""Makes a backup of the installation that the settings name, and records how that went."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path

from gateway import private_file
from gateway.backup import status, writing
from gateway.backup.contents import BackupChoice, Installation
from gateway.backup.manifest import Purpose
from gateway.backup.progress import Report
from gateway.backup.writing import BackupWriter, ConfigContent, WrittenBackup
from gateway.config import Config
from gateway.config_files import json_file
from gateway.errors import ConfigError, GatewayError
from gateway.paths import display_path
from gateway.store import choice as stores


def make_backup(
    settings: Config,
    wanted: BackupChoice,
    to: Path,
    *,
    secrets: Collection[str],
    is_running: Callable[[], bool],
    report: Report = lambda _: None,
    purpose: Purpose = Purpose.HAND,
) -> WrittenBackup:
    """Make a backup in a directory, or as a file, and record the result in the state directory.

    Args:
        secrets: values of the config that are secret.
        is_running: returns whether a gateway works with the installation now.

    Raises:
        GatewayError: it cannot be made; nothing is left of it.
    """
    try:
        url = None if settings.store.url is None else stores.find_url(settings)
        place = Installation(settings.home, settings.path, settings.data_directory, url)
        config = _read_config(settings.path, secrets)
        writer = BackupWriter(
            place,
            wanted,
            config,
            is_running=is_running,
            report=report,
            purpose=purpose,
            installation=status.identify_installation(settings.home),
        )
        target = writing.choose_target(to, time.time())
        find_free = None if target == to else lambda: writing.choose_target(to, time.time())
        made = writer.write_backup(target, find_free)
    except GatewayError as error:
        # Elsewhere, and before an update, somebody sees it; here, the next one must be made.
        if to == settings.backup_directory and purpose is not Purpose.UPDATE:
            status.record_failure(settings.home, error.message)
        raise
    # One that leaves out what a restore needs is no reason to be calm. PostgreSQL may have backups of its own.
    is_full = wanted.workspaces and (wanted.database or url is not None)
    if is_full and purpose is not Purpose.UPDATE:
        status.record_success(settings.home, made.file, made.size, made.manifest.lost)
    return made


def _read_config(file: Path, secrets: Collection[str]) -> ConfigContent | None:
    try:
        content = private_file.read_plain_file(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(
            f"cannot read {display_path(file)}: {error.strerror}.", remedy=private_file.REPAIR_HINT
        ) from error
    return ConfigContent(content, json_file.decode_config(content, display_path(file)), secrets)
