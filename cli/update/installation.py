"""Tells how Moongate was installed, from where its files are."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from gateway.process.own_environment import place_near

#: variable that a container image sets to `container`
INSTALLED_BY_VARIABLE = "MOONGATE_INSTALLED_BY"
#: file in or next to the environment, with the word `deb`
INSTALLED_BY_FILE = "installed-by"


class Kind(StrEnum):
    """How Moongate was installed."""

    #: a clone of the repository, with the environment `.venv` in it
    CLONE = "clone"
    #: a virtual environment, with pip
    VENV = "venv"
    PIPX = "pipx"
    UV_TOOL = "uv tool"
    DEB = "deb"
    CONTAINER = "container"
    #: into the Python of the system or of the user, not into a virtual environment
    SYSTEM = "system"
    #: from the sources of a checkout that is none of ours, or whose environment is elsewhere
    SOURCES = "sources"


#: kinds that `gateway update` changes itself
UPDATABLE = frozenset({Kind.CLONE, Kind.VENV, Kind.PIPX, Kind.UV_TOOL})


class Installation(NamedTuple):
    """How and where Moongate is installed."""

    kind: Kind
    #: the virtual environment, or the prefix of Python
    environment: Path
    #: the directory that our packages are in
    source: Path

    @property
    def candidate(self) -> Path:
        """The directory in which the other version is built; after the exchange, it is the one from before."""
        return place_near(self.environment, ".update")

    def explain_update(self, version: str, source: Sequence[str] = ()) -> str:
        """Return the commands that update an installation that `gateway update` does not change.

        Args:
            version: the one to install.
            source: the options with which pip finds it; none if it is not known from where it comes.
        """
        match self.kind:
            case Kind.DEB:
                return f"sudo apt install ./moongate_{version}_$(dpkg --print-architecture).deb && gateway restart"
            case Kind.CONTAINER:
                return f"pull the image moongate:{version}, and start the container again with the same volume"
            case Kind.SOURCES:
                return "update the sources, then: gateway restart"
            case _:
                words = shlex.join(source or ["--index-url", "https://YOUR-INDEX/simple"])
                first = f"pip install --upgrade --no-deps {words} 'moongate=={version}'"
                return f"{first} && pip install 'moongate=={version}' && gateway restart"


def find_installation(prefix: Path, base: Path, source: Path, env: Mapping[str, str]) -> Installation:
    """Return how Moongate was installed.

    Args:
        prefix: as `sys.prefix`.
        base: as `sys.base_prefix`.
        source: the directory that our packages are in.
        env: the environment of this process.
    """
    kind = _find_kind(prefix, base, source, env)
    return Installation(kind, prefix.resolve() if prefix.is_symlink() else prefix, source)


def _find_kind(prefix: Path, base: Path, source: Path, env: Mapping[str, str]) -> Kind:
    if env.get(INSTALLED_BY_VARIABLE) == Kind.CONTAINER:
        return Kind.CONTAINER
    if any(_read_word(place / INSTALLED_BY_FILE) == Kind.DEB for place in (prefix, prefix.parent)):
        return Kind.DEB
    if not source.is_relative_to(prefix):
        own = prefix == source / ".venv" and (source / ".git").exists()
        return Kind.CLONE if own else Kind.SOURCES
    if prefix == base:
        return Kind.SYSTEM
    if (prefix / "pipx_metadata.json").exists():
        return Kind.PIPX
    return Kind.UV_TOOL if (prefix / "uv-receipt.toml").exists() else Kind.VENV


def _read_word(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()[:40]
    except OSError:
        return ""
