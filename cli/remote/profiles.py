"""The gateways elsewhere that the user has stored under a name: their addresses in one file, each token in its own."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from cli.config_edit.edit_lock import hold_edit_lock
from cli.remote.elsewhere import REMOTES_FILE, THIS_MACHINE
from gateway import paths, private_file
from gateway.errors import ConfigError, InvalidRequest, NotFound
from gateway.security import secret_file

#: bytes of the file of addresses
MAX_REMOTES_BYTES = 1 << 20

_REMOTE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Remote(NamedTuple):
    """A gateway elsewhere."""

    url: str
    #: file with the certificates to trust; None for those of this machine
    ca_file: str | None = None
    #: whether the token may be sent to it without TLS
    allow_plain_http: bool = False


class Remotes(NamedTuple):
    """All of them."""

    by_name: dict[str, Remote]
    #: the one that commands go to if they name none; None for the gateway on this machine
    default: str | None

    def find_remote(self, name: str) -> Remote:
        """Return a gateway by its name.

        Raises:
            NotFound: there is none.
        """
        if name not in self.by_name:
            raise NotFound(f"there is no remote {name[:64]!r}.", remedy="See: gateway remote list")
        return self.by_name[name]


class RemoteFiles:
    """The files below one state directory."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._file = home / REMOTES_FILE

    def read_remotes(self) -> Remotes:
        """Return what is stored.

        Raises:
            ConfigError: the file cannot be used.
        """
        try:
            return _parse_remotes(json.loads(private_file.read_private_file(self._file, MAX_REMOTES_BYTES)))
        except FileNotFoundError:
            return Remotes({}, None)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is damaged"
            shown = paths.display_path(self._file)
            raise ConfigError(f"cannot use {shown}: {why}.", remedy="Correct it, or move it away.") from error

    def read_token(self, name: str) -> str | None:
        """Return the token for a gateway; None if there is none.

        Raises:
            ConfigError: its file cannot be used.
        """
        return secret_file.read_secret(self.token_file(name))

    def store_remote(self, name: str, remote: Remote, token: str | None, *, is_default: bool) -> None:
        """Store a gateway, in place of one with the same name.

        Raises:
            ConfigError: it cannot be written.
            Unavailable: another command changes the settings all the time.
        """
        file = self.token_file(name)
        with hold_edit_lock(self._home):
            found = self.read_remotes()
            default = name if is_default else found.default
            file.unlink(missing_ok=True)  # first, and the new one last: no token ever goes to an address not its own
            self._write(Remotes({**found.by_name, name: remote}, default))
            if token is not None:
                paths.make_private_directory(file.parent)
                secret_file.store_secret(file, token)

    def remove_remote(self, name: str) -> None:
        """Remove a gateway and its token.

        Raises:
            NotFound: there is none.
        """
        with hold_edit_lock(self._home):
            found = self.read_remotes()
            found.find_remote(name)
            rest = {known: remote for known, remote in found.by_name.items() if known != name}
            self.token_file(name).unlink(missing_ok=True)
            self._write(Remotes(rest, None if found.default == name else found.default))

    def choose_default(self, name: str | None) -> None:
        """Let commands go to a gateway if they name none; None for the gateway on this machine.

        Raises:
            NotFound: there is none with that name.
        """
        with hold_edit_lock(self._home):
            found = self.read_remotes()
            if name is not None:
                found.find_remote(name)
            self._write(found._replace(default=name))

    def token_file(self, name: str) -> Path:
        check_name(name)
        return self._home / "remote-tokens" / name

    def _write(self, remotes: Remotes) -> None:
        content = {
            "default": remotes.default,
            "remotes": {name: remote._asdict() for name, remote in sorted(remotes.by_name.items())},
        }
        try:
            private_file.replace_private_file(self._file, json.dumps(content, indent=2).encode() + b"\n")
        except OSError as error:
            shown = paths.display_path(self._file)
            raise ConfigError(f"cannot write {shown}: {error.strerror}.", remedy=private_file.REPAIR_HINT) from error


def check_name(name: str) -> None:
    """Refuse what is no name for a gateway elsewhere.

    Raises:
        InvalidRequest: it is none.
    """
    if name == THIS_MACHINE:
        raise InvalidRequest(f'"{THIS_MACHINE}" means the gateway on this machine.', remedy="Choose another name.")
    if not _REMOTE_NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name[:64]!r} is not a name: up to 64 letters, digits, and . _ - after the first.",
            remedy="Choose one such as home.",
        )


def _parse_remotes(content: dict[str, Any]) -> Remotes:
    by_name = {}
    for name, told in content["remotes"].items():
        url, ca_file = told["url"], told.get("ca_file")
        if not (_REMOTE_NAME.fullmatch(name) and isinstance(url, str) and isinstance(ca_file, str | None)):
            raise ValueError("a remote is not one")
        by_name[name] = Remote(url, ca_file, told.get("allow_plain_http") is True)
    default = content.get("default")
    return Remotes(by_name, default if default in by_name else None)
