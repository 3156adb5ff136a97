"""Digests of settings: they show which settings have changed, and not what they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

#: characters of a digest: enough to see a change, and too few to find a password by it
SETTING_DIGEST_CHARACTERS = 8


def digest_settings(settings: Any) -> dict[str, str]:
    """Return a digest of each setting, by its full name, such as `limits.runs` or `agents.list.claude.model`."""
    return {
        name: hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[
            :SETTING_DIGEST_CHARACTERS
        ]
        for name, value in _flatten("", msgspec.to_builtins(settings, enc_hook=str))
    }


def list_changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return the names of the settings that differ, in order."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def _flatten(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flatten(f"{prefix}.{key}" if prefix else str(key), inner)
    elif isinstance(value, list) and value and all(isinstance(one, dict) and "id" in one for one in value):
        for one in value:
            yield from _flatten(f"{prefix}.{one['id']}", one)
    else:
        yield prefix, value
