"""A PostgreSQL server for the tests of one worker, and databases in it that are migrated already."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import psycopg
import pytest

from gateway.domain.times import wall_clock
from harness.postgres_server import PostgresServer, find_programs, running_server

_TEMPLATE = "prepared"
_numbers = itertools.count()
#: databases that a test has given back empty
_empty: list[str] = []

#: deletes all rows that a test has made, which is faster than another database; one statement of PL/pgSQL, for a test
#: writes to few of the tables
_EMPTY = """
DO $$
DECLARE name regclass; filled boolean;
BEGIN
  SET LOCAL search_path = moongate;
  SET LOCAL session_replication_role = replica;
  FOR name IN SELECT oid FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace IN (
    SELECT oid FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
  ) AND relname NOT IN ('migrations', 'job_migrations', 'content_total') LOOP
    EXECUTE 'SELECT EXISTS (SELECT FROM ' || name || ')' INTO filled;
    IF filled THEN EXECUTE 'DELETE FROM ' || name; END IF;
  END LOOP;
  UPDATE content_total SET bytes = 0 WHERE bytes <> 0;
  FOR name IN SELECT s.seqrelid FROM pg_sequence AS s, LATERAL pg_sequence_last_value(s.seqrelid) AS last
    WHERE last IS NOT NULL
  LOOP
    EXECUTE 'ALTER SEQUENCE ' || name || ' RESTART';
  END LOOP;
END $$
"""


@cache
def shared_server() -> PostgresServer:
    """Return the server of this process; the first call starts it. It ends with the process.

    Skips the test if there is no PostgreSQL here; in CI, that fails.
    """
    stack = ExitStack()
    server = stack.enter_context(running_server(require_programs()))
    atexit.register(stack.close)
    return server


def require_programs() -> Path:
    """Return the directory with the programs of PostgreSQL.

    Skips the test if there is none here; in CI, that fails.
    """
    programs = find_programs()
    if programs is None:
        assert "MOONGATE_TEST_ALL" not in os.environ, "PostgreSQL is missing"
        pytest.skip("PostgreSQL is not installed: apt install postgresql")
    return programs


@cache
def _prepare_template() -> None:
    from gateway.store.postgres import opening

    opening.prepare_database(shared_server().create_database(_TEMPLATE), wall_clock)


def create_database() -> str:
    """Return the name of an empty database with the newest schema."""
    if _empty:
        return _empty.pop()
    _prepare_template()
    name = f"test{next(_numbers)}"
    shared_server().create_database(name, _TEMPLATE)
    return name


def empty_database(name: str) -> None:
    """Delete all rows of a database that nobody uses now, so that `create_database` can return it again."""
    with contextlib.closing(psycopg.connect(shared_server().url(name), autocommit=True)) as connection:
        connection.execute(_EMPTY)
    _empty.append(name)
