"""Opens the two stores of a copy: that of the settings, and the one that is made."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from gateway import paths
from gateway.config import Config, Store
from gateway.domain.times import Clock
from gateway.errors import InvalidRequest
from gateway.store import choice
from gateway.store.moving import contents
from gateway.store.moving.side import Side
from gateway.store.moving.sqlite_side import SqliteSide
from gateway.store.moving.tables import Table, read_tables

#: a target that means the SQLite file of the settings
SQLITE_TARGET = "sqlite"
_URL = re.compile(r"postgres(ql)?://\S+")


class Move(NamedTuple):
    """Which store is copied to where."""

    config: Config
    #: the file: of the source, or of the target
    file: Path
    #: of the other store
    url: str
    to_server: bool

    @contextlib.contextmanager
    def open_sides(self, clock: Clock) -> Iterator[tuple[Side, Side, list[Table]]]:
        """Open the source and the target; nobody else may use them.

        Raises:
            AlreadyRunning: a gateway or a worker uses the database on the server.
            ConfigError: one of them cannot be used.
        """
        from gateway.store.moving.postgres_side import PostgresSide  # late: needs packages that may be missing

        with contextlib.ExitStack() as stack:
            if self.to_server:
                file = SqliteSide.open_source(self.file)
                stack.callback(file.close)
                server = PostgresSide.open_target(self.url, clock, self.config.fleet_host)
                stack.callback(server.close)
                yield file, server, read_tables(file.apsw)
                return
            server = PostgresSide.open_source(self.url)
            stack.callback(server.close)
            file = SqliteSide.open_target(self.file, clock)
            stack.callback(file.close)
            yield server, file, read_tables(file.apsw)

    def copy_contents(self, hashes: Iterable[str], report: Callable[[str], None]) -> list[str]:
        """Copy contents of files to the other store. Returns those that this one has not got.

        Raises:
            OSError, StorageFull, Unavailable: a disk or the database refuses; the copy can go on later.
        """

        async def copy() -> list[str]:
            file = contents.open_directory(self.file.parent)
            async with contents.open_server(self.url, self.config.data_directory) as server:
                source, target = (file, server) if self.to_server else (server, file)
                return await contents.copy_contents(source, target, hashes, report)

        return asyncio.run(copy())


def choose_move(config: Config, to: str) -> Move:
    """Return the copy from the store of the settings to another place.

    Args:
        to: a URL of PostgreSQL, `sqlite`, or the path of a file.

    Raises:
        ConfigError: what PostgreSQL needs is not installed, or the file with its password cannot be read.
        InvalidRequest: both are of the same kind.
    """
    choice.require_packages()
    if "://" in to:
        if _URL.fullmatch(to) is None:
            raise InvalidRequest("--to: the URL is not one of PostgreSQL.", remedy="Give postgresql://USER@HOST/NAME.")
        if config.store.url is not None:
            raise InvalidRequest(
                f"the store of these settings is in PostgreSQL already: {config.shown_store}.",
                remedy="To copy the SQLite file, unset store.url. To copy it to another server, use pg_dump.",
            )
        store = Store(url=to, password_file=config.store.password_file)
        return Move(config, config.database_path, choice.find_url(msgspec.structs.replace(config, store=store)), True)
    if config.store.url is None:
        raise InvalidRequest(
            f"the store of these settings is a SQLite file already: {config.shown_store}.",
            remedy="To copy it to PostgreSQL, give a URL: gateway migrate --to postgresql://USER@HOST/NAME",
        )
    file = config.database_path if to == SQLITE_TARGET else paths.expand_path(to, "--to")
    return Move(config, file, choice.find_url(config), False)
