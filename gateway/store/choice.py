"""The store that the settings name: a SQLite file, or a PostgreSQL database.

What belongs to PostgreSQL is imported only if the settings name one.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import paths, private_file
from gateway.config import Config, find_passwords
from gateway.domain.address_policy import WebhookUse
from gateway.domain.budget import CalendarDays
from gateway.domain.ports.file_store import ContentStore
from gateway.domain.times import Clock
from gateway.errors import ConfigError
from gateway.paths import display_path
from gateway.store.file_directory import FileDirectory
from gateway.store.sqlite import opening, webhook_uses
from gateway.store.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from gateway.store.postgres.store import PostgresStore
    from gateway.store.sql.store import SqlStore

#: bytes of a file with a password
MAX_PASSWORD_BYTES = 4096


def open_store(config: Config, days: CalendarDays, clock: Clock, owner: str) -> SqlStore:
    """Open the store; create or migrate it as needed.

    Args:
        owner: name of this process.

    Raises:
        ConfigError: it cannot be used; the message names the setting.
        Unavailable: its server cannot be reached now.
    """
    if config.store.url is not None:
        with config.name_origins("store.url"):
            return _open_postgres(config, days, owner)
    with config.name_origins("data.directory"):
        return SqliteStore(
            config.database_path,
            queue_limit=config.limits.queue,
            file_quota=config.files.quota,
            days=days,
            clock=clock,
        )


def _open_postgres(config: Config, days: CalendarDays, owner: str) -> PostgresStore:
    require_packages()
    from gateway.store.postgres.store import PostgresStore

    return PostgresStore(
        find_url(config),
        host=config.fleet_host,
        owner=owner,
        queue_limit=config.limits.queue,
        file_quota=config.files.quota,
        days=days,
    )


@asynccontextmanager
async def open_contents(config: Config, owner: str, is_alive: Callable[[str], bool]) -> AsyncIterator[ContentStore]:
    """Open the contents of the files in the store, which is open already.

    Args:
        owner: name of this process.
        is_alive: whether the process with a name, on this machine, still lives.

    Raises:
        ConfigError: the password of the store cannot be read.
    """
    if config.store.url is None:
        yield FileDirectory(config.data_directory / "files", owner, is_alive)
        return
    from gateway.store.postgres.content_cache import ContentCache
    from gateway.store.postgres.contents import PostgresContents

    # Not the directory of SQLite's files: what is there may be their only copy, and this one is swept.
    cache = ContentCache(FileDirectory(config.data_directory / "file-cache", owner, is_alive))
    contents = PostgresContents(find_url(config), cache)
    try:
        yield contents
    finally:
        await asyncio.to_thread(contents.close)


def require_packages() -> None:
    """Check that the packages of the extra `postgres` are installed.

    Raises:
        ConfigError: one is not.
    """
    for name in ("psycopg", "procrastinate"):
        if importlib.util.find_spec(name) is None:
            raise ConfigError(
                f"store.url: PostgreSQL needs the package {name}, which is not installed.",
                remedy="pip install 'moongate[postgres]'",
            )


def find_url(config: Config) -> str:
    """Return the URL of the PostgreSQL database, with its password.

    Raises:
        ConfigError: the file with the password cannot be read, or the URL is none.
    """
    url = config.store.url
    assert url is not None
    password = _read_password(config)
    if password is None:
        return url
    from psycopg import conninfo

    from gateway.store.postgres.faults import check_url

    check_url(url)
    return conninfo.make_conninfo(url, password=password)


def _read_password(config: Config) -> str | None:
    if config.store.password_file is None:
        return None
    file = paths.expand_path(config.store.password_file, "store.password_file")
    try:
        password = private_file.read_plain_file(file, MAX_PASSWORD_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"store.password_file: cannot read {display_path(file)}: {error}.", remedy="Correct it, or its permissions."
        ) from error
    if not password:
        raise ConfigError(f"store.password_file: {display_path(file)} is empty.", remedy="Write the password to it.")
    return password


def check_server(config: Config) -> None:
    """Check that the PostgreSQL server of the settings answers and can be used; change nothing.

    Raises:
        ConfigError, Unavailable: it does not, or cannot.
    """
    with config.name_origins("store.url"):
        require_packages()
        from gateway.store.postgres import opening as postgres

        postgres.check_server(find_url(config))


def find_secrets(config: Config) -> list[str]:
    """Return the passwords of the store, which must not be written to a log."""
    password = _read_password(config)
    return [*find_passwords(config.store.url or ""), *([password] if password else [])]


def is_migration_pending(config: Config) -> bool:
    """Return whether opening the store would change its schema; then no other process may use it.

    Raises:
        ConfigError, Unavailable: the store cannot be used; the message names the setting.
    """
    if config.store.url is not None:
        with config.name_origins("store.url"):
            require_packages()
            from gateway.store.postgres import opening as postgres

            return postgres.needs_migration(find_url(config))
    with config.name_origins("data.directory"):
        return opening.needs_migration(config.database_path)


def find_clock(store: SqlStore, clock: Clock) -> Clock:
    """Return the clock of the store: that of its server if it has one, so that all hosts have the same time."""
    return getattr(store, "clock", clock)


def find_database_file(config: Config) -> Path | None:
    """Return the SQLite file; None if the store is not one."""
    return None if config.store.url is not None else config.database_path


def read_webhook_uses(config: Config, limit: int) -> Sequence[WebhookUse]:
    """Return which webhooks are in use, from the database as it is; nothing if it cannot be read."""
    file = find_database_file(config)
    return [] if file is None else webhook_uses.read_webhook_uses(file, limit)
