"""Sets one variable in the text of a `.env` file. All other lines stay."""

from __future__ import annotations

import re

from gateway.config_files.env_file import parse_env_content
from gateway.errors import ConfigError

_PLAIN_VALUE = re.compile(r"[A-Za-z0-9_./:@%+,=-]+")


def set_variable(content: bytes, name: str, value: str, shown: str) -> bytes:
    """Return the content of a `.env` file with another value of a variable.

    Args:
        shown: name of the file, for messages.

    Raises:
        ConfigError: the file cannot be understood, or the value cannot stand in it.
    """
    parse_env_content(content, shown)  # says what is wrong with it, and where
    if "\n" in value or "\r" in value or "\0" in value:
        raise ConfigError(f"{shown}: the value of {name} has a line break.")
    written = value if _PLAIN_VALUE.fullmatch(value) else "'{}'".format(value.replace("\\", "\\\\").replace("'", "\\'"))
    line = f"{name}={written}".encode()
    pattern = re.compile(rb"^[ \t]*(?:export[ \t]+)?" + re.escape(name.encode()) + rb"[ \t]*=[^\r\n]*", re.MULTILINE)
    if len(pattern.findall(content)) == 1:
        after = pattern.sub(lambda _: line, content)
    else:
        end = b"" if not content or content.endswith(b"\n") else b"\n"
        after = content + end + line + b"\n"  # the last line counts
    if parse_env_content(after, shown).get(name) != value:
        raise ConfigError(f"{shown}: the value of {name} cannot stand in this file.", remedy="Write it there yourself.")
    return after
