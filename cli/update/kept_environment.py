"""The environment from before the last update: a copy that remains, for a rollback and for processes that still run.

It shares the files of the old environment, so that it costs no space until these are gone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from cli.update.environment import UNFINISHED, remove_directory
from cli.update.installation import Installation, Kind
from cli.update.tools import PROGRAM_TIMEOUT_SECONDS, interpreter_of, run_program
from gateway import private_file
from gateway.process.own_environment import COPY_MARK, COPY_SOURCE, COPY_SUFFIX, identify_directory, place_near

#: our packages in a clone
SOURCE_PACKAGES = ("gateway", "cli", "service_templates")


def kept_copy(site: Installation) -> Path:
    """Return where the environment from before the last update is."""
    return place_near(site.environment, COPY_SUFFIX)


def keep_copy(site: Installation) -> None:
    """Make the copy of the present environment that remains, and that running processes go on with.

    Raises:
        OSError: the disk is full.
    """
    kept = kept_copy(site)
    draft = kept.with_name(kept.name + ".draft")
    remove_directory(draft)
    _share_tree(site.environment, draft)
    if site.kind is Kind.CLONE:
        for package in SOURCE_PACKAGES:
            _share_tree(site.source / package, draft / COPY_SOURCE / package)
        _lead_to_copied_source(draft, kept, site.source)
    private_file.replace_readable_file(draft / COPY_MARK, identify_directory(site.environment).encode())
    if kept.exists() and not _former_copy(site).exists():
        kept.rename(_former_copy(site))
    remove_directory(kept)
    draft.rename(kept)


def forget_former_copy(site: Installation) -> None:
    """Remove the copy that the last one replaced: one is enough.

    Raises:
        OSError: it cannot be removed.
    """
    remove_directory(_former_copy(site))


def restore_former_copy(site: Installation) -> None:
    """Put the copy back that the last one replaced, because the update has failed.

    Raises:
        OSError: it cannot be renamed.
    """
    if _former_copy(site).exists():
        remove_directory(kept_copy(site))
        _former_copy(site).rename(kept_copy(site))


def _former_copy(site: Installation) -> Path:
    return kept_copy(site).with_name(kept_copy(site).name + ".former")


def copy_kept(site: Installation) -> None:
    """Copy the environment from before the last update to the place where it can be exchanged.

    Raises:
        OSError: the disk is full.
    """
    remove_directory(site.candidate)
    leave_out = {COPY_MARK, COPY_SOURCE}
    kept = kept_copy(site)
    shutil.copytree(kept, site.candidate, symlinks=True, ignore=lambda _, names: leave_out.intersection(names))
    for file in site.candidate.glob("lib/python3*/site-packages/*.pth"):
        file.write_text(file.read_text().replace(str(kept / COPY_SOURCE), str(site.source)))


def read_kept_version(site: Installation, env: Mapping[str, str]) -> str | None:
    """Return the version in the environment from before the last update; None without one."""
    python = interpreter_of(kept_copy(site))
    if not python.exists():
        return None
    said = run_program([python, "-P", "-m", "cli.main", "--version"], env, PROGRAM_TIMEOUT_SECONDS)
    return said.out.split()[-1] if said.code == 0 and said.out.split() else None


def _share_tree(source: Path, target: Path) -> None:
    """Copy a tree with links to its files; where the file system has none, with copies."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target, symlinks=True, copy_function=_share_file, ignore=UNFINISHED)


def _share_file(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _lead_to_copied_source(draft: Path, kept: Path, source: Path) -> None:
    """Let the copy of a clone's environment find the copied packages, not those of the clone."""
    for file in draft.glob("lib/python3*/site-packages/*.pth"):
        text = file.read_text()
        if str(source) in text:
            file.unlink()  # it is a link: the original stays as it is
            file.write_text(text.replace(str(source), str(kept / COPY_SOURCE)))
