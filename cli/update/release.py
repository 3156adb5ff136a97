"""Tells which versions exist: in the package index that pip or uv is configured for, or as tags of a clone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from cli.update.tools import INDEX_TIMEOUT_SECONDS, Installer, run_program
from gateway.errors import NotFound, Unavailable
from gateway.updates.versions import is_newer, version_key

#: name of our distribution
DISTRIBUTION = "moongate"


def choose_update(newest: str | None, present: str) -> str | None:
    """Return the version to update to if nobody named one; None if the present one is as new, or newer."""
    return newest if newest is not None and is_newer(newest, present) else None


def list_indexed_versions(installer: Installer, python: Path) -> list[str]:
    """Return the versions that the package index has.

    Raises:
        Unavailable: it does not answer, or does not know us.
    """
    if installer.is_uv:
        return _ask_uv(installer, python)
    words = [*installer.words, "index", "versions", DISTRIBUTION, "--no-input", "--disable-pip-version-check"]
    done = run_program(words, installer.env, INDEX_TIMEOUT_SECONDS)
    found = re.search(r"^Available versions: (.*)$", done.out, re.MULTILINE)
    if done.code != 0 or found is None:
        raise _refuse_index(done.last_words)
    return [version.strip() for version in found[1].split(",")]


def _ask_uv(installer: Installer, python: Path) -> list[str]:
    """Return the newest version only: uv lists no others."""
    words = [*installer.words, "compile", "--python", str(python), "--no-deps", "--no-header", "--upgrade", "-"]
    command = f'echo {DISTRIBUTION} | "$@"'
    done = run_program(["/bin/sh", "-c", command, "sh", *words], installer.env, INDEX_TIMEOUT_SECONDS)
    found = re.search(rf"^{DISTRIBUTION}==(\S+)", done.out, re.MULTILINE)
    if done.code != 0 or found is None:
        raise _refuse_index(done.last_words)
    return [found[1]]


def _refuse_index(said: str) -> Unavailable:
    said = " ".join(line for line in said.splitlines() if not line.startswith("WARNING: pip index"))  # it always warns
    return Unavailable(
        f"the package index does not say which versions of {DISTRIBUTION} there are: {said or 'no answer'}",
        remedy="Check the network, and the index that pip is configured for: pip config list",
    )


def list_tags(root: Path, env: Mapping[str, str]) -> list[str]:
    """Fetch the tags of a clone, and return the versions among them.

    Raises:
        Unavailable: the other repository does not answer.
    """
    silent = {**env, "GIT_TERMINAL_PROMPT": "0"}
    done = run_program(["git", "-C", root, "fetch", "--tags", "--quiet"], silent, INDEX_TIMEOUT_SECONDS)
    if done.code != 0:
        raise Unavailable(f"git fetch failed in {root}: {done.last_words}", remedy="Check the network and the remote.")
    listed = run_program(["git", "-C", root, "tag", "--list"], silent, INDEX_TIMEOUT_SECONDS)
    return [tag.removeprefix("v") for tag in listed.out.split() if version_key(tag) is not None]


def find_tag(root: Path, version: str, env: Mapping[str, str]) -> str:
    """Return the tag of a version.

    Raises:
        NotFound: there is none.
    """
    for tag in (f"v{version}", version):
        words = ["git", "-C", root, "rev-parse", "--verify", "--quiet", f"refs/tags/{tag}^{{commit}}"]
        if run_program(words, env, INDEX_TIMEOUT_SECONDS).code == 0:
            return tag
    raise NotFound(f"there is no version {version} among the tags of {root}.", remedy="See: gateway update --check")
