"""Reads `.env` in the state directory: lines of `NAME=VALUE`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import private_file
from gateway.errors import ConfigError
from gateway.paths import display_path

if TYPE_CHECKING:
    from dotenv.parser import Original


def read_env_file(file: Path) -> dict[str, str]:
    """Return the variables that a file sets; nothing if there is no file.

    Raises:
        ConfigError: it cannot be read, or a line of it cannot be understood; the message names file and line.
    """
    try:
        content = private_file.read_plain_file(file, owned=True)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(
            f"cannot read {display_path(file)}: {error.strerror}.", remedy=private_file.REPAIR_HINT
        ) from error
    return parse_env_content(content, display_path(file))


def parse_env_content(content: bytes, shown: str) -> dict[str, str]:
    """Return the variables that the content of such a file sets.

    Args:
        shown: name of the file, for messages.

    Raises:
        ConfigError: a line cannot be understood.
    """
    if not content.strip():
        return {}
    from dotenv import parser  # late: most users have no such file, and a loaded module stays in memory

    found = {}
    for binding in parser.parse_stream(io.StringIO(_decode_text(content, shown))):
        where = f"{shown}: line {_first_line(binding.original)}"
        if binding.error:
            raise ConfigError(f"{where}: not NAME=VALUE.", remedy="Correct it, or put # before it.")
        if binding.key is None or binding.value is None:
            continue
        if "\0" in binding.key + binding.value:
            raise ConfigError(f"{where}: a variable cannot contain the character NUL.")
        found[binding.key] = binding.value
    return found


def _decode_text(content: bytes, shown: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise ConfigError(
            f"{shown}: line {line}: not valid UTF-8 (byte 0x{byte:02x}).", remedy="Save the file as UTF-8."
        ) from error


def _first_line(original: Original) -> int:
    """Return the number of the line on which a statement begins: the parser has put the empty lines before it to it."""
    text = original.string
    return original.line + text.count("\n", 0, len(text) - len(text.lstrip()))
