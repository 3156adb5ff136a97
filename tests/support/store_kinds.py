"""The kinds of store on which tests run: each test of the marker `both_stores` once on each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from gateway.domain.ports.file_store import ContentStore
from gateway.store.file_directory import FileDirectory
from gateway.store.postgres.content_cache import ContentCache
from gateway.store.postgres.contents import PostgresContents
from gateway.store.postgres.store import PostgresStore
from gateway.store.sql.store import SqlStore
from gateway.store.sqlite.store import SqliteStore
from harness.live_store import LivePostgres, LiveSqlite, LiveStore
from tests.support import postgres


class StoreKind(Protocol):
    """One implementation of the store, with what a test has made of it."""

    name: str

    def open(self, directory: Path, **options: Any) -> SqlStore:
        """Open the store of a directory; in an empty directory, create a new one."""
        ...

    def open_contents(
        self, directory: Path, owner: str = "me", is_alive: Callable[[str], bool] = lambda _: True
    ) -> AbstractContextManager[ContentStore]:
        """Open the contents of the files of that store, whose drafts are in the directory, too."""
        ...

    def find_live(self, home: Path) -> LiveStore:
        """Return the store of the gateways with this state directory."""
        ...

    def clear(self) -> None:
        """Remove what only files in the test's directory would not; all is closed then."""
        ...


class SqliteKind:
    name = "sqlite"

    def open(self, directory: Path, **options: Any) -> SqlStore:
        return SqliteStore(directory / "moongate.db", **options)

    def open_contents(
        self, directory: Path, owner: str = "me", is_alive: Callable[[str], bool] = lambda _: True
    ) -> AbstractContextManager[ContentStore]:
        return nullcontext(FileDirectory(directory / "files", owner, is_alive))

    def find_live(self, home: Path) -> LiveStore:
        return LiveSqlite()

    def clear(self) -> None: ...


class PostgresKind:
    name = "postgres"

    def __init__(self) -> None:
        #: databases by the directory that a SQLite store would have
        self._opened: dict[Path, str] = {}
        self._live: dict[Path, str] = {}

    def open(self, directory: Path, **options: Any) -> SqlStore:
        return PostgresStore(_find_url(self._opened, directory), **options)

    def open_contents(
        self, directory: Path, owner: str = "me", is_alive: Callable[[str], bool] = lambda _: True
    ) -> AbstractContextManager[ContentStore]:
        cache = ContentCache(FileDirectory(directory / "files", owner, is_alive))
        return closing(PostgresContents(_find_url(self._opened, directory), cache))

    def find_live(self, home: Path) -> LiveStore:
        return LivePostgres(_find_url(self._live, home))

    def clear(self) -> None:
        for name in self._opened.values():
            postgres.empty_database(name)
        for name in self._live.values():  # a killed gateway's last statement may be running still
            postgres.shared_server().drop_database(name)


def _find_url(databases: dict[Path, str], directory: Path) -> str:
    if directory not in databases:
        databases[directory] = postgres.create_database()
    return postgres.shared_server().url(databases[directory])


_KINDS: dict[str, Callable[[], StoreKind]] = {SqliteKind.name: SqliteKind, PostgresKind.name: PostgresKind}
KIND_NAMES = tuple(_KINDS)


@contextmanager
def prepared_kind(name: str) -> Iterator[StoreKind]:
    """Give a test a kind of store; all that it opens is closed before the end."""
    kind = _KINDS[name]()
    try:
        yield kind
    finally:
        kind.clear()
