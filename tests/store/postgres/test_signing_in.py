"""A server that asks for a password, and one that asks for TLS. No password is ever shown."""

from __future__ import annotations

import psycopg
import pytest

from gateway.domain.times import wall_clock
from gateway.errors import ConfigError, GatewayError, Unavailable
from gateway.store.postgres import faults, opening
from harness.postgres_server import PostgresServer
from tests.store.postgres.servers import PASSWORD, url_of


def test_the_password_opens_the_database(strict_server: PostgresServer) -> None:
    opening.prepare_database(url_of(strict_server, "clerk"), wall_clock)


def test_a_wrong_password_is_refused_and_not_shown(strict_server: PostgresServer) -> None:
    with pytest.raises(ConfigError, match="does not accept the password") as refused:
        opening.prepare_database(url_of(strict_server, "clerk", "wrong-horse"), wall_clock)

    assert str(refused.value).endswith("Correct it in store.url, or in the file that store.password_file names.")
    assert "wrong-horse" not in str(refused.value)


def test_a_password_that_is_missing_is_asked_for(strict_server: PostgresServer) -> None:
    with pytest.raises(ConfigError, match="asks for a password, and none is given") as refused:
        opening.prepare_database(url_of(strict_server, "clerk", ""), wall_clock)

    assert str(refused.value).endswith("Write it in store.url, or in a file that store.password_file names.")


@pytest.mark.parametrize(
    ("user", "what", "remedy"),
    [
        ("namesake", "lets in only the user with the name of this account", "Name a host in store.url"),
        ("guest", "the user of store.url may not connect to", "GRANT CONNECT ON DATABASE"),
        ("sleeper", "the user of store.url may not sign in to", "ALTER ROLE the_user LOGIN;"),
    ],
)
def test_a_user_who_may_not_sign_in_is_told_what_to_do(
    strict_server: PostgresServer, user: str, what: str, remedy: str
) -> None:
    with pytest.raises(ConfigError, match=what) as refused:
        opening.prepare_database(strict_server.url("closed").replace("moongate@", f"{user}@"), wall_clock)

    assert remedy in str(refused.value)


def explain(said: str) -> GatewayError:
    """Return what is made of an error of libpq."""
    with pytest.raises(GatewayError) as explained, faults.explained("postgresql://moongate@db.example/moongate"):
        raise psycopg.OperationalError(f'connection to server at "db.example", port 5432 failed: {said}')
    return explained.value


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ('FATAL:  Ident authentication failed for user "moongate"', "lets in only the user"),
        ('FATAL:  LDAP authentication failed for user "moongate"', "does not accept the password"),
        ("FATAL:  connection requires a valid client certificate", "safely"),
        ('FATAL:  certificate authentication failed for user "moongate"', "safely"),
        ("SSL error: tlsv1 alert unknown ca", "safely"),
        ('could not read root certificate file "/etc/ca.pem": no certificate or crl found', "safely"),
        ('certificate present, but not private key file "/root/.postgresql/postgresql.key"', "safely"),
        ('private key file "/home/a/key" has group or world access', "safely"),
        ('weak sslmode "require" may not be used with sslrootcert=system (use "verify-full")', "safely"),
        ("received invalid response to SSL negotiation: H", "is no PostgreSQL server"),
    ],
)
def test_what_somebody_must_mend_is_no_reason_to_wait(said: str, what: str) -> None:
    error = explain(said)

    assert isinstance(error, ConfigError)
    assert what in error.message


@pytest.mark.parametrize(
    "said",
    [
        'FATAL:  database "TLS" is not currently accepting connections',
        'connection to server on socket "/run/server certificate/.s.PGSQL.5432" failed: Connection refused',
        "SSL SYSCALL error: EOF detected",
        "SSL SYSCALL error: Connection reset by peer",
    ],
)
def test_the_name_of_a_database_or_a_cut_connection_is_no_fault_of_tls(said: str) -> None:
    error = explain(said)

    assert isinstance(error, Unavailable)
    assert str(error).endswith("Start the server, or correct store.url.")


@pytest.mark.parametrize("said", ["sorry, too many clients already", 'too many connections for role "moongate"'])
def test_a_server_without_a_free_connection_is_waited_for(said: str) -> None:
    error = explain(f"FATAL:  {said}")

    assert isinstance(error, Unavailable)
    assert "Raise max_connections of the server, or the connection limit" in str(error)


def test_a_user_without_a_rule_is_told_where_it_would_be(strict_server: PostgresServer) -> None:
    with pytest.raises(ConfigError, match="refuses this machine or user") as refused:
        opening.check_server(url_of(strict_server, "secure", sslmode="disable"))

    assert "pg_hba.conf" in str(refused.value)
    assert PASSWORD not in str(refused.value)


def test_a_certificate_that_is_trusted_opens_the_database(strict_server: PostgresServer) -> None:
    certificate = str(strict_server.directory / "data" / "server.crt")

    opening.check_server(url_of(strict_server, "secure", sslmode="verify-full", sslrootcert=certificate))


def test_encryption_without_a_check_opens_the_database(strict_server: PostgresServer) -> None:
    opening.check_server(url_of(strict_server, "secure", sslmode="require"))


def test_a_certificate_that_nobody_trusts_is_refused(strict_server: PostgresServer) -> None:
    with pytest.raises(ConfigError, match=r"cannot connect to .* safely") as refused:
        opening.check_server(url_of(strict_server, "secure", sslmode="verify-full"))

    assert str(refused.value).endswith("Correct sslmode and sslrootcert in store.url.")


def test_a_certificate_for_another_host_is_refused(strict_server: PostgresServer) -> None:
    certificate = str(strict_server.directory / "data" / "server.crt")
    url = url_of(strict_server, "secure", sslmode="verify-full", sslrootcert=certificate)

    with pytest.raises(ConfigError, match="safely"):
        opening.check_server(url.replace("localhost", "gate.example"))


def test_a_server_without_tls_is_refused_if_it_is_asked_for(server: PostgresServer) -> None:
    with pytest.raises(ConfigError, match="server does not support SSL") as refused:
        opening.check_server(f"postgresql://moongate@127.0.0.1:{server.port}/postgres?sslmode=require")

    assert "safely" in str(refused.value)


def test_a_missing_root_certificate_is_named(strict_server: PostgresServer) -> None:
    with pytest.raises(ConfigError, match=r"/nowhere\.crt"):
        opening.check_server(url_of(strict_server, "secure", sslmode="verify-full", sslrootcert="/nowhere.crt"))
