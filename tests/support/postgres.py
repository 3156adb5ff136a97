"""A PostgreSQL server for the tests of one worker, and databases in it that are migrated already."""

from __future__ import annotations

import atexit
import itertools
import os
from contextlib import ExitStack
from functools import cache

import pytest

from gateway.domain.times import wall_clock
from harness.postgres_server import PostgresServer, find_programs, running_server

_TEMPLATE = "prepared"
_numbers = itertools.count()


@cache
def shared_server() -> PostgresServer:
    """Return the server of this process; the first call starts it. It ends with the process.

    Skips the test if there is no PostgreSQL here; in CI, that fails.
    """
    programs = find_programs()
    if programs is None:
        assert "MOONGATE_TEST_ALL" not in os.environ, "PostgreSQL is missing"
        pytest.skip("PostgreSQL is not installed: apt install postgresql")
    stack = ExitStack()
    server = stack.enter_context(running_server(programs))
    atexit.register(stack.close)
    return server


@cache
def _prepare_template() -> None:
    from gateway.store.postgres import opening

    opening.prepare_database(shared_server().create_database(_TEMPLATE), wall_clock)


def create_database() -> str:
    """Create a database with the newest schema, and return its name."""
    _prepare_template()
    name = f"test{next(_numbers)}"
    shared_server().create_database(name, _TEMPLATE)
    return name
