"""Finds the gateway elsewhere that a command line means, with the token for it."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from cli.instance import SENT_TOKEN_VARIABLE, TOKEN_FILE_VARIABLE, FoundToken, read_token_file
from cli.remote.elsewhere import THIS_MACHINE, Elsewhere
from cli.remote.profiles import Remote, RemoteFiles
from gateway import paths
from gateway.errors import ConfigError
from gateway.supervisor.marker import read_marker

CA_FILE_VARIABLE, PLAIN_HTTP_VARIABLE = "MOONGATE_CA_FILE", "MOONGATE_ALLOW_PLAIN_HTTP"

_PORTS = {"https": 443, "http": 80}


class Target(NamedTuple):
    """A gateway elsewhere."""

    #: its address as it is shown: without a slash at its end
    url: str
    host: str
    port: int
    is_encrypted: bool
    #: path before that of each request; empty if there is none
    path_prefix: str
    #: file with the certificates to trust; None for those of this machine
    ca_file: Path | None
    token: FoundToken | None
    #: its name among the stored ones; None if the command line gives its address
    name: str | None = None


def find_target(elsewhere: Elsewhere, env: Mapping[str, str], config: str | None) -> Target | None:
    """Return the gateway elsewhere that a command line means; None if it means the one on this machine.

    Args:
        env: the environment, with `--token-file`.
        config: the value of `--config`.

    Raises:
        NotFound: it names a gateway that is not stored.
        ConfigError: an address, a file or a token cannot be used.
    """
    source = elsewhere.find_source(env, config)
    if source in ("--url", "MOONGATE_URL"):
        url = elsewhere.url or env["MOONGATE_URL"]
        given = _merge_options(Remote(url), elsewhere, env, is_stored=False)
        return make_target(given, _find_token(env), source=source)
    files = RemoteFiles(paths.state_directory(env))
    if source is not None:
        name = elsewhere.remote or env["MOONGATE_REMOTE"]
    else:
        default = None if config is not None else _find_default(elsewhere, env, files)
        if default is None:
            return None
        name = default
    remote = _merge_options(files.read_remotes().find_remote(name), elsewhere, env, is_stored=True)
    if elsewhere.token_file:
        token = _read_token_file(env)
    else:  # no variable is for it: that may have the token of another gateway
        stored = files.read_token(name)
        token = None if stored is None else FoundToken(stored, f"the remote {name}")
    return make_target(remote, token, source=f"remote {name}", name=name)


def find_default_remote(elsewhere: Elsewhere, env: Mapping[str, str], config: str | None) -> str | None:
    """Return the stored gateway that commands go to if they name none; None if that is the one on this machine.

    What is stored and cannot be read says none: the next command that needs it says what is wrong.
    """
    if config is not None:
        return None
    with contextlib.suppress(ConfigError):
        return _find_default(elsewhere, env, RemoteFiles(paths.state_directory(env)))
    return None


def make_target(remote: Remote, token: FoundToken | None, *, source: str, name: str | None = None) -> Target:
    """Return the target at an address.

    Args:
        source: what gives the address, for messages.

    Raises:
        ConfigError: it is no address, or the token would be sent where others can read it.
    """
    parts = _split_url(remote.url, source)
    host, is_encrypted = parts.hostname or "", parts.scheme == "https"
    if not (is_encrypted or remote.allow_plain_http or is_own_host(host)):
        raise ConfigError(
            f"{source}: over http://, everybody on the way to {host} can read the token and the messages.",
            remedy="Use https://, or an SSH tunnel: ssh -L 18790:localhost:18790 USER@HOST, then"
            " --url http://localhost:18790. In a network that you trust: --allow-plain-http",
        )
    ca_file = None if remote.ca_file is None else paths.expand_path(remote.ca_file, "--ca-file")
    prefix = parts.path.rstrip("/")
    url = f"{parts.scheme}://{parts.netloc}{prefix}"
    return Target(url, host, parts.port or _PORTS[parts.scheme], is_encrypted, prefix, ca_file, token, name)


def is_own_host(host: str) -> bool:
    """Return whether a host name means this machine, where nobody listens on the way."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _merge_options(remote: Remote, elsewhere: Elsewhere, env: Mapping[str, str], *, is_stored: bool) -> Remote:
    """Return a gateway with what the options and variables say in addition. Variables are not for a stored one."""
    ca_file, allowed = elsewhere.ca_file, elsewhere.allow_plain_http
    if not is_stored:
        ca_file = ca_file or env.get(CA_FILE_VARIABLE) or None
        allowed = allowed or env.get(PLAIN_HTTP_VARIABLE, "") not in ("", "0")
    return remote._replace(ca_file=ca_file or remote.ca_file, allow_plain_http=allowed or remote.allow_plain_http)


def _find_token(env: Mapping[str, str]) -> FoundToken | None:
    """Return the token that the environment gives for a URL. What this machine's own gateway has is not for others."""
    if env.get(SENT_TOKEN_VARIABLE):
        return FoundToken(env[SENT_TOKEN_VARIABLE], SENT_TOKEN_VARIABLE)
    return _read_token_file(env)


def _read_token_file(env: Mapping[str, str]) -> FoundToken | None:
    named = env.get(TOKEN_FILE_VARIABLE)
    return read_token_file(named, "--token-file") if named else None


def _find_default(elsewhere: Elsewhere, env: Mapping[str, str], files: RemoteFiles) -> str | None:
    """Return the stored gateway that commands go to if they name none.

    An agent means the gateway that runs it; a command line that names this machine, and a unit of a service manager,
    mean that of this machine.
    """
    is_named = THIS_MACHINE in (elsewhere.remote, env.get("MOONGATE_REMOTE"))
    if is_named or env.get("MOONGATE_CONFIG") or env.get("MOONGATE_DEPTH") or read_marker(env):
        return None
    return files.read_remotes().default


def _split_url(url: str, source: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna")
        is_good = parts.scheme in _PORTS and bool(host) and parts.port != 0 and url == "".join(url.split())
    except ValueError:  # UnicodeError is one
        is_good = False
    if is_good:
        is_good = parts.username is None and not (parts.query or parts.fragment) and parts.path.isascii()
    if not is_good:
        shown = url[:100].rpartition("@")[2]  # there may be a password before it
        raise ConfigError(
            f"{source}: {shown!r} is not the address of a gateway.",
            remedy="Give one such as https://gate.example or https://10.0.0.5:18790.",
        )
    return parts
