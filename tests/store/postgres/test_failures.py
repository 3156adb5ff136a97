"""What is told of errors of the server, and which errors are left as they are: those mean a bug of ours."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from gateway.domain.times import wall_clock
from gateway.errors import GatewayError, StorageFull, Unavailable
from gateway.store.postgres import opening
from gateway.store.postgres.connection import PostgresConnection
from gateway.store.postgres.failures import translate_error
from gateway.store.postgres.jobs import NewJob, defer_jobs
from harness.postgres_server import PostgresServer
from tests.store.postgres.servers import prepare


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (errors.DiskFull("x"), StorageFull, "the disk of the database is full"),
        (errors.ReadOnlySqlTransaction("x"), Unavailable, "the database is read-only now"),
        (errors.LockNotAvailable("x"), Unavailable, "other members keep the database busy"),
        (errors.AdminShutdown("x"), Unavailable, "the database cannot be used: x"),
        (errors.TooManyConnections("x"), Unavailable, "the database cannot be used: x"),
        (errors.QueryCanceled("x"), Unavailable, "the database cannot be used: x"),
        (errors.IdleInTransactionSessionTimeout("x"), Unavailable, "the database cannot be used: x"),
        (errors.DataCorrupted("x"), Unavailable, "the database is damaged: x"),
        (errors.IndexCorrupted("x"), Unavailable, "the database is damaged: x"),
        (psycopg.OperationalError("x\nmore"), Unavailable, "the database cannot be used: x"),
        (psycopg.InterfaceError("x"), Unavailable, "the database cannot be used: x"),
    ],
)
def test_errors_of_the_server_are_told(error: Exception, kind: type[GatewayError], said: str) -> None:
    told = translate_error(error, "the database")

    assert type(told) is kind
    assert str(told).startswith(f"{said}.") or str(told).startswith(f"{said}:")
    assert "more" not in str(told)


@pytest.mark.parametrize(
    "error", [errors.UniqueViolation(), errors.UndefinedTable(), errors.SyntaxError(), OverflowError(), KeyError()]
)
def test_errors_of_ours_are_left_as_they_are(error: Exception) -> None:
    assert translate_error(error, "the database") is error


class Deferring:
    """What a transaction is for jobs."""

    def __init__(self, connection: PostgresConnection) -> None:
        self.connection = connection
        self.now = 0


def test_a_server_that_is_lost_while_jobs_are_left_there_is_told(server: PostgresServer) -> None:
    url = prepare(server)
    opening.prepare_database(url, wall_clock)
    connection = PostgresConnection(opening.connect(url, timeout_seconds=10))
    connection.execute("BEGIN")
    server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'moongate'")

    with pytest.raises(psycopg.Error) as lost:
        defer_jobs(Deferring(connection), [NewJob("agent:main", "r", "main", 1, 0)])  # type: ignore[arg-type]

    connection.psycopg.close()
    assert isinstance(translate_error(lost.value, "the database"), Unavailable)
