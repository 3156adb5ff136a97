"""Digests of settings: they show which settings have changed, and not what they are."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from gateway.security.secret_names import hide_secrets_in_key

#: characters of a digest: enough to see a change
SETTING_DIGEST_CHARACTERS = 8


class SettingDigests(msgspec.Struct, frozen=True):
    """What the settings of a start were."""

    #: digest of the key that the others were made with: those of two keys cannot be compared
    key: str
    #: digest of each setting, by its full name, such as `limits.runs` or `agents.list.claude.model`; a name has no
    #: secrets, and the digest is of all settings that have it
    by_name: dict[str, str]


def digest_settings(settings: Any, key: str) -> SettingDigests:
    """Return digests of all settings.

    Args:
        key: a secret that is not stored with the digests; without it, nobody can try passwords on them.
    """
    told: dict[str, str] = {}
    for steps, value in _flatten((), msgspec.to_builtins(settings, enc_hook=str)):
        name = ".".join(map(hide_secrets_in_key, steps))
        told[name] = told.get(name, "") + json.dumps([".".join(steps), value], sort_keys=True, default=str)
    return SettingDigests(_digest(key, "key"), {name: _digest(key, text) for name, text in told.items()})


def list_changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return the names of the settings that differ, in order."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def _digest(key: str, text: str) -> str:
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()[:SETTING_DIGEST_CHARACTERS]


def _flatten(steps: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each setting: the steps to it, and its value."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flatten((*steps, str(key)), inner)
    elif isinstance(value, list) and value and all(isinstance(one, dict) and "id" in one for one in value):
        for one in value:
            yield from _flatten((*steps, str(one["id"])), one)
    else:
        yield steps, value
