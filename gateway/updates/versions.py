"""Compares versions."""

from __future__ import annotations

import re
from collections.abc import Sequence

#: a released version, or one before a release; https://packaging.python.org/en/latest/specifications/version-specifiers/
_VERSION = re.compile(
    r"v?(?P<release>[0-9]{1,9}(?:\.[0-9]{1,9}){0,9})(?:(?P<stage>a|b|rc)(?P<number>[0-9]{1,9}))?"
    r"(?:\.post(?P<post>[0-9]{1,9}))?"
)
_STAGES = ("a", "b", "rc")


def version_key(version: str) -> tuple[tuple[int, ...], int, int, int] | None:
    """Return what orders versions; None if this is not a version that we know."""
    found = _VERSION.fullmatch(version)
    if found is None:
        return None
    release = [int(part) for part in found["release"].split(".")]
    while len(release) > 1 and release[-1] == 0:
        release.pop()
    stage = _STAGES.index(found["stage"]) if found["stage"] else len(_STAGES)
    return tuple(release), stage, int(found["number"] or 0), int(found["post"] or 0)


def is_newer(version: str, than: str) -> bool:
    """Return whether a version is newer than another one."""
    one, other = version_key(version), version_key(than)
    return one is not None and other is not None and one > other


def choose_newest(versions: Sequence[str]) -> str | None:
    """Return the newest released version; None if there is none."""
    known = [(key, version) for version in versions if (key := version_key(version)) and key[1] == len(_STAGES)]
    return max(known)[1] if known else None
