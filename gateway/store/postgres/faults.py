"""What is wrong with a server that cannot be used from the start, and what to do about it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import psycopg
from psycopg import conninfo

from gateway.config import STORE_URL_REMEDY
from gateway.errors import ConfigError, GatewayError, Unavailable


class _Fault(NamedTuple):
    #: what the server or libpq says about it; names in quotation marks are left out
    said: re.Pattern[str]
    #: what it means; it takes the name of the database
    what: str
    remedy: str
    #: whether it may go away by itself, so that it is worth trying again
    passes: bool = False


def _fault(said: str, what: str, remedy: str, *, passes: bool = False) -> _Fault:
    return _Fault(re.compile(said), what, remedy, passes)


_FAULTS = (
    _fault(
        "no password supplied|empty password",
        "{where} asks for a password, and none is given",
        "Write it in store.url, or in a file that store.password_file names.",
    ),
    _fault(
        "(?:password|LDAP|PAM|RADIUS) authentication failed",
        "{where} does not accept the password",
        "Correct it in store.url, or in the file that store.password_file names.",
    ),
    _fault(
        "(?:Peer|Ident) authentication failed",
        "{where} lets in only the user with the name of this account",
        "Name a host in store.url, such as localhost, and give a password; or create a user with the name of this"
        " account (createuser), and leave the user out of store.url.",
    ),
    _fault(
        'database "" does not exist',
        "the server does not have {where}",
        "Create it, for example: createdb moongate",
    ),
    _fault(
        "permission denied for database",
        "the user of store.url may not connect to {where}",
        "As an administrator of the database: GRANT CONNECT ON DATABASE the_database TO the_user;",
    ),
    _fault('role "" does not exist', "{where} does not know the user of store.url", "Create it with createuser."),
    _fault(
        "not permitted to log in",
        "the user of store.url may not sign in to {where}",
        "As an administrator of the database: ALTER ROLE the_user LOGIN;",
    ),
    _fault(
        "no pg_hba.conf entry|pg_hba.conf rejects",
        "{where} refuses this machine or user",
        "Allow it in pg_hba.conf of the server: it may ask for TLS, see sslmode.",
    ),
    _fault(
        "invalid response to SSL negotiation|expected authentication request",
        "what answers as {where} is no PostgreSQL server",
        "Correct the host and the port in store.url.",
    ),
    _fault(
        "SSL error: |SSL connection|SSL context|does not support SSL|weak sslmode|private key file"
        "|(?:server|root|client) certificate|certificate (?:file|present|authentication|does not match)",
        "cannot connect to {where} safely",
        "Correct sslmode and sslrootcert in store.url.",
    ),
    _fault("invalid .*value|bad value", "a part of the URL of {where} is wrong", STORE_URL_REMEDY),
    _fault(
        "too many clients|too many connections|remaining connection slots",
        "{where} has no free connection",
        "Raise max_connections of the server, or the connection limit of the user or the database.",
        passes=True,
    ),
    _fault(
        "lock timeout",
        "another member keeps {where} busy",
        "Wait: it may be migrating the schema. If it goes on, look into pg_stat_activity of the server.",
        passes=True,
    ),
)
_UNREACHABLE = _fault("", "cannot use {where}", "Start the server, or correct store.url.", passes=True)


def describe_server(url: str) -> str:
    """Return which database a URL names, without its password."""
    try:
        found = conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return "the database of store.url"
    host, port = found.get("host") or found.get("hostaddr") or "localhost", str(found.get("port") or "").strip(",")
    return f"the database {found.get('dbname') or found.get('user') or ''!s} at {host}{f':{port}' if port else ''}"


def check_url(url: str) -> None:
    """Check that a URL can be read. What libpq says about one may have the password in it, and is not repeated.

    Raises:
        ConfigError: it cannot.
    """
    try:
        found = conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        said = first_line(error).partition(': "')[0]
        raise ConfigError(
            f"store.url: this is not the URL of a PostgreSQL database: {said}.", remedy=STORE_URL_REMEDY
        ) from None
    authority, _, rest = url.partition("?")[0].partition("://")[2].partition("/")
    if url.startswith("postgres") and (authority.count("@") > 1 or "@" in rest):
        raise ConfigError("store.url: the password, or another part, has a bare @ or /.", remedy=STORE_URL_REMEDY)
    if not all(port.isascii() and port.isdigit() and int(port) < 65536 for port in _list_ports(found)):
        raise ConfigError("store.url: the port is no number from 1 to 65535.", remedy=STORE_URL_REMEDY)


def _list_ports(found: Mapping[str, Any]) -> list[str]:
    return [port for port in str(found.get("port") or "").split(",") if port]


@contextlib.contextmanager
def explained(url: str) -> Iterator[None]:
    """Say what is wrong, and what to do, if the database cannot be used.

    Raises:
        ConfigError: somebody must do something.
        Unavailable: it may pass by itself.
    """
    try:
        yield
    except psycopg.Error as error:
        raise _explain_failure(error, describe_server(url)) from error


def _explain_failure(error: psycopg.Error, where: str) -> GatewayError:
    said = first_line(error)
    without_names = re.sub('"[^"]*"', '""', said)  # a database may have any name
    fault = next((fault for fault in _FAULTS if fault.said.search(without_names)), _UNREACHABLE)
    kind = Unavailable if fault.passes else ConfigError
    return kind(f"{fault.what.format(where=where)}: {said}.", remedy=fault.remedy)


def explain_loss(error: psycopg.Error, where: str) -> Unavailable:
    """Return the error to raise when a server that was in use cannot be used."""
    return Unavailable(f"{where} cannot be used: {first_line(error)}.", remedy="Look at the server, or wait.")


def first_line(error: psycopg.Error) -> str:
    """Return the first line of an error, without a full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[0].removesuffix(".")
