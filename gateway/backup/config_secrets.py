"""Takes the secrets out of a config file, so that a backup without secrets has none.

Each one is replaced by `${NAME}`, which stands for a variable: a gateway with the restored config says which variables
it needs, and they go into `.env`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

from gateway.config_files import variables

#: names of entries whose texts are secret, wherever they stand in the file
_SECRET_NAMES = re.compile(
    r"(token|secret|password|passphrase|api_?-?key|_key|authorization|credentials?)$", re.IGNORECASE
)
#: characters that a secret has at least, and one that is replaced also within a longer text
_MIN_SECRET_CHARACTERS, _MIN_INNER_CHARACTERS = 4, 8


def replace_secrets(content: bytes, secrets: Collection[str], decoded: Any) -> tuple[bytes, list[str]]:
    """Return the content of a config file without the secrets, and the names of the variables that stand for them.

    Args:
        secrets: values that are known to be secret.
        decoded: what the content says, before variables are replaced.
    """
    names: dict[str, str] = {}
    for path, name, text in _walk_texts(decoded, "", ""):
        for secret in _find_secrets(name, text, secrets):
            if secret not in names:
                names[secret] = _choose_name(path, names.values())
    said = content.decode()
    for secret, name in sorted(names.items(), key=lambda item: -len(item[0])):
        for encoded in {json.dumps(secret), json.dumps(secret, ensure_ascii=False)}:
            said = said.replace(encoded, json.dumps(f"${{{name}}}"))
            if len(secret) >= _MIN_INNER_CHARACTERS:
                said = said.replace(encoded[1:-1], f"${{{name}}}")
    return said.encode(), sorted(names.values())


def _find_secrets(name: str, text: str, secrets: Collection[str]) -> Iterator[str]:
    if variables.has_variable(text) or len(text) < _MIN_SECRET_CHARACTERS:
        return
    if text in secrets or _SECRET_NAMES.search(name):
        yield text
        return
    yield from (secret for secret in secrets if len(secret) >= _MIN_INNER_CHARACTERS and secret in text)


def _walk_texts(value: Any, path: str, name: str) -> Iterator[tuple[str, str, str]]:
    """Yield each text with its path, and the name of its entry."""
    if isinstance(value, str):
        yield path, name, value
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _walk_texts(one, f"{path}_{number}", name)
    elif isinstance(value, dict):
        for inner, one in value.items():
            yield from _walk_texts(one, f"{path}_{inner}", inner)


def _choose_name(path: str, taken: Collection[str]) -> str:
    spelled = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", path)
    name = "RESTORED_" + (re.sub(r"[^A-Z0-9]+", "_", spelled.upper()).strip("_") or "SECRET")
    return next(found for number in range(len(taken) + 1) if (found := name + f"_{number}" * bool(number)) not in taken)
