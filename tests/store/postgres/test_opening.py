"""A server or a database that cannot be used: the message says why, and what to do."""

from __future__ import annotations

import re

import psycopg
import pytest
from psycopg import conninfo

from gateway.domain.times import wall_clock
from gateway.errors import ConfigError, GatewayError, Unavailable
from gateway.store.postgres import opening
from harness.postgres_server import PostgresServer
from tests.store.postgres import servers
from tests.support import postgres

PASSWORD = "correct-horse"


def refuse(url: str, kind: type[GatewayError] = ConfigError) -> str:
    """Return what is said about a database that cannot be used: the same by both ways to look at it."""
    with pytest.raises(kind) as opened:
        opening.prepare_database(url, wall_clock)
    with pytest.raises(kind) as checked:
        opening.check_server(url)
    assert str(opened.value) == str(checked.value)
    assert PASSWORD not in str(opened.value)
    return str(opened.value)


def name_of(url: str) -> str:
    return str(conninfo.conninfo_to_dict(url)["dbname"])


def test_a_server_that_is_not_there_may_come(free_port: int) -> None:
    said = refuse(f"postgresql://moongate:{PASSWORD}@127.0.0.1:{free_port}/gate", Unavailable)

    assert f"cannot use the database gate at 127.0.0.1:{free_port}: " in said
    assert "Connection refused" in said
    assert said.endswith("Start the server, or correct store.url.")


def test_a_socket_that_is_not_there_may_come() -> None:
    said = refuse(f"postgresql://moongate:{PASSWORD}@/gate?host=/nowhere", Unavailable)

    assert "the database gate at /nowhere" in said
    assert "No such file or directory" in said


def test_a_missing_database_is_named() -> None:
    said = refuse(postgres.shared_server().url("missing"))

    assert "the server does not have the database missing" in said
    assert said.endswith("Create it, for example: createdb moongate")


def test_a_missing_user_is_named() -> None:
    said = refuse(postgres.shared_server().url("postgres").replace("moongate@", f"stranger:{PASSWORD}@"))

    assert 'role "stranger" does not exist' in said
    assert said.endswith("Create it with createuser.")


def test_a_server_that_is_too_old_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psycopg.ConnectionInfo, "server_version", 130021)

    assert refuse(url).endswith("is PostgreSQL 13, which is too old. Use PostgreSQL 14 or newer.")


def test_a_database_that_is_read_only_by_default_is_refused(url: str) -> None:
    postgres.shared_server().execute(f"ALTER DATABASE {name_of(url)} SET default_transaction_read_only = on")

    assert refuse(url).endswith("is read-only: default_transaction_read_only is on. Turn it off for this user.")


def test_a_database_with_another_encoding_is_refused() -> None:
    server = postgres.shared_server()
    server.execute("DROP DATABASE IF EXISTS ascii")
    server.execute("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0")

    said = refuse(server.url("ascii"))

    assert "has the encoding SQL_ASCII" in said
    assert "createdb --encoding=UTF8 --template=template0" in said


def test_a_newer_schema_is_refused(url: str) -> None:
    number = len(opening.read_migrations()) + 1
    postgres.shared_server().execute(f"INSERT INTO moongate.migrations VALUES ({number}, 'x', 0)", name_of(url))

    said = refuse(url)

    assert f"has schema {number}, newer than this Moongate's {number - 1}" in said
    assert said.endswith("Upgrade Moongate.")


def test_a_migration_that_was_changed_is_refused(url: str) -> None:
    postgres.shared_server().execute("UPDATE moongate.migrations SET checksum = 'x' WHERE number = 1", name_of(url))

    said = refuse(url)

    assert "was made with another 0001_initial.sql" in said
    assert said.endswith("Use the Moongate that made it, or restore a backup.")


@pytest.fixture
def clerk_url() -> str:
    """An empty database, for a user with no rights there."""
    server = postgres.shared_server()
    server.execute("DROP DATABASE IF EXISTS foreign_one")
    server.execute("DROP ROLE IF EXISTS clerk")
    server.execute("CREATE ROLE clerk LOGIN")
    server.create_database("foreign_one")
    return server.url("foreign_one").replace("moongate@", "clerk@")


