"""The files of a prompt: those that opencode takes as parts of it.

The text of the prompt names all files and where they are, so a part that the model does not get is not lost: opencode
puts an error text in its place. It fails a turn with a part of a type that it cannot pass on, and all turns after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gateway.backends.opencode.data_urls import FileUrl
from gateway.domain.file import File
from gateway.domain.ports.backend import FileKind, NamedTurn

#: bytes of a text that is a part; the agent reads a longer one as far as it wants to
MAX_TEXT_PART_BYTES = 100_000


class PromptFile(NamedTuple):
    """A file that is a part of a prompt."""

    name: str
    url: FileUrl


class TakenFiles(NamedTuple):
    """Which files can be parts of a prompt."""

    kinds: frozenset[FileKind]
    #: whether short texts can
    texts: bool


async def choose_prompt_files(named: NamedTurn, taken: TakenFiles) -> Sequence[PromptFile]:
    """Return the files of a turn that are parts of its prompt."""
    placed = zip(named.turn.attachments, map(Path, named.paths), strict=False)
    found = [(file, path, await _find_part_type(file, path, taken)) for file, path in placed]
    return [PromptFile(file.name, FileUrl(path, kind, file.size)) for file, path, kind in found if kind]


async def _find_part_type(file: File, path: Path, taken: TakenFiles) -> str:
    """Return the media type of a file as a part; empty if it cannot be one."""
    if FileKind.classify(file) in taken.kinds:
        return file.media_type
    if taken.texts and 0 < file.size <= MAX_TEXT_PART_BYTES and await asyncio.to_thread(_is_text, path):
        return "text/plain"
    return ""


def _is_text(path: Path) -> bool:
    try:
        return "\0" not in path.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return False
