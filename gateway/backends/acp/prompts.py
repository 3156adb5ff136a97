"""Builds the prompt of a turn: its text, and blocks with those of its files that the agent takes.

The text names every file, and where it is in the workspace: an agent that is to use a picture, and not only to see it,
needs its path. There are no `resource_link` blocks. They tell no more than the path; opencode 1.18 fails a turn with
one to a file that is neither text, picture nor PDF, and Gemini CLI and Qwen Code drop one that Git ignores.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from pathlib import Path

from acp.schema import (
    AudioContentBlock,
    BlobResourceContents,
    EmbeddedResourceContentBlock,
    ImageContentBlock,
    PromptCapabilities,
    TextContentBlock,
    TextResourceContents,
)
from msgspec import Struct

from gateway.backends.acp.presets import KnownAgent
from gateway.domain.file import File
from gateway.domain.ports.backend import FileKind, NamedTurn

#: bytes of all files in the blocks of one prompt; in base64 they are a third more. The larger ones are only named
MAX_EMBEDDED_BYTES = 15_000_000
#: bytes of a text that is a block; the agent reads a longer one as far as it wants to
MAX_EMBEDDED_TEXT_BYTES = 100_000

PromptBlock = TextContentBlock | ImageContentBlock | AudioContentBlock | EmbeddedResourceContentBlock


class TakenFiles(Struct, frozen=True, kw_only=True):
    """What an agent takes in the blocks of a prompt."""

    kinds: frozenset[FileKind] = frozenset()
    #: whether it takes texts that are not the user's own words
    texts: bool = False
    #: whether every block of a file must be an embedded resource
    as_resources: bool = False


def find_taken_files(told: PromptCapabilities | None, known: KnownAgent | None) -> TakenFiles:
    """Return what an agent takes.

    Args:
        told: what it says at `initialize`.
        known: the known agent that it is.
    """
    if told is None:
        return TakenFiles()
    takes_resources = bool(told.embedded_context)
    takes = {
        FileKind.IMAGE: told.image,
        FileKind.AUDIO: told.audio,
        FileKind.PDF: takes_resources and known is not None and known.reads_pdf,
    }
    return TakenFiles(
        kinds=frozenset(kind for kind, taken in takes.items() if taken),
        texts=takes_resources,
        as_resources=takes_resources and known is not None and known.wants_resources,
    )


async def build_prompt(text: str, named: NamedTurn, taken: TakenFiles) -> Sequence[PromptBlock]:
    """Return the blocks of a prompt.

    Args:
        text: names the files of the turn.
        named: the turn, and where its files are.

    Raises:
        AgentError: a file is gone.
    """
    blocks: list[PromptBlock] = [TextContentBlock(type="text", text=text)]
    room = MAX_EMBEDDED_BYTES
    for file, path in zip(named.turn.attachments, named.paths, strict=False):
        if file.size <= room and _may_be_block(file, taken):
            content = await named.turn.read_file(file)
            block = await asyncio.to_thread(_make_block, file, Path(path).as_uri(), content, taken)
            if block is not None:
                blocks.append(block)
                room -= file.size
    return blocks


def _may_be_block(file: File, taken: TakenFiles) -> bool:
    kind = FileKind.classify(file)
    if kind is FileKind.OTHER:
        return taken.texts and 0 < file.size <= MAX_EMBEDDED_TEXT_BYTES
    return kind in taken.kinds


def _make_block(file: File, uri: str, content: bytes, taken: TakenFiles) -> PromptBlock | None:
    """Return the block of a file; None if it is neither picture, audio, PDF nor text."""
    kind = FileKind.classify(file)
    if kind is FileKind.OTHER:
        return _make_text_block(file, uri, content)
    data = base64.b64encode(content).decode()
    if kind is FileKind.PDF or taken.as_resources:
        blob = BlobResourceContents(uri=uri, mime_type=file.media_type, blob=data)
        return EmbeddedResourceContentBlock(type="resource", resource=blob)
    if kind is FileKind.IMAGE:
        return ImageContentBlock(type="image", mime_type=file.media_type, data=data)
    return AudioContentBlock(type="audio", mime_type=file.media_type, data=data)


def _make_text_block(file: File, uri: str, content: bytes) -> EmbeddedResourceContentBlock | None:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    if "\0" in text:
        return None
    resource = TextResourceContents(uri=uri, mime_type=file.media_type, text=text)
    return EmbeddedResourceContentBlock(type="resource", resource=resource)
