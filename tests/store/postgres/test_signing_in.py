"""A server that asks for a password, and one that asks for TLS. No password is ever shown."""

from __future__ import annotations

import pytest

from gateway.domain.times import wall_clock
from gateway.errors import ConfigError
from gateway.store.postgres import opening
from harness.postgres_server import PostgresServer
from tests.store.postgres.servers import PASSWORD, url_of


def test_the_password_opens_the_database(strict_server: PostgresServer) -> None:
    opening.prepare_database(url_of(strict_server, "clerk"), wall_clock)


@pytest.mark.parametrize("password", ["", "wrong-horse"])
def test_a_wrong_password_is_refused_and_not_shown(strict_server: PostgresServer, password: str) -> None:
    with pytest.raises(ConfigError, match="does not accept the password") as refused:
        opening.prepare_database(url_of(strict_server, "clerk", password), wall_clock)

    assert str(refused.value).endswith("Correct it in store.url, or in the file that store.password_file names.")
    assert not password or password not in str(refused.value)


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
