"""`${NAME}` in the texts of a config file: replaced by the variable of that name, from the environment or `.env`.

Only this form counts. `$NAME`, `${NAME:-default}` and other forms of a shell stay as they are, and `$${NAME}`
stands for the text `${NAME}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gateway.errors import ConfigError

_REFERENCE = re.compile(r"\$(\$?)\{([A-Za-z_][A-Za-z0-9_]*)\}")


def substitute_variables(value: Any, variables: Mapping[str, str], shown: str, path: str = "") -> Any:
    """Return what a config file says, with the values of the variables that its texts name.

    Args:
        shown: name of the file, for messages.
        path: of the value in the file.

    Raises:
        ConfigError: a variable is not set, or is empty.
    """
    if isinstance(value, str):
        return _REFERENCE.sub(lambda found: _find_value(found, variables, f"{shown}: {path}"), value)
    if isinstance(value, list):
        return [substitute_variables(one, variables, shown, f"{path}[{at}]") for at, one in enumerate(value)]
    if isinstance(value, dict):
        inner = f"{path}." if path else ""
        return {name: substitute_variables(one, variables, shown, inner + name) for name, one in value.items()}
    return value


def has_variable(text: str) -> bool:
    """Return whether a text names a variable."""
    return any(not escaped for escaped, _ in _REFERENCE.findall(text))


def _find_value(found: re.Match[str], variables: Mapping[str, str], where: str) -> str:
    escaped, name = found.groups()
    if escaped:
        return found[0][1:]
    if not variables.get(name):
        raise ConfigError(
            f"{where}: the variable {name} is not set.",
            remedy=f"Set it in the environment or in .env, or write $${{{name}}} for that text itself.",
        )
    return variables[name]