def test_a_user_who_may_not_create_the_schema_is_told_how(clerk_url: str) -> None:
    opening.check_server(clerk_url)
    with pytest.raises(ConfigError, match="permission denied for database") as refused:
        opening.prepare_database(clerk_url, wall_clock)

    assert "CREATE SCHEMA moongate AUTHORIZATION the_user;" in str(refused.value)


def test_the_schema_may_be_made_by_an_administrator(clerk_url: str) -> None:
    postgres.shared_server().execute("CREATE SCHEMA moongate AUTHORIZATION clerk", "foreign_one")

    opening.prepare_database(clerk_url, wall_clock)
    opening.check_server(clerk_url)


def test_a_schema_of_somebody_else_is_refused(clerk_url: str) -> None:
    postgres.shared_server().execute("CREATE SCHEMA moongate", "foreign_one")

    with pytest.raises(ConfigError, match="permission denied for schema moongate") as refused:
        opening.prepare_database(clerk_url, wall_clock)

    assert "ALTER SCHEMA moongate OWNER TO the_user;" in str(refused.value)


def test_a_server_without_a_free_connection_may_get_one() -> None:
    server = postgres.shared_server()
    url = server.create_database("crowded")
    server.execute("ALTER DATABASE crowded CONNECTION LIMIT 0")
    server.execute("CREATE ROLE guest LOGIN")

    said = refuse(url.replace("moongate@", "guest@"), Unavailable)

    assert "the database crowded" in said
    assert "Raise max_connections" in said


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{PASSWORD}@[::1/gate",
        f"postgresql://u:{PASSWORD}%zz@host/gate",
        f"postgresql://u:{PASSWORD}%00@host/gate",
        f"postgresql://u@host/gate?password={PASSWORD}&{PASSWORD}",
        f"postgresql://u@host/gate?password={PASSWORD}={PASSWORD}",
        f"postgresql://u@host/gate?{PASSWORD}=1",
        f"postgresql://u:{PASSWORD}@a@host/gate",
        f"postgresql://u:12@{PASSWORD}@host/gate",
        f"postgresql://u:{PASSWORD}/x@host/gate",
        f"postgresql://u:/{PASSWORD}@host/gate",
        f"postgresql://u:{PASSWORD}@127.0.0.1:port/gate",
        f"postgresql://u:{PASSWORD}@127.0.0.1:99999999/gate",
        f"postgresql://u:{PASSWORD}@127.0.0.1/gate?sslmode=maybe",
        f"postgresql://u:{PASSWORD}@127.0.0.1/gate?connect_timeout=soon",
        f"gate password='{PASSWORD}",
    ],
)
def test_a_url_that_is_none_is_refused_without_its_password(url: str) -> None:
    assert re.search(r"store\.url|URL", refuse(url))


@pytest.mark.parametrize(
    ("url", "named"),
    [
        (f"postgresql://u:{PASSWORD}@host:5433/gate", "the database gate at host:5433"),
        (f"postgresql://u:{PASSWORD}@one,two/gate", "the database gate at one,two"),
        ("postgresql://u@/gate?host=/run/postgresql", "the database gate at /run/postgresql"),
        ("postgresql://u@", "the database u at localhost"),
        (f"postgresql://u:{PASSWORD}@[::1/gate", "the database of store.url"),
    ],
)
def test_a_database_is_named_without_its_password(url: str, named: str) -> None:
    assert opening.describe_server(url) == named


def test_a_replica_is_refused_until_it_is_promoted(server: PostgresServer) -> None:
    url = servers.prepare(server)
    with servers.replica(server) as replica:
        said = refuse(replica.url(name_of(url)))

        assert "is a replica, which cannot be written to" in said
        assert "Name the primary in store.url" in said
        several = f"postgresql://moongate@/{name_of(url)}?host={replica.directory},{server.directory}"
        ports_of = f"&port={replica.port},{server.port}"
        opening.check_server(f"{several}{ports_of}&target_session_attrs=read-write")

        replica.execute("SELECT pg_promote()")
        opening.check_server(replica.url(name_of(url)))
