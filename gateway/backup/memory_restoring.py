"""Puts back what agents' programs kept of their conversations. Nothing that is there is replaced."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from gateway import paths
from gateway.backup import agent_memory


class RestoredMemories(NamedTuple):
    """What was put back."""

    #: number of files that were put back, and of those that were there already and stay as they are
    restored: int = 0
    present: int = 0


def restore_memories(draft: Path, env: Mapping[str, str], old_home: Path, home: Path) -> RestoredMemories:
    """Move conversations to the places that agents' programs use here.

    A program finds a conversation by the directory in which it was held. If the state directory has moved, so have
    the directories of sessions; then their conversations get the names that belong to the new directories.

    Args:
        draft: the directory of the part.
        old_home: the state directory in the backup.

    Raises:
        OSError: the disk refuses. What was put back stays; the same restore goes on.
    """
    restored = present = 0
    renamed = _find_renamed(draft.parent, old_home, home)
    for place in agent_memory.find_memories(env):
        source = draft / place.name
        if not source.is_dir() or source.is_symlink():
            continue
        for directory, _, files in os.walk(source):
            for name in files:
                file = Path(directory, name)
                below = file.relative_to(source)
                target = place.path / Path(renamed.get((place.name, below.parts[0]), below.parts[0]), *below.parts[1:])
                if os.path.lexists(target):
                    present += 1
                    continue
                paths.make_private_directory(target.parent)
                shutil.move(file, target)
                restored += 1
    return RestoredMemories(restored, present)


def _find_renamed(draft: Path, old_home: Path, home: Path) -> Mapping[tuple[str, str], str]:
    """Return the names that directories of conversations get here, by their agent and their names in the backup."""
    old, new = old_home / "workspaces", home / "workspaces"
    if old == new:
        return {}
    found = {}
    for workspaces in (draft / "workspaces", new):
        for name in os.listdir(workspaces) if workspaces.is_dir() else ():
            found["claude", _name_project(str(old / name))] = _name_project(str(new / name))
            found["gemini", _hash_path(old / name)] = _hash_path(new / name)
    return found


def _name_project(path: str) -> str:
    """Return the name that Claude Code gives to the directory of a project."""
    return re.sub(r"[^A-Za-z0-9]", "-", path)


def _hash_path(path: Path) -> str:
    """Return the name that Gemini CLI gives to the directory of a project."""
    return hashlib.sha256(str(path).encode()).hexdigest()
