"""Takes the secrets out of a config file, so that a backup without secrets has none.

Each one is replaced by `${NAME}`, which stands for a variable: a gateway with the restored config says which variables
it needs, and they go into `.env`. In the name of an entry, where no variable counts, it is replaced by `***`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from gateway.config_files import variables
from gateway.config_files.comments import blank_comments
from gateway.security.secret_names import SECRET_OBJECTS, find_secrets_in_url, hide_secrets_in_key, is_secret_name

#: characters that a secret has at least, and one that is replaced also within a longer text
_MIN_SECRET_CHARACTERS, _MIN_INNER_CHARACTERS = 4, 8
#: a text, and what follows it if it is the name of an entry
_STRING, _BEFORE_VALUE = re.compile(r'"(?:[^"\\]|\\.)*+"'), re.compile(r"\s*:")


def replace_secrets(content: bytes, secrets: Collection[str], decoded: Any) -> tuple[bytes, list[str]]:
    """Return the content of a config file without the secrets, and the names of the variables that stand for them.

    Args:
        secrets: values that are known to be secret.
        decoded: what the content says, before variables are replaced.
    """
    texts = list(_walk_texts(decoded, "", "", is_secret=False))
    found = {text[start:end] for _, name, text, marked in texts for start, end in _find_secrets(name, text, (), marked)}
    secrets = {*secrets, *found}  # they may stand elsewhere, too
    names: dict[str, str] = {}
    written, following = content.decode(), iter(texts)
    plain = blank_comments(written)
    pieces, end = [], 0
    for literal in _STRING.finditer(plain):
        said = literal[0]
        if _BEFORE_VALUE.match(plain, literal.end()):
            name = json.loads(said)
            if (shown := hide_secrets_in_key(name)) != name:
                said = json.dumps(shown, ensure_ascii=False)
        else:
            path, name, text, marked = next(following)
            if spans := list(_find_secrets(name, text, secrets, marked)):
                said = _replace_spans(text, spans, path, names)
        pieces += [written[end : literal.start()], said]
        end = literal.end()
    pieces.append(written[end:])
    for at in range(0, len(pieces), 2):  # what stands between texts: comments may repeat a secret
        pieces[at] = _hide_secrets(pieces[at], names)
    return "".join(pieces).encode(), sorted(names.values())


def _replace_spans(text: str, spans: Iterable[tuple[int, int]], path: str, names: dict[str, str]) -> str:
    """Return a text as it is written in JSON, with variables in place of secrets. Their names are added."""
    said, end = "", 0
    for start, stop in sorted(spans):
        if start >= end:
            secret = text[start:stop]
            if secret not in names:
                names[secret] = _choose_name(path, names.values())
            said, end = f"{said}{text[end:start]}${{{names[secret]}}}", stop
    return json.dumps(said + text[end:], ensure_ascii=False)


def _hide_secrets(written: str, names: Mapping[str, str]) -> str:
    for secret, name in sorted(names.items(), key=lambda item: -len(item[0])):
        if len(secret) >= _MIN_INNER_CHARACTERS:
            written = written.replace(secret, f"${{{name}}}")
    return written


def _find_secrets(name: str, text: str, secrets: Collection[str], marked: bool) -> Iterator[tuple[int, int]]:
    """Yield where secrets stand in a text.

    Args:
        name: of its entry.
        secrets: values that are known to be secret.
        marked: whether its place makes all of it secret.
    """
    is_whole = text in secrets or marked or is_secret_name(name)
    if is_whole and not variables.has_variable(text) and len(text) >= _MIN_SECRET_CHARACTERS:
        yield 0, len(text)
        return
    for secret in sorted((one for one in secrets if len(one) >= _MIN_INNER_CHARACTERS), key=len, reverse=True):
        yield from (found.span() for found in re.finditer(re.escape(secret), text))
    for start, end in find_secrets_in_url(name, text):
        if not variables.has_variable(text[start:end]):
            yield start, end


def _walk_texts(value: Any, path: str, name: str, *, is_secret: bool) -> Iterator[tuple[str, str, str, bool]]:
    """Yield each text in its order, with its path, the name of its entry, and whether that makes it secret."""
    if isinstance(value, str):
        yield path, name, value, is_secret
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _walk_texts(one, f"{path}_{number}", name, is_secret=is_secret)
    elif isinstance(value, dict):
        for inner, one in value.items():
            yield from _walk_texts(one, f"{path}_{inner}", inner, is_secret=is_secret or name in SECRET_OBJECTS)


def _choose_name(path: str, taken: Collection[str]) -> str:
    spelled = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", path)
    name = "RESTORED_" + (re.sub(r"[^A-Z0-9]+", "_", spelled.upper()).strip("_") or "SECRET")
    return next(found for number in range(len(taken) + 1) if (found := name + f"_{number}" * bool(number)) not in taken)
