"""A file: bytes that came with a message, or that an agent made. Its content is known by its SHA-256."""

from __future__ import annotations

import unicodedata

from msgspec import Struct

from gateway.domain.media_type import INLINE_MEDIA_TYPES
from gateway.errors import QuotaFull

#: bytes that all files may have together, if the settings do not say otherwise
DEFAULT_FILE_QUOTA_BYTES = 10_000_000_000
#: bytes of a file's name in UTF-8, as file systems limit it
MAX_FILE_NAME_BYTES = 200
#: what a file is called that has no name
UNNAMED = "file"
#: names that mean devices on Windows, with any ending:
#: https://learn.microsoft.com/en-us/windows/win32/fileio/naming-a-file
_WINDOWS_DEVICES = frozenset(
    {
        "CON",
        "PRN",
        "AUX",
        "NUL",
        *(f"{name}{digit}" for name in ("COM", "LPT") for digit in "0123456789\u00b9\u00b2\u00b3"),
    }
)


class File(Struct, frozen=True, kw_only=True):
    """A file, as runs, messages and clients refer to it. It never changes."""

    #: a ULID
    id: str
    #: without directories, and safe to create
    name: str
    #: what its bytes say, or its sender where they say nothing
    media_type: str
    #: in bytes
    size: int
    #: of its content, in hexadecimal
    sha256: str

    @property
    def is_picture(self) -> bool:
        """Whether browsers, chats and models show it as a picture."""
        return self.media_type in INLINE_MEDIA_TYPES


class StoredFile(Struct, frozen=True, kw_only=True):
    """A file in the store."""

    file: File
    #: position among all files: it grows with each one
    seq: int
    #: how many runs, messages and schedules refer to it
    uses: int
    #: milliseconds since 1970 UTC
    created: int


class FileLimits(Struct, frozen=True, kw_only=True):
    """How large files may be."""

    #: bytes of one file
    size: int = 25_000_000
    #: files of one message, and bytes of all of them
    per_message: int = 10
    message_size: int = 50_000_000
    #: bytes of all stored files; equal content counts once
    quota: int = DEFAULT_FILE_QUOTA_BYTES


def make_quota_error(total: int, quota: int) -> QuotaFull:
    """Return the error to raise when all files together would have that many bytes."""
    return QuotaFull(
        f"all files together would have {total} bytes, and may have {quota}: nothing was accepted.",
        remedy="Delete files that are not needed, or raise files.quota.",
    )


def clean_file_name(given: str) -> str:
    """Return a name that can be created in any directory of any system, as near to a given one as possible.

    Directories are dropped, as are characters that nobody sees or that change how others are shown, and those that
    Windows forbids. A long name is cut, but keeps its ending.
    """
    last = given.replace("\\", "/").rstrip("/").rpartition("/")[2]
    normal = unicodedata.normalize("NFC", last.encode("utf-8", "replace").decode())
    kept = _shorten_name("".join(map(_clean_character, normal)).strip(" .")) or UNNAMED
    return f"_{kept}" if kept.partition(".")[0].upper() in _WINDOWS_DEVICES else kept


def _clean_character(character: str) -> str:
    """Return what stands for a character in a name: nothing for one that is not shown, or shows others differently."""
    match unicodedata.category(character)[0]:
        case "Z":
            return " "
        case "C":
            return ""
        case _:
            return "_" if character in '<>:"|?*' else character


def _shorten_name(name: str) -> str:
    if len(name.encode()) <= MAX_FILE_NAME_BYTES:
        return name
    stem, dot, ending = name.rpartition(".")
    ending = f"{dot}{ending}" if stem and len(ending.encode()) <= 16 else ""
    room = MAX_FILE_NAME_BYTES - len(ending.encode())
    return name.encode()[:room].decode("utf-8", "ignore").rstrip(" .") + ending


def describe_size(size: int) -> str:
    """Return a number of bytes for people, such as `1.2 MB`."""
    if size < 1000:
        return f"{size} byte" if size == 1 else f"{size} bytes"
    value = float(size)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.5 or unit == "TB":
            break
    return f"{value:.0f} {unit}" if value >= 99.5 else f"{value:.1f} {unit}"


def describe_file(file: File) -> str:
    """Return a file in a line for people and agents: its name, type and size."""
    return f"{file.name} ({file.media_type}, {describe_size(file.size)})"
