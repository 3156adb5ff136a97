"""Secrets of other systems: from the settings, a file, or an environment variable."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gateway import paths, private_file
from gateway.errors import ConfigError

#: bytes of a file with a secret
MAX_SECRET_FILE_BYTES = 4096


def find_secret(
    given: str | None, file: str | None, variable: str | None, environ: Mapping[str, str], *, setting: str
) -> str | None:
    """Return a secret: the given one, else the file's first line, else the variable's value; None if there is none.

    Args:
        setting: what names the file, for messages.

    Raises:
        ConfigError: the file cannot be read, or its first line is empty.
    """
    if given:
        return given
    if file:
        return _read_first_line(paths.expand_path(file, setting), setting)
    return (environ.get(variable, "").strip() or None) if variable else None


def _read_first_line(file: Path, setting: str) -> str:
    try:
        lines = private_file.read_plain_file(file, MAX_SECRET_FILE_BYTES).splitlines()
    except OSError as error:
        raise ConfigError(
            f"{setting}: cannot read the secret in {file}: {error.strerror}.", remedy="Correct the path or its rights."
        ) from error
    secret = lines[0].decode("latin-1").strip() if lines else ""
    if not secret:
        raise ConfigError(
            f"{setting}: cannot read the secret in {file}: its first line is empty.",
            remedy="Put the secret on the first line.",
        )
    return secret
