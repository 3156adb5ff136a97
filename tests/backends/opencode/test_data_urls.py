"""Data URLs in the JSON of opencode: written while a body is sent, and cut out of what comes."""

from __future__ import annotations

import base64
import json
import tracemalloc
from pathlib import Path

import pytest

from gateway.backends.opencode.data_urls import READ_BYTES, FileUrl, UrlContent, UrlCutter, read_data_url
from gateway.json_data.split_json import SplitJson


async def test_a_body_has_the_data_urls_of_its_files(tmp_path: Path) -> None:
    contents = [b"", b"x", bytes(range(256)) * READ_BYTES]
    urls = []
    for number, content in enumerate(contents):
        (file := tmp_path / f"{number}").write_bytes(content)
        urls.append({"url": FileUrl(file, "image/png", len(content))})

    sent = b"".join(
        [piece async for piece in SplitJson({"text": "ü\ud83d", "files": urls}, FileUrl).stream(FileUrl.read)]
    )

    expected = [{"url": "data:image/png;base64," + base64.b64encode(content).decode()} for content in contents]
    assert json.loads(sent) == {"text": "ü\ud83d", "files": expected}


async def test_a_large_file_is_never_in_memory_whole(tmp_path: Path) -> None:
    (file := tmp_path / "large").write_bytes(bytes(20_000_000))
    cutter, sent = UrlCutter(), 0

    tracemalloc.start()
    async for piece in SplitJson({"url": FileUrl(file, "image/png", 20_000_000)}, FileUrl).stream(FileUrl.read):
        sent += len(piece)
        cutter.feed(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert sent > 26_000_000
    assert peak < 2_000_000


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_the_contents_of_data_urls_are_cut_out_however_their_pieces_are(size: int) -> None:
    said = 'a text with "url":"data:image/png;base64,AAAA" in it'
    given = [
        {"type": "file", "url": "data:image/png;base64," + "A" * 5000, "filename": "a"},
        {"type": "text", "text": said, "uri": "data:application/pdf;base64,AA=="},
        {"url": "https://example.com/", "text": "data:image/png;base64,AAAA"},
        {"url": "data:image/png;base64,"},
    ]
    text, cutter = json.dumps(given).encode(), UrlCutter()

    left = b"".join(cutter.feed(text[begin : begin + size]) for begin in range(0, len(text), size)) + cutter.finish()

    given[0]["url"], given[1]["uri"] = "data:image/png;base64,", "data:application/pdf;base64,"
    assert json.loads(left) == given


@pytest.mark.parametrize(
    ("url", "content"),
    [
        ("data:image/png;base64,aGk=", UrlContent("image/png", b"hi")),
        ("data:text/plain;charset=utf-8;base64,aGk=", UrlContent("text/plain", b"hi")),
        ("data:;base64,", UrlContent("", b"")),
        ("data:image/png;base64,aGk", None),
        ("data:image/png;base64,a*k=", None),
        ("data:image/png;base64,ä", None),
        ("data:text/plain,hi", None),
        ("file:///etc/passwd", None),
        ("", None),
    ],
)
def test_the_content_of_a_data_url_is_read_unless_it_is_broken(url: str, content: UrlContent | None) -> None:
    assert read_data_url(url) == content
