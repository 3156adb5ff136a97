"""Pictures that programs can read."""

from __future__ import annotations

import struct
import zlib


def make_png(mark: str = "", width: int = 8, height: int = 8) -> bytes:
    """Return a grey picture; the mark makes its bytes differ from those of others."""
    rows = zlib.compress(b"".join(b"\0" + b"\x80" * width for _ in range(height)))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"tEXt", b"Comment\0" + mark.encode()), (b"IDAT", rows), (b"IEND", b"")]
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)
