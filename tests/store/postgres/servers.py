"""Servers and databases for the tests of this folder, and a way to one that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import conninfo

from gateway.domain.budget import CalendarDays
from gateway.domain.times import wall_clock
from gateway.errors import Unavailable
from gateway.store.postgres import opening
from gateway.store.postgres.database import PostgresDatabase
from gateway.store.sql.transaction import StoreLimits, Transaction
from harness.postgres_server import PostgresServer, running_server
from harness.waiting import PATIENCE
from tests.support import ports, postgres

#: the password of the users of a strict server
PASSWORD = "correct-horse"
#: who may sign in there, and how
STRICT_RULES = """
local all moongate trust
hostssl all secure 127.0.0.1/32 scram-sha-256
host all clerk 127.0.0.1/32 scram-sha-256
local all namesake peer
local all guest,sleeper trust
"""
_numbers = itertools.count()


@contextmanager
def own_server(**options: Any) -> Iterator[PostgresServer]:
    """A server that a test may end and start as it likes."""
    with running_server(postgres.require_programs(), **options) as server:
        yield server


def make_strict(server: PostgresServer) -> None:
    """Let a server ask for passwords, and give it a self-signed certificate for localhost."""
    directory = server.directory / "data"
    command = ["openssl", "req", "-new", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", "server.key", "-out", "server.crt"]
    subprocess.run(command, cwd=directory, check=True, capture_output=True, timeout=PATIENCE)
    owner = directory.stat()
    for file in (directory / "server.key", directory / "server.crt"):
        file.chmod(0o600)
        os.chown(file, owner.st_uid, owner.st_gid)
    for user in ("clerk", "secure"):
        server.execute(f"CREATE ROLE {user} LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
    server.execute("CREATE ROLE namesake LOGIN; CREATE ROLE guest LOGIN; CREATE ROLE sleeper")
    server.execute("CREATE DATABASE closed")
    server.execute("REVOKE CONNECT ON DATABASE closed FROM public")
    server.execute("ALTER SYSTEM SET ssl = on")
    (directory / "pg_hba.conf").write_text(STRICT_RULES)
    server.execute("SELECT pg_reload_conf()")


def url_of(server: PostgresServer, user: str, password: str = PASSWORD, **options: str) -> str:
    given = "&".join(f"{name}={value}" for name, value in options.items())
    return f"postgresql://{user}:{password}@localhost:{server.port}/postgres?hostaddr=127.0.0.1&{given}"


@contextmanager
def replica(server: PostgresServer) -> Iterator[PostgresServer]:
    """A server that follows another one, which listens on an address."""
    programs = postgres.require_programs()
    directory = Path(tempfile.mkdtemp(prefix="moongate-pg-"))
    directory.chmod(0o755)
    follower = PostgresServer(programs, directory, durable=True, **make_address())
    try:
        follower.copy(server)
        follower.start()
        yield follower
    finally:
        follower.stop()
        shutil.rmtree(directory, ignore_errors=True)


def make_address() -> dict[str, Any]:
    """Return the options of a server that listens on an address."""
    return {"address": "127.0.0.1", "port": ports.free()}


def prepare(server: PostgresServer) -> str:
    """Create a database with the schema and a table `facts`; return its URL."""
    name = f"own{next(_numbers)}"
    url = server.create_database(name)
    opening.prepare_database(url, wall_clock)
    server.execute("CREATE TABLE moongate.facts (name text PRIMARY KEY, size bigint)", name)
    return url


@asynccontextmanager
async def open_database(url: str) -> AsyncIterator[PostgresDatabase]:
    database = PostgresDatabase(url, None, CalendarDays(), StoreLimits(100, 1_000_000))
    try:
        yield database
    finally:
        await database.close()


def add_fact(tx: Transaction, name: str) -> None:
    tx.execute("INSERT INTO facts (name) VALUES (?)", (name,))


def read_facts(url: str) -> set[str]:
    """Return the facts that are committed."""
    with contextlib.closing(psycopg.connect(url, autocommit=True)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM moongate.facts").fetchall()}


def through(port: int, url: str) -> str:
    """Return the URL of the same database through a proxy."""
    database = conninfo.conninfo_to_dict(url)["dbname"]
    return f"postgresql://moongate@127.0.0.1:{port}/{database}"


async def count_facts(database: PostgresDatabase) -> int:
    count: int = await database.read(lambda reader: reader.execute("SELECT count(*) FROM facts").get)
    return count


async def until_written(database: PostgresDatabase, name: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await database.write(lambda tx: add_fact(tx, name))
            except Unavailable:
                await asyncio.sleep(0.05)


async def until_read(database: PostgresDatabase) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await count_facts(database)
                return
            except Unavailable:
                await asyncio.sleep(0.05)


class CutProxy:
    """Forwards connections to a server on an address, and cuts or holds them when it is told to."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        #: cuts a connection before or after it has forwarded this; once
        self.cut_before: bytes | None = None
        self.cut_after: bytes | None = None
        #: whether new connections are refused
        self.refuses = False
        #: cleared while nothing is forwarded
        self.flowing = threading.Event()
        self.flowing.set()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, target: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.refuses:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._server_port))
                self._open |= {client, server}
                self._start(self._forward, client, server, True)
                self._start(self._forward, server, client, False)

    def _forward(self, source: socket.socket, target: socket.socket, asks: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.flowing.wait()
                if asks and self.cut_before is not None and self.cut_before in data:
                    self.cut_before = None
                    break
                if asks and self.cut_after is not None and self.cut_after in data:
                    self.cut_after = None
                    _cut(source)  # the answer goes nowhere
                    target.sendall(data)
                    break
                target.sendall(data)
        _cut(source)
        _cut(target)

    def cut(self) -> None:
        """Cut all connections."""
        for each in list(self._open):
            _cut(each)

    def close(self) -> None:
        self.refuses = True
        self.flowing.set()
        _cut(self._listener)
        self.cut()
        for thread in self._threads:
            thread.join(PATIENCE)
        for each in {*self._open, self._listener}:
            each.close()


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def cut_proxy(port: int) -> Iterator[CutProxy]:
    proxy = CutProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
