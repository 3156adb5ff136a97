"""Tells which versions exist: in the place from which Moongate comes, or as tags of a clone."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from cli.update.origin import DISTRIBUTION, Origin
from cli.update.tools import INDEX_TIMEOUT_SECONDS, Installer, run_program
from gateway.errors import NotFound, Unavailable
from gateway.updates.versions import is_newer, version_key


def choose_update(newest: str, present: str) -> str | None:
    """Return the version to update to if nobody named one; None if the present one is as new, or newer."""
    return newest if is_newer(newest, present) else None


def find_offered_version(installer: Installer, python: Path, origin: Origin) -> str:
    """Return the newest version of a place that fits this Python and was not withdrawn.

    Raises:
        Unavailable: it does not answer, or has no such version.
    """
    alone = installer.use_origin_only()
    sources = ["--only-binary", ":all:", *origin.list_words(is_uv=installer.is_uv)]
    if installer.is_uv:
        return _ask_uv(alone, python, sources, origin)
    words = [*alone.words, "install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet", "--report", "-"]
    words += ["--no-input", "--disable-pip-version-check", *sources, DISTRIBUTION]
    done = run_program(words, alone.env, INDEX_TIMEOUT_SECONDS)
    with contextlib.suppress(ValueError, KeyError, TypeError, IndexError, RecursionError):
        if done.code == 0:
            return str(json.loads(done.out)["install"][0]["metadata"]["version"])
    raise _refuse_index(done.last_words, origin)


def _ask_uv(installer: Installer, python: Path, sources: Sequence[str], origin: Origin) -> str:
    words = [*installer.words, "compile", "--python", str(python), "--no-deps", "--no-header", "--upgrade"]
    words += ["--no-config", "--refresh-package", DISTRIBUTION, *sources, "-"]
    command = f'echo {DISTRIBUTION} | "$@"'
    done = run_program(["/bin/sh", "-c", command, "sh", *words], installer.env, INDEX_TIMEOUT_SECONDS)
    found = re.search(rf"^{DISTRIBUTION}==(\S+)", done.out, re.MULTILINE)
    if done.code != 0 or found is None:
        raise _refuse_index(done.last_words, origin)
    return found[1]


def _refuse_index(said: str, origin: Origin) -> Unavailable:
    return Unavailable(
        f"{origin.place} ({origin.named_by}) does not say which versions of {DISTRIBUTION} there are:"
        f" {' '.join(said.split()) or 'no answer'}",
        remedy="Check the network, and that place; another one is named by the setting updates.index",
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
