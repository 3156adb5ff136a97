"""The contents of files in PostgreSQL, where every member of a fleet finds them. Each machine keeps copies on its disk.

A content is uploaded in one transaction of its own, when its draft is whole: so all of it is there or nothing. That
transaction also stores a hold, which keeps others from removing it as long as its message or answer is on its way. The
transaction that stores the file only looks whether the content is there.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from gateway import log
from gateway.errors import GatewayError
from gateway.store.file_directory import DirectoryDraft
from gateway.store.postgres.content_cache import ContentCache
from gateway.store.postgres.transfers import Transfers

#: bytes of all pieces of a content but the last
CONTENT_PIECE_BYTES = 256 * 1024
#: pieces that are fetched at once
PIECES_PER_FETCH = 4
#: threads that fetch contents
FETCHING_THREADS = 4
#: how long a hold lasts that nobody releases: longer than a run that has made a file usually goes on
HOLD_HOURS = 24
#: contents that are listed at once
MAX_CONTENTS_LISTED_AT_ONCE = 500
#: pieces that one transaction deletes
MAX_PIECES_DELETED_AT_ONCE = 40
#: seconds between sweeps: of the copies on this machine, and of the pieces of removed contents
CONTENTS_SWEEP_SECONDS = 600.0

_log = log.get()
_Connection = psycopg.Connection[Any]


class PostgresDraft:
    """A draft on disk, and its content in the database once it is whole."""

    def __init__(self, transfers: Transfers, local: DirectoryDraft, note_copy: Callable[[int], None]) -> None:
        """Args: note_copy: called with its size when there is a copy of it on this machine."""
        self._transfers = transfers
        self._local = local
        self._note_copy = note_copy
        #: ids of the holds on the content
        self._holds: list[int] = []
        #: a draft may be discarded while a thread uploads it, whose caller was cancelled
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        return self._local.size

    @property
    def sha256(self) -> str | None:
        return self._local.sha256

    def write(self, data: bytes) -> None:
        self._local.write(data)

    def finish(self, data: bytes = b"") -> str:
        with self._lock:
            sha256 = self._local.finish(data)
            self._note_copy(self.size)
            self._upload(sha256)
            return sha256

    def place(self) -> None:
        sha256 = self.sha256
        assert sha256 is not None, "a draft is whole before it is stored"
        with self._lock:
            if self._transfers.run(partial(_find_content, sha256=sha256)) is None:
                self._upload(sha256)  # its hold has lapsed, or a replica took over that had not got it

    def discard(self) -> None:
        with self._lock:
            holds, self._holds = self._holds, []
            try:
                self._local.discard()
            finally:
                if holds:
                    self._release(holds)

    def _upload(self, sha256: str) -> None:
        self._holds.append(self._transfers.run(partial(_store_content, sha256=sha256, draft=self._local)))

    def _release(self, holds: list[int]) -> None:
        try:
            self._transfers.run(partial(_delete_holds, holds=holds))
        except GatewayError as error:  # they lapse
            _log.warning("files.not_released", error=str(error))


class PostgresContents:
    """`ContentStore` in PostgreSQL, with a directory for the drafts of this machine and its copies."""

    def __init__(self, url: str, cache: ContentCache) -> None:
        """Args: url: of a database whose schema is there already."""
        self._transfers = Transfers(url)
        self._cache = cache
        self._threads = ThreadPoolExecutor(FETCHING_THREADS, thread_name_prefix="contents")
        #: the contents that are being fetched, by their SHA-256: who else wants one waits for the same
        self._coming: dict[str, asyncio.Future[None]] = {}
        self._is_closed = False
        self._wake_sweeper = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep_until_closed, name="contents-sweep", daemon=True)
        self._sweeper.start()

    def close(self) -> None:
        """End the threads and the connections. This blocks until what is being fetched is here."""
        self._is_closed = True
        self._wake_sweeper.set()
        self._sweeper.join()
        self._threads.shutdown(cancel_futures=True)
        self._transfers.close()

    def open_draft(self) -> PostgresDraft:
        return PostgresDraft(self._transfers, self._cache.open_draft(), self._note_copy)

    async def fetch(self, sha256: str) -> Path:
        coming = self._coming.get(sha256)
        if coming is None:
            coming = asyncio.get_running_loop().run_in_executor(self._threads, self._bring_here, sha256)
            self._coming[sha256] = coming
            coming.add_done_callback(lambda _: self._coming.pop(sha256))
        await asyncio.shield(coming)
        return self._cache.locate(sha256)

    def remove(self, sha256: str) -> None:
        self._transfers.run(partial(_delete_content, sha256=sha256))
        self._cache.remove(sha256)

    def list_contents(self) -> Iterator[Sequence[str]]:
        after = ""
        while hashes := self._transfers.run(partial(_list_hashes, after=after)):
            yield hashes
            after = hashes[-1]

    def remove_abandoned_drafts(self) -> int:
        self._transfers.run(_delete_lapsed_holds)
        return self._cache.remove_abandoned_drafts()

    def _note_copy(self, size: int) -> None:
        if self._cache.count_added(size):
            self._wake_sweeper.set()

    # --- on the threads that fetch ----------------------------------------------------------

    def _bring_here(self, sha256: str) -> None:
        """Make sure that there is a good copy, if there is such a content."""
        if self._cache.find_checked(sha256):
            return
        stored = self._find_content(sha256)
        if stored is None:
            return
        draft = self._cache.open_draft()
        try:
            self._download(stored, draft)
            if draft.finish() != sha256 and self._find_content(sha256) == stored:
                _log.error("files.damaged", sha256=sha256, remedy="Restore a backup of the database.")
        finally:
            draft.discard()
        self._note_copy(stored.size)

    def _find_content(self, sha256: str) -> _Stored | None:
        return self._transfers.run(partial(_find_content, sha256=sha256))

    def _download(self, stored: _Stored, draft: DirectoryDraft) -> None:
        """Write the pieces of a content to a draft, as far as they are there, and no more than its size says."""
        for start in range(0, -(-stored.size // CONTENT_PIECE_BYTES), PIECES_PER_FETCH):
            pieces = self._transfers.run(partial(_read_pieces, content=stored.id, start=start))
            for piece in pieces:
                draft.write(piece)
            if len(pieces) < PIECES_PER_FETCH:
                return

    # --- on the thread that sweeps ----------------------------------------------------------

    def _sweep_until_closed(self) -> None:
        while not self._is_closed:
            try:
                while self._transfers.run(_delete_orphans) and not self._is_closed:
                    pass
                if removed := self._cache.sweep(self._find_stored):
                    _log.info("files.cache_swept", copies=removed)
            except (GatewayError, OSError) as error:
                _log.warning("files.contents_sweep_waits", error=str(error))
            self._wake_sweeper.wait(CONTENTS_SWEEP_SECONDS)
            if not self._is_closed:
                self._wake_sweeper.clear()

    def _find_stored(self, hashes: Sequence[str]) -> list[str]:
        return self._transfers.run(partial(_find_hashes, hashes=hashes))


# --- statements -------------------------------------------------------------------------------


class _Stored(NamedTuple):
    """A content in the database."""

    id: int
    size: int


def _store_content(connection: _Connection, sha256: str, draft: DirectoryDraft) -> int:
    """Store a content unless it is there, and a hold on it. Returns the id of the hold."""
    with connection.transaction():
        while (content := _lock_content(connection, sha256)) is None:
            # If another process is uploading the same content, this waits for its commit.
            content = _fetch_number(
                connection,
                "INSERT INTO stored_contents (sha256, size) VALUES (%s, %s) ON CONFLICT DO NOTHING RETURNING id",
                (sha256, draft.size),
            )
            if content is not None:
                _write_pieces(connection, content, draft.path)
                break
        hold = _fetch_number(
            connection,
            "INSERT INTO content_holds (content, until) VALUES (%s, now() + make_interval(hours => %s)) RETURNING id",
            (content, HOLD_HOURS),
        )
        assert hold is not None
        return hold


def _lock_content(connection: _Connection, sha256: str) -> int | None:
    """Return the id of a content if it is there, and keep it from being removed before the end of the transaction."""
    return _fetch_number(connection, "SELECT id FROM stored_contents WHERE sha256 = %s FOR KEY SHARE", (sha256,))


def _write_pieces(connection: _Connection, content: int, path: Path) -> None:
    with path.open("rb") as reading:
        number = 0
        while data := reading.read(CONTENT_PIECE_BYTES):
            connection.execute(
                "INSERT INTO content_pieces (content, n, data) VALUES (%s, %s, %b)", (content, number, data)
            )
            number += 1


def _read_pieces(connection: _Connection, content: int, start: int) -> list[bytes]:
    """Return some pieces. One that is larger than a piece may be is not fetched: its content is damaged."""
    rows = connection.execute(
        "SELECT data FROM content_pieces WHERE content = %s AND n >= %s AND n < %s AND octet_length(data) <= %s"
        " ORDER BY n",
        (content, start, start + PIECES_PER_FETCH, CONTENT_PIECE_BYTES),
        binary=True,
    )
    return [data for (data,) in rows]


def _delete_content(connection: _Connection, sha256: str) -> None:
    """Delete a content, unless somebody holds it. Its pieces are left: nobody has to wait until all are deleted."""
    with connection.transaction():
        # A hold that is just being stored shares this lock: the next statement sees it.
        connection.execute("SELECT 1 FROM stored_contents WHERE sha256 = %s FOR UPDATE", (sha256,))
        connection.execute(
            "DELETE FROM stored_contents c WHERE sha256 = %s"
            " AND NOT EXISTS (SELECT 1 FROM content_holds WHERE content = c.id)",
            (sha256,),
        )


def _delete_orphans(connection: _Connection) -> int:
    """Delete some pieces whose content was removed. Returns their number. Those of uploads under way are not seen."""
    return connection.execute(
        "DELETE FROM content_pieces WHERE (content, n) IN (SELECT content, n FROM content_pieces p"
        " WHERE NOT EXISTS (SELECT 1 FROM stored_contents WHERE id = p.content) LIMIT %s)",
        (MAX_PIECES_DELETED_AT_ONCE,),
    ).rowcount


def _find_content(connection: _Connection, sha256: str) -> _Stored | None:
    row = connection.execute("SELECT id, size FROM stored_contents WHERE sha256 = %s", (sha256,)).fetchone()
    return None if row is None else _Stored(*row)


def _find_hashes(connection: _Connection, hashes: Sequence[str]) -> list[str]:
    rows = connection.execute("SELECT sha256 FROM stored_contents WHERE sha256 = ANY(%s)", (list(hashes),))
    return [sha256 for (sha256,) in rows]


def _list_hashes(connection: _Connection, after: str) -> list[str]:
    rows = connection.execute(
        "SELECT sha256 FROM stored_contents WHERE sha256 > %s ORDER BY sha256 LIMIT %s",
        (after, MAX_CONTENTS_LISTED_AT_ONCE),
    )
    return [sha256 for (sha256,) in rows]


def _delete_holds(connection: _Connection, holds: list[int]) -> None:
    connection.execute("DELETE FROM content_holds WHERE id = ANY(%s)", (holds,))


def _delete_lapsed_holds(connection: _Connection) -> None:
    connection.execute("DELETE FROM content_holds WHERE until < now()")


def _fetch_number(connection: _Connection, statement: str, values: tuple[Any, ...]) -> int | None:
    row = connection.execute(statement.encode(), values).fetchone()
    return None if row is None else int(row[0])
