"""The files of the dashboard, as browsers get them: compressed, and below an address that changes with their content.

A version is a hash of all files. What is below `/ui/VERSION/` never changes, so browsers keep it for good; the first
page names the version of today. The files are read and compressed when a browser first asks: until then, they cost
nothing.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
from pathlib import Path

from aiohttp import web
from msgspec import Struct

from gateway.process.own_environment import find_own_path

#: where the files are
WEB_DIRECTORY = Path(__file__).parent.parent / "web"
_VERSION_PLACE, _PRELOADS_PLACE = b"@version", b"@preloads"
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
#: the modules that the first page needs whatever it shows; the browser loads them at once, not one after the other
_PRELOADED_DIRECTORIES = ("core", "parts", "strings")

#: what the pages may load, and from where: https://www.w3.org/TR/CSP3/. No string may become markup by itself.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " font-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self';"
    " require-trusted-types-for 'script'; trusted-types moongate"
)
_PAGE_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "no-referrer",
}


class WebFile(Struct, frozen=True, kw_only=True):
    """A file of the dashboard."""

    media_type: str
    #: its content, by gzip
    compressed: bytes
    #: what tells this content from others
    etag: str


class WebFiles(Struct, frozen=True, kw_only=True):
    """All files of the dashboard."""

    #: hash of all files
    version: str
    #: by their path below the directory
    files: dict[str, WebFile]


def load_web_files() -> WebFiles:
    """Return all files of the dashboard, as they are now: who edits them only loads the page again.

    It reads and compresses files after a change: call it in a thread.
    """
    directory = find_own_path(WEB_DIRECTORY)
    paths = sorted(path for path in directory.rglob("*") if path.suffix in _MEDIA_TYPES)
    return _read_web_files(directory, tuple(paths), max(path.stat().st_mtime_ns for path in paths))


@functools.lru_cache(maxsize=1)
def _read_web_files(directory: Path, paths: tuple[Path, ...], changed: int) -> WebFiles:
    """Read all files.

    Args:
        changed: when one of them changed at last; another time makes the cache read them again.
    """
    contents = {path.relative_to(directory).as_posix(): path.read_bytes() for path in paths}
    whole = hashlib.sha256(b"".join(name.encode() + b"\0" + data + b"\0" for name, data in contents.items()))
    version = whole.hexdigest()[:16]
    contents["index.html"] = _fill_index(contents["index.html"], version, contents)
    return WebFiles(version=version, files={name: _compress(name, data) for name, data in contents.items()})


def _fill_index(template: bytes, version: str, names: dict[str, bytes]) -> bytes:
    wanted = [name for name in names if name.endswith(".js") and name.partition("/")[0] in _PRELOADED_DIRECTORIES]
    lines = [f'<link rel="modulepreload" href="/ui/{version}/{name}">' for name in wanted]
    return template.replace(_VERSION_PLACE, version.encode()).replace(_PRELOADS_PLACE, "\n    ".join(lines).encode())


def _compress(name: str, data: bytes) -> WebFile:
    return WebFile(
        media_type=_MEDIA_TYPES[Path(name).suffix],
        compressed=gzip.compress(data, mtime=0),
        etag=hashlib.sha256(data).hexdigest()[:16],
    )


def answer_web_file(request: web.Request, file: WebFile, cache_control: str) -> web.Response:
    """Return a file as an answer; without its content if the browser has it already."""
    etag = f'"{file.etag}"'
    headers = {**_PAGE_HEADERS, "Cache-Control": cache_control, "ETag": etag, "Vary": "Accept-Encoding"}
    known = request.headers.get("If-None-Match", "")
    if etag in [one.strip().removeprefix("W/") for one in known.split(",")]:
        return web.Response(status=304, headers=headers)
    headers["Content-Type"] = file.media_type
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        return web.Response(body=file.compressed, headers={**headers, "Content-Encoding": "gzip"})
    return web.Response(body=gzip.decompress(file.compressed), headers=headers)
