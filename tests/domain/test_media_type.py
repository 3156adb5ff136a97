"""The type of a file is what its bytes say, whatever its sender says."""

from __future__ import annotations

import io
import random
import re
import struct
import zipfile
import zlib

import pytest

from gateway.domain.media_type import INLINE_MEDIA_TYPES, SNIFFED_BYTES, find_media_type, guess_ending


def make_png() -> bytes:
    """Return a picture of one pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0\xff\0\0")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def make_zip_bomb() -> bytes:
    """Return an archive of a few kilobytes that unpacks to ten megabytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * 10_000_000)
    return packed.getvalue()


HTML = b"<!DOCTYPE html><html><script>alert(1)</script></html>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
CONTENTS = {
    "image/png": make_png(),
    "image/jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00" + bytes(100),
    "image/gif": b"GIF89a\x01\x00\x01\x00\x80\x00\x00" + bytes(30),
    "image/webp": b"RIFF\x1a\0\0\0WEBPVP8L" + bytes(20),
    "application/pdf": b"%PDF-1.7\n%\xe2\xe3\n1 0 obj",
    "audio/mpeg": b"ID3\x04\x00\x00\0\0\0\0" + bytes(50),
    "audio/wav": b"RIFF\x24\0\0\0WAVEfmt " + bytes(40),
    "video/mp4": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(30),
    "text/html": HTML,
    "image/svg+xml": SVG,
    "application/zip": make_zip_bomb(),
    "text/plain": "Gr\u00fc\u00dfe\n".encode(),
}


@pytest.mark.parametrize(("expected", "content"), CONTENTS.items(), ids=list(CONTENTS))
def test_a_content_shows_its_type_without_a_name_and_whatever_picture_its_sender_says_it_is(
    expected: str, content: bytes
) -> None:
    for declared, name in (("", ""), ("application/octet-stream", "download"), ("image/png", "a.png"), ("junk", "")):
        assert find_media_type(declared, name, content[:SNIFFED_BYTES]) == expected, declared


@pytest.mark.parametrize("kind", sorted(INLINE_MEDIA_TYPES))
def test_a_picture_is_a_picture_even_if_its_sender_says_that_it_is_a_page(kind: str) -> None:
    assert find_media_type("text/html; charset=utf-8", "page.html", CONTENTS[kind]) == kind


@pytest.mark.parametrize(
    "declared", ["image/png", "IMAGE/PNG", "image/jpg", "audio/mpeg", "video/mp4", "application/pdf"]
)
def test_no_text_and_no_unknown_bytes_pass_for_a_kind_of_file_that_is_always_marked(declared: str) -> None:
    for content in (b"", b"hello", HTML, SVG, b"\x01\x02\x03\x04" * 20, CONTENTS["application/zip"]):
        assert find_media_type(declared, "a.png", content) not in INLINE_MEDIA_TYPES | {declared.lower()}


@pytest.mark.parametrize(
    ("declared", "name", "content", "expected"),
    [
        ("", "a.md", b"# Title", "text/markdown"),
        ("text/csv; header=present", "data", b"a,b\n1,2\n", "text/csv"),
        ("", "a.docx", CONTENTS["application/zip"], WORD),
        ("application/x-own", "", b"\x01\x02", "application/x-own"),
        ("image/svg+xml", "a", SVG, "image/svg+xml"),
        ("", "", b"", "application/octet-stream"),
        ("", "", b"\x00\x01\x02", "application/octet-stream"),
        ("", "", "\u00fc".encode() * 3000, "text/plain"),
    ],
)  # fmt: skip
def test_what_bytes_do_not_show_is_what_the_sender_says_or_else_the_name(
    declared: str, name: str, content: bytes, expected: str
) -> None:
    assert find_media_type(declared, name, content[:SNIFFED_BYTES]) == expected


@pytest.mark.parametrize(
    "declared",
    [
        "text/",
        "/html",
        "text",
        "text/html\r\nX: y",
        "a/b/c",
        "text/h\0tml",
        "\u00e9/x",
        "x" * 300 + "/y",
        ";",
        "text/<b>",
    ],
)
def test_a_declared_type_that_is_none_says_nothing(declared: str) -> None:
    assert find_media_type(declared, "", b"\x00\x01") == "application/octet-stream"


def test_no_bytes_make_it_fail_and_each_type_can_be_a_header() -> None:
    generator = random.Random(20)
    whole = [content[:SNIFFED_BYTES] for content in CONTENTS.values()]
    for _ in range(2000):
        content = bytearray(generator.choice(whole))
        for _ in range(generator.randrange(8)):
            content[generator.randrange(len(content))] = generator.randrange(256)
        found = find_media_type("", "", bytes(content[: generator.randrange(len(content) + 1)]))
        assert re.fullmatch(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+", found)


@pytest.mark.parametrize(
    ("media_type", "ending"), [("image/webp", ".webp"), ("image/jpeg", ".jpg"), ("text/csv", ".csv"), ("x/unknown", "")]
)
def test_the_ending_of_a_name_follows_the_type(media_type: str, ending: str) -> None:
    assert guess_ending(media_type) == ending
