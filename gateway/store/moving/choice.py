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
from gateway.config import Config, check_url_form
from gateway.domain.times import Clock
from gateway.errors import ConfigError, InvalidRequest, Unavailable
from gateway.settings.store import Store
from gateway.store import choice
from gateway.store.moving import contents
from gateway.store.moving.side import Side
from gateway.store.moving.sqlite_side import SqliteSide
from gateway.store.moving.tables import Table, read_tables

#: a target that means the SQLite file of the settings
SQLITE_TARGET = "sqlite"
#: a URL, or what was meant as one of PostgreSQL
_URL = re.compile(r"\w+://|postgres(ql)?:")


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
                with _named_as_option():
                    server = PostgresSide.open_target(self.url, clock, self.config.fleet_host)
                stack.callback(server.close)
                yield file, server, read_tables(file.apsw)
                return
            with self.config.name_origins("store.url"):
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
        InvalidRequest: both are of the same kind, or the URL is none.
    """
    if _URL.match(to):
        return _choose_server(config, to)
    if config.store.url is None:
        raise InvalidRequest(
            f"the store of these settings is a SQLite file already: {config.shown_store}.",
            remedy="To copy it to PostgreSQL, give a URL: gateway migrate --to postgresql://USER@HOST/NAME",
        )
    file = config.database_path if to == SQLITE_TARGET else paths.expand_path(to, "--to")
    with config.name_origins():
        choice.require_packages()
        return Move(config, file, choice.find_url(config), False)


def _choose_server(config: Config, url: str) -> Move:
    try:
        check_url_form("--to", url)
    except ConfigError as error:
        raise InvalidRequest(error.message, remedy=error.remedy) from None
    if config.store.url is not None:
        raise InvalidRequest(
            f"the store of these settings is in PostgreSQL already: {config.shown_store}.",
            remedy="To copy the SQLite file, unset store.url. To copy it to another server, use pg_dump.",
        )
    with _named_as_option():
        choice.require_packages()
        store = Store(url=url, password_file=config.store.password_file)
        return Move(config, config.database_path, choice.find_url(msgspec.structs.replace(config, store=store)), True)


@contextlib.contextmanager
def _named_as_option() -> Iterator[None]:
    """Name `--to` in errors instead of `store.url`: the URL of the target is from there."""
    try:
        yield
    except (ConfigError, Unavailable) as error:
        remedy = error.remedy and error.remedy.replace("store.url", "--to")
        raise type(error)(error.message.replace("store.url", "--to"), remedy=remedy) from error
