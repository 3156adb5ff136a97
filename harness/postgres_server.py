"""A real PostgreSQL server of its own, from Debian's package, as an ordinary user in a temporary directory."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg

from harness.waiting import PATIENCE, until_sync

#: accounts of Debian that may run the server: it refuses to run as root
_ORDINARY_ACCOUNTS = ("postgres", "nobody")
#: a server of the tests may lose what it has when the machine stops, and is faster then
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def find_programs() -> Path | None:
    """Return the directory with the programs of the newest PostgreSQL on this machine; None without one."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if versions:
        return versions[-1].parent
    found = shutil.which("postgres")
    return Path(found).parent if found else None


class PostgresServer:
    """A server that listens on a socket in its directory, and on an address if it is given one."""

    def __init__(
        self,
        programs: Path,
        directory: Path,
        *,
        durable: bool = False,
        address: str = "",
        port: int = 5432,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Args:
        durable: whether it keeps its promises when the machine stops.
        address: an address on which it listens, too.
        settings: further settings of the server.
        """
        self.directory = directory
        self._programs = programs
        self.port = port
        self._address = address
        self._settings = {**({} if durable else _FAST), **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._account = _choose_account()
        if self._account is not None:
            os.chown(directory, self._account.pw_uid, self._account.pw_gid)

    def create(self) -> None:
        """Make an empty cluster."""
        self._run("initdb", "-D", self._data, "-A", "trust", "-U", "moongate", "-E", "UTF8", "--locale=C", "--no-sync")
        if self._address:
            with (self.directory / "data" / "pg_hba.conf").open("a") as file:
                file.write("host all all all trust\nhost replication all all trust\n")

    def copy(self, primary: PostgresServer) -> None:
        """Make a replica of a server that listens on an address."""
        reached = f"host={primary.directory} port={primary.port} user=moongate"
        self._run("pg_basebackup", "-D", self._data, "-d", reached, "-R", "-X", "stream", "--no-sync", "-c", "fast")

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        settings = {
            **self._settings,
            "listen_addresses": self._address,
            "unix_socket_directories": str(self.directory),
            "max_connections": "300",
            "port": str(self.port),
        }
        command = [str(self._programs / "postgres"), "-D", self._data]
        command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_with_parent(), *command], stdout=log, stderr=log, cwd=self.directory, **self._as_account()
            )
        until_sync(self._is_ready, "PostgreSQL answers")

    def stop(self, how: int = signal.SIGINT) -> None:
        """End the server: https://www.postgresql.org/docs/current/server-shutdown.html."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(PATIENCE)
            self._process = None

    def url(self, database: str, *, address: str | None = None) -> str:
        """Return the URL of a database."""
        host = address or str(self.directory)
        return f"postgresql://moongate@/{database}?host={host}&port={self.port}"

    def create_database(self, name: str, template: str = "template0") -> str:
        """Create a database as a copy of another one; return its URL."""
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop_database(self, name: str) -> None:
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def execute(self, statement: str, database: str = "postgres") -> None:
        with contextlib.closing(psycopg.connect(self.url(database), autocommit=True)) as connection:
            connection.execute(statement.encode())

    @property
    def _data(self) -> str:
        return str(self.directory / "data")

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.directory / "log").read_text()
        with contextlib.suppress(psycopg.OperationalError):
            self.execute("SELECT 1")
            return True
        return False

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._programs / program), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.directory,
            timeout=PATIENCE,
            **self._as_account(),
        )

    def _as_account(self) -> dict[str, object]:
        account = self._account
        return {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _choose_account() -> pwd.struct_passwd | None:
    """Return the account that runs the server; None for the own one."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return next(known[name] for name in _ORDINARY_ACCOUNTS if name in known)


def _with_parent() -> list[str]:
    """Return the beginning of a command that ends when this process does, if that is possible here."""
    return ["setpriv", "--pdeathsig", "INT"] if shutil.which("setpriv") else []


@contextlib.contextmanager
def running_server(programs: Path, **options: Any) -> Iterator[PostgresServer]:
    """Make and start a server in a directory of its own; at the end, end it and remove the directory.

    Args:
        options: those of `PostgresServer`.
    """
    directory = Path(tempfile.mkdtemp(prefix="moongate-pg-"))  # short: a socket's path has at most 107 characters
    directory.chmod(0o755)
    server = PostgresServer(programs, directory, **options)
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)
