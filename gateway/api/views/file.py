"""What clients see of a file."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from gateway.domain.file import File


class FileShown(Struct, frozen=True, kw_only=True):
    """A file. `GET /api/files/{id}` returns its content."""

    #: a ULID
    id: str
    #: safe to use as the name of a file
    name: str
    #: its type, such as `image/png`
    media_type: str
    #: in bytes
    size: int
    #: of its content, in hexadecimal
    sha256: str


def render_file(of: File) -> FileShown:
    return FileShown(id=of.id, name=of.name, media_type=of.media_type, size=of.size, sha256=of.sha256)


def render_files(of: Sequence[File]) -> list[FileShown]:
    return [render_file(file) for file in of]
