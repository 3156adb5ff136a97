"""Tells from where newer versions come: the index that the settings name, or where Moongate was installed from.

The index that pip uses by itself is not asked for Moongate: a package of the same name there may be somebody else's.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from cli.update.installation import Installation
from gateway.errors import ConfigError

#: name of our distribution
DISTRIBUTION = "moongate"
#: file in which pip remembers the URL of a file that it has installed
DIRECT_URL_FILE = "direct_url.json"
#: bytes of a file with which an installer remembers what it installed
_MAX_RECORD_BYTES = 1024 * 1024
#: options of pip that name an index, and those that name a place with files
_INDEX_OPTIONS, _PLACE_OPTIONS = ("--index-url", "-i", "--pypi-url"), ("--find-links", "-f")


class Origin(NamedTuple):
    """A place with versions of Moongate."""

    #: URL of an index, or of a page with files, or a directory with files
    place: str
    is_index: bool
    #: who named it
    named_by: str

    def list_words(self, *, is_uv: bool) -> list[str]:
        """Return the options with which pip or uv asks this place, and no other."""
        if self.is_index:
            return ["--default-index" if is_uv else "--index-url", self.place]
        return ["--no-index", "--find-links", self.place]


def find_origin(site: Installation, env: Mapping[str, str]) -> Origin:
    """Return the place that is asked.

    Raises:
        ConfigError: none is named, or the settings cannot be used.
    """
    from gateway import config  # late: imports much

    if (named := config.load(env).updates.index) is not None:
        return read_place(named, "updates.index")
    found = next(_find_recorded(site.environment), None)
    if found is not None:
        return found
    raise ConfigError(
        "it is not known which package index has Moongate: another package may have its name on the usual one.",
        remedy="Name the index, or a directory with its files: gateway config set updates.index https://…/simple",
    )


def read_place(named: str, by: str) -> Origin:
    """Return the origin that a setting names.

    Raises:
        ConfigError: it is a directory that does not exist.
    """
    if named.startswith(("http://", "https://")):
        return Origin(named, True, by)
    path = Path(unquote(urlsplit(named).path) if named.startswith("file:") else named).expanduser()
    if not path.is_dir():
        raise ConfigError(f"{by} names {path}, which is no directory.", remedy="Name one with moongate-VERSION….whl")
    return Origin(str(path), False, by)


def _find_recorded(environment: Path) -> Iterator[Origin]:
    """Yield where the installer says that Moongate came from."""
    yield from read_pipx_record(_read(environment / "pipx_metadata.json"))
    yield from read_uv_record(_read(environment / "uv-receipt.toml"))
    try:
        text = metadata.distribution(DISTRIBUTION).read_text(DIRECT_URL_FILE)
    except (metadata.PackageNotFoundError, OSError, UnicodeDecodeError):
        return
    yield from read_direct_url(text or "")


def _read(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as opened:
            return opened.read(_MAX_RECORD_BYTES)
    except (OSError, UnicodeDecodeError):
        return ""


def read_direct_url(text: str) -> Iterator[Origin]:
    """Yield the place of the file that pip installed; https://packaging.python.org/en/latest/specifications/direct-url/."""
    found = _parse(json.loads, text)
    url = found.get("url")
    if isinstance(url, str) and "archive_info" in found:
        yield from _find_place_of(url, DIRECT_URL_FILE)


def read_pipx_record(text: str) -> Iterator[Origin]:
    """Yield what the options say with which pipx has installed Moongate."""
    main = _as_table(_parse(json.loads, text).get("main_package"))
    words = main.get("pip_args")
    yield from _read_options([str(word) for word in words] if isinstance(words, list) else [], "pipx")
    file = main.get("package_or_url")
    if isinstance(file, str):
        yield from _find_place_of(file, "pipx")


def read_uv_record(text: str) -> Iterator[Origin]:
    """Yield what the receipt of `uv tool install` says."""
    tool = _as_table(_parse(tomllib.loads, text).get("tool"))
    for one in _list_tables(tool.get("requirements")):
        if one.get("name") != DISTRIBUTION:
            continue
        if isinstance(one.get("index"), str):
            yield Origin(one["index"], True, "uv")
        for file in (one.get("path"), one.get("url")):
            if isinstance(file, str):
                yield from _find_place_of(file, "uv")
    options = _as_table(tool.get("options"))
    defaults = [one.get("url") for one in _list_tables(options.get("index")) if one.get("default") is True]
    for url in (*defaults, options.get("index-url")):
        if isinstance(url, str):
            yield Origin(url, True, "uv")


def _as_table(found: object) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}


def _list_tables(found: object) -> list[dict[str, Any]]:
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _parse(parser: Any, text: str) -> dict[str, Any]:
    try:
        found = parser(text)
    except (ValueError, RecursionError):
        return {}
    return _as_table(found)


def _read_options(words: Sequence[str], by: str) -> Iterator[Origin]:
    for at, word in enumerate(words):
        name, is_joined, value = word.partition("=")
        value = value if is_joined else next(iter(words[at + 1 : at + 2]), "")
        if value and name in _INDEX_OPTIONS:
            yield Origin(value, True, by)
        elif value and name in _PLACE_OPTIONS:
            yield Origin(value, False, by)


def _find_place_of(url: str, by: str) -> Iterator[Origin]:
    """Yield the place of a file of ours; nothing for a directory with sources, or a place that is gone."""
    parts = urlsplit(url)
    place, _, name = parts.path.rpartition("/")
    if not name.startswith(f"{DISTRIBUTION}-") or not name.endswith((".whl", ".tar.gz")):
        return
    if parts.scheme in ("http", "https"):
        yield Origin(parts._replace(path=f"{place}/", query="", fragment="").geturl(), False, by)
    elif parts.scheme in ("", "file") and Path(unquote(place)).is_dir():
        yield Origin(unquote(place), False, by)
