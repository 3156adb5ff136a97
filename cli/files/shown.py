"""How files are shown to people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cli.command import complete_commands
from gateway.domain.file import describe_size


def describe_file(file: Mapping[str, Any]) -> str:
    """Return the name, the type and the size of a file, as the API shows it."""
    return f"{file['name']} ({file['media_type']}, {describe_size(file['size'])})"


def describe_with_command(file: Mapping[str, Any]) -> str:
    """Return a file with the command that gets it."""
    return complete_commands(f"{describe_file(file)}: gateway files get {file['id']}")
