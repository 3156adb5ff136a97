"""The media type of a file: what its bytes say counts more than what its sender says."""

from __future__ import annotations

import codecs
import mimetypes

#: bytes of a file's beginning that show its type
SNIFFED_BYTES = 4096
#: the type of bytes of which nothing is known
UNKNOWN_MEDIA_TYPE = "application/octet-stream"
#: pictures that browsers show, and that cannot carry a script
INLINE_MEDIA_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
#: longest declared type that is looked at
MAX_MEDIA_TYPE_CHARACTERS = 127

#: kinds of files whose beginning always shows the type: without it, the declared type is wrong
_ALWAYS_MARKED = ("image/", "audio/", "video/", "application/pdf")
_ZIP_MARK = b"PK\x03\x04"
#: types that say nothing
_VAGUE = frozenset({"", UNKNOWN_MEDIA_TYPE, "binary/octet-stream", "application/x-www-form-urlencoded"})
#: other names of the same type
_SYNONYMS = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "audio/mp3": "audio/mpeg",
    "audio/wave": "audio/wav",
    "audio/x-wav": "audio/wav",
    "application/x-pdf": "application/pdf",
}
#: the usual endings of names; `mimetypes` knows more, but not the same ones on all systems
_ENDINGS = {
    "application/pdf": ".pdf",
    "audio/mpeg": ".mp3",
    "audio/wav": ".wav",
    "image/gif": ".gif",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "text/plain": ".txt",
}
#: types of text that have no mark at their beginning, or one that several types share
_MARKED_IMAGES = frozenset({"image/svg+xml"})


def find_media_type(declared: str, name: str, beginning: bytes) -> str:
    """Return the type of a file.

    Args:
        declared: what the sender says; may be empty. Parameters such as `charset` are dropped.
        name: the name of the file, whose ending tells its type if nothing else does.
        beginning: its first `SNIFFED_BYTES` bytes.
    """
    said = _normalize(declared)
    named = _normalize(mimetypes.guess_type(name)[0] or "")
    seen = _sniff(beginning)
    for likely in (said, named):
        if likely in seen:
            return likely
    if seen and seen[0].startswith(_ALWAYS_MARKED):
        return seen[0]
    for likely in (said, named):
        if likely not in _VAGUE and (likely in _MARKED_IMAGES or not likely.startswith(_ALWAYS_MARKED)):
            return likely
    if beginning.startswith(_ZIP_MARK):  # many types of files are archives; nothing says which this one is
        return "application/zip"
    if seen:
        return seen[0]
    return "text/plain" if _is_text(beginning) else UNKNOWN_MEDIA_TYPE


def guess_ending(media_type: str) -> str:
    """Return the ending of names of that type, with its dot; empty if none is known."""
    return _ENDINGS.get(media_type) or mimetypes.guess_extension(media_type) or ""


def _normalize(media_type: str) -> str:
    """Return a type in small letters and without parameters; empty if it is none."""
    plain = media_type[:MAX_MEDIA_TYPE_CHARACTERS].partition(";")[0].strip().lower()
    kind, slash, subtype = plain.partition("/")
    if not (slash and kind and subtype and all(c.isalnum() or c in "!#$&-^_.+" for c in kind + subtype)):
        return ""
    return _SYNONYMS.get(plain, plain) if plain.isascii() else ""


def _is_text(beginning: bytes) -> bool:
    """Return whether bytes are text in UTF-8, of which the last character may be cut."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(beginning)
    except UnicodeDecodeError:
        return False
    return bool(text) and not any(c < " " and c not in "\t\n\v\f\r\b\x1b" for c in text)


def _sniff(beginning: bytes) -> list[str]:
    """Return the types whose mark these bytes have, the likeliest first."""
    if not beginning:
        return []
    import puremagic  # late: its tables of marks take a megabyte

    try:
        found = puremagic.magic_string(beginning)
    except (puremagic.PureError, ValueError):
        return []
    return [plain for match in found if (plain := _normalize(match.mime_type))]
