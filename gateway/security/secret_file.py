"""The gateway's token and other generated secrets on disk: one line each, readable by the owner only.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gateway import private_file
from gateway.errors import ConfigError
from gateway.paths import display_path

#: bytes that are read from the file
_MAX_TOKEN_FILE_BYTES = 4096


def read_secret(path: Path) -> str | None:
    """Return the token, or None if there is no file.

    Raises:
        ConfigError: the file is a link, cannot be read, or holds no token.
    """
    try:
        content = private_file.read_private_file(path, _MAX_TOKEN_FILE_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(
            f"cannot read {_describe_file(path)}: {error.strerror}.", remedy=private_file.REPAIR_HINT
        ) from error
    text = content.decode("utf-8", "replace").strip()
    if not text or not text.isprintable():
        raise ConfigError(
            f"{_describe_file(path)} is empty or damaged.", remedy="Delete it, and the next start makes a new one."
        )
    return text


def store_secret(path: Path, token: str) -> None:
    """Replace the present token, completely or not at all.

    Raises:
        ConfigError: the token is empty or not printable, or cannot be written.
    """
    if not token.strip() or not token.isprintable():
        raise ConfigError("a token is one line of printable characters.")
    try:
        private_file.replace_private_file(path, f"{token}\n".encode())
    except OSError as error:
        raise ConfigError(
            f"cannot write {_describe_file(path)}: {error.strerror}.", remedy=private_file.REPAIR_HINT
        ) from error


def generate_token() -> str:
    """Return a token of 32 random bytes."""
    import secrets  # late: `gateway status` only reads

    return secrets.token_urlsafe(32)


def read_or_create(path: Path, generate: Callable[[], str] = generate_token) -> str:
    """Return the secret in a file; generate one if there is none.

    Raises:
        ConfigError: it can neither be read nor created.
    """
    found = read_secret(path)
    if found is not None:
        return found
    made = generate()
    try:
        created = private_file.create_private_file(path, f"{made}\n".encode())
    except OSError as error:
        raise ConfigError(
            f"cannot create {_describe_file(path)}: {error.strerror}.", remedy=private_file.REPAIR_HINT
        ) from error
    return made if created else read_or_create(path, generate)  # another process was faster


def _describe_file(path: Path) -> str:
    """Return what the file is, and where: `the webhook secret file ~/.moongate/webhook-secret`."""
    return f"the {path.name.replace('-', ' ')} file {display_path(path)}"


def mask_secret(secret: str) -> str:
    """Return a short form that identifies a secret and cannot be used as one.

    It shows at most four characters at each end, and only if the token has 24 or more.
    """
    return f"{secret[:4]}…{secret[-4:]}" if len(secret) >= 24 else "…"
