"""Decodes a config file: JSON, in which a name stands once, with comments.

Standard library only, so that `gateway status` is quick.
"""

from __future__ import annotations

import json
from functools import reduce
from typing import Any, NoReturn

from gateway.config_files.comments import blank_comments
from gateway.errors import ConfigError

#: how deeply objects and lists may be nested
MAX_NESTING = 100


class _NotANumberError(ValueError):
    """A word stands for what is no number, such as NaN."""


def decode_config(content: bytes, shown: str) -> dict[str, Any]:
    """Return what a config file says.

    Args:
        shown: name of the file, for messages.

    Raises:
        ConfigError: it is not a JSON object, or gives a name twice.
    """
    text = content.removeprefix(b"\xef\xbb\xbf")
    try:
        found = json.loads(blank_comments(text.decode()), object_pairs_hook=_Object, parse_constant=_refuse_constant)
        json.dumps(found, ensure_ascii=False).encode()
        twice = _find_doubled(found, "")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{shown}: line {line}: not valid JSON: it is not UTF-8.") from error
    except UnicodeEncodeError as error:
        raise ConfigError(f"{shown}: not valid JSON: an escape stands for half a character.") from error
    except json.JSONDecodeError as error:
        line, why = _explain_syntax(error)
        raise ConfigError(f"{shown}: line {line}: not valid JSON: {why}.") from error
    except _NotANumberError as error:
        raise ConfigError(f"{shown}: not valid JSON: {error}.") from error
    except ValueError as error:  # Python reads no number of that length
        raise ConfigError(f"{shown}: not valid JSON: a number has too many digits.") from error
    except RecursionError as error:
        raise ConfigError(f"{shown}: not valid JSON: objects and lists are nested too deeply.") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{shown}: not a JSON object.")
    if twice is not None:
        raise ConfigError(f"{shown}: {twice}: is given twice.", remedy="Remove one of the two.")
    return found


def _explain_syntax(error: json.JSONDecodeError) -> tuple[int, str]:
    """Return the line of a mistake, and what it is. Python names a comma before a bracket from 3.13 on only."""
    before, after = error.doc[: error.pos].rstrip(), error.doc[error.pos :].lstrip()
    if after.startswith(","):
        before, after = f"{before},", after[1:].lstrip()
    if before.endswith(",") and after[:1] in ("}", "]"):
        return before.count("\n") + 1, f"there is a comma before the closing {after[0]}"
    return error.lineno, f"{error.msg[0].lower()}{error.msg[1:]}"


def get_nested(value: Any, name: str) -> Any:
    """Return the value at a dotted name in nested objects; None if there is none."""
    return reduce(lambda found, part: found.get(part) if isinstance(found, dict) else None, name.split("."), value)


def is_unicode(text: str) -> bool:
    """Return whether a text is whole: bytes of the system that are not UTF-8 become halves of characters in it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Object(dict[str, Any]):
    """A JSON object that knows which of its names was given twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        names = [name for name, _ in pairs]
        self.doubled = next((name for number, name in enumerate(names) if name in names[:number]), None)


def _find_doubled(value: Any, path: str, depth: int = 0) -> str | None:
    """Return the path of a name that was given twice; None if there is none.

    Raises:
        RecursionError: a value is nested more deeply than any setting is.
    """
    if depth > MAX_NESTING:
        raise RecursionError
    if isinstance(value, _Object):
        if value.doubled is not None:
            return f"{path}.{value.doubled}".lstrip(".")
        inner = [(f"{path}.{name}".lstrip("."), one) for name, one in value.items()]
    elif isinstance(value, list):
        inner = [(f"{path}[{number}]", one) for number, one in enumerate(value)]
    else:
        return None
    return next((found for place, one in inner if (found := _find_doubled(one, place, depth + 1)) is not None), None)


def _refuse_constant(name: str) -> NoReturn:
    raise _NotANumberError(f"{name} is not a number")
