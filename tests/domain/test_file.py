"""The names of files are safe to create, whatever their senders call them."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from gateway.domain.file import MAX_FILE_NAME_BYTES, File, clean_file_name, describe_file, describe_size

NAMES = {
    "report.pdf": "report.pdf",
    "../../etc/passwd": "passwd",
    "..\\..\\boot.ini": "boot.ini",
    "C:\\Users\\me\\photo.jpg": "photo.jpg",
    "/": "file",
    "": "file",
    ".": "file",
    "..": "file",
    "...": "file",
    " ": "file",
    "a\0b.txt": "ab.txt",
    "a\r\nb.txt": "ab.txt",
    "photo\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe": "photogpj.exe",
    "\N{ZERO WIDTH SPACE}\N{LEFT-TO-RIGHT MARK}": "file",
    "\N{BYTE ORDER MARK}a.txt": "a.txt",
    "Screenshot 9.41\N{NARROW NO-BREAK SPACE}PM.png": "Screenshot 9.41 PM.png",
    'what?*<>|:".txt': "what_______.txt",
    ".env": "env",
    "a. . .": "a",
    "\udcff.txt": "_.txt",
    "Gr\u00fc\u00dfe.txt": "Gr\u00fc\u00dfe.txt",
    "u\u0308.txt": "\u00fc.txt",
    "\u65e5\u672c.txt": "\u65e5\u672c.txt",
    "CON": "_CON",
    "nul.txt": "_nul.txt",
    "console.txt": "console.txt",
}


@pytest.mark.parametrize(("given", "expected"), NAMES.items(), ids=ascii)
def test_a_name_becomes_one_that_can_be_created(given: str, expected: str, tmp_path: Path) -> None:
    cleaned = clean_file_name(given)

    assert cleaned == expected
    (tmp_path / cleaned).write_bytes(b"")
    assert [entry.name for entry in tmp_path.iterdir()] == [cleaned]
    assert clean_file_name(cleaned) == cleaned


def test_a_long_name_is_cut_between_characters_and_keeps_its_ending(tmp_path: Path) -> None:
    for name in ("a" * 300 + ".tar.gz", "\N{CRAB}" * 300 + ".jpeg", "\u00e9" * 300, "x." + "y" * 300):
        cleaned = clean_file_name(name)

        assert len(cleaned.encode()) <= MAX_FILE_NAME_BYTES
        assert len(cleaned.encode()) > MAX_FILE_NAME_BYTES - 5
        (tmp_path / cleaned).write_bytes(b"")
    assert clean_file_name("\N{CRAB}" * 300 + ".jpeg").endswith("\N{CRAB}.jpeg")


def test_every_character_gives_a_name_that_can_be_created() -> None:
    for code in range(0x110000):
        cleaned = clean_file_name(f"a{chr(code)}b")
        assert not any(unicodedata.category(c)[0] == "C" or c in '/\\<>:"|?*' for c in cleaned), hex(code)


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (99_499, "99.5 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (25_000_000, "25.0 MB"),
        (10_000_000_000, "10.0 GB"),
        (12_345_000_000_000, "12.3 TB"),
        (1_234_500_000_000_000, "1234 TB"),
    ],
)
def test_sizes_are_told_in_the_unit_that_people_use(size: int, told: str) -> None:
    assert describe_size(size) == told


def test_a_file_is_told_in_a_line() -> None:
    file = File(id="1", name="a.png", media_type="image/png", size=2048, sha256="")
    assert describe_file(file) == "a.png (image/png, 2.0 kB)"
