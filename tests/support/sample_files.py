"""Small files of each kind, for tests."""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from gateway.domain.file import File
from gateway.domain.media_type import SNIFFED_BYTES, find_media_type
from gateway.domain.ports.backend import Turn


def _make_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def make_png(side: int = 16, noise: bytes = b"") -> bytes:
    """Return a red picture, and with it any bytes in a chunk that no program shows."""
    pixels = zlib.compress(b"".join(b"\0" + bytes([255, 0, 0]) * side for _ in range(side)))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), *([(b"noIs", noise)] if noise else []), (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_make_chunk(kind, data) for kind, data in chunks)


PNG = make_png()
PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj"
    b" 3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
)
WAV = (
    b"RIFF"
    + struct.pack("<I", 44)
    + b"WAVEfmt "
    + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8)
    + b"data"
    + struct.pack("<I", 8)
    + b"\x80" * 8
)
TEXT = b"a line of a log, with marker-4711\n"
#: bytes of no known kind
BINARY = bytes(range(256)) * 4


def attach(name: str, content: bytes, media_type: str = "") -> dict[str, str]:
    """Return a file as an attachment of a request to the API."""
    return {"name": name, "media_type": media_type, "data": base64.b64encode(content).decode()}


class GivenFiles:
    """Files of a turn, as the engine hands them to a backend."""

    def __init__(self, workspace: Path, contents: Mapping[str, bytes]) -> None:
        self._place = workspace / "attachments" / "run-1"
        self._contents = contents
        self.files = [_describe_file(name, content) for name, content in contents.items()]

    def attach_to(self, given: Turn) -> Turn:
        """Return a turn that has these files."""
        about = {"attachments": self.files, "read_file": self._read, "place_files": self._place_files}
        return msgspec.structs.replace(given, **about)

    async def _read(self, file: File) -> bytes:
        return self._contents[file.name]

    async def _place_files(self, files: Sequence[File]) -> list[str]:
        self._place.mkdir(parents=True, exist_ok=True)
        for file in files:
            (self._place / file.name).write_bytes(self._contents[file.name])
        return [str(self._place / file.name) for file in files]


def _describe_file(name: str, content: bytes) -> File:
    kind = find_media_type("", name, content[:SNIFFED_BYTES])
    return File(id=name, name=name, media_type=kind, size=len(content), sha256=hashlib.sha256(content).hexdigest())
