"""The gateway's own token on disk, and what else is generated once: one line, for its owner's eyes only.

Standard library only.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from gateway.errors import ConfigError

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


def read(path: Path) -> str | None:
    """Return the token, or None if there is no file.

    Raises:
        ConfigError: the file is a link, cannot be read, or holds no token.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | _NO_FOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"cannot read the token file {path}: {error.strerror}.") from error
    with os.fdopen(descriptor, "rb") as file:
        text = file.read(4096).decode("utf-8", "replace").strip()
    if not text or not text.isprintable():
        raise ConfigError(f"the token file {path} holds no token.", remedy="Delete it, and a new token is generated.")
    return text


def store(path: Path, token: str) -> None:
    """Put a token in the place of the present one, whole or not at all.

    Raises:
        ConfigError: it is empty or not printable, or cannot be written.
    """
    if not token.strip() or not token.isprintable():
        raise ConfigError("a token is one line of printable characters.")
    try:
        _draft(path, token).replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write the token file {path}: {error.strerror}.") from error


def _draft(path: Path, token: str) -> Path:
    """Write a token beside its place, whole, so that nobody ever reads a half-written one."""
    draft = path.with_name(f"{path.name}.{os.urandom(8).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(token + "\n")
        file.flush()
        os.fsync(file.fileno())
    return draft


def generated() -> str:
    """Return a token of 32 random bytes."""
    import secrets  # late: `gateway status` only reads

    return secrets.token_urlsafe(32)


def read_or_create(path: Path, generate: Callable[[], str] = generated) -> str:
    """Return the token; generate one if there is none.

    Raises:
        ConfigError: it can neither be read nor created.
    """
    found = read(path)
    if found is not None:
        return found
    token = generate()
    try:
        draft = _draft(path, token)
        try:
            os.link(draft, path)
        except FileExistsError:  # another start was quicker
            return read_or_create(path, generate)
        finally:
            draft.unlink()
    except OSError as error:
        raise ConfigError(f"cannot create the token file {path}: {error.strerror}.") from error
    return token


def masked(secret: str) -> str:
    """Return a form that tells tokens apart and cannot be used.

    At most four characters at each end, and only of a token of 24 or more.
    """
    return f"{secret[:4]}…{secret[-4:]}" if len(secret) >= 24 else "…"
