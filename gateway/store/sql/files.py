"""Files: which are stored, whose they are, and how large all of them are. Their contents are files themselves.

A content is in its place before the transaction that stores its file, and is removed only in a transaction that has
seen that no file has it: transactions exclude each other, also those of other processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gateway.domain.file import File, StoredFile, make_quota_error
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.ports.file_store import StagedFile
from gateway.domain.reach import Reach
from gateway.domain.unreadable import RowKind
from gateway.errors import Conflict, FileUnknown, explain_disk_error
from gateway.store.sql import id_lookup, idempotency
from gateway.store.sql.conditions import Condition
from gateway.store.sql.reach import make_condition
from gateway.store.sql.transaction import Reader, Transaction
from gateway.store.sql.unreadable import decode_rows, fetch_row

#: files that one transaction prunes
MAX_FILES_PRUNED_AT_ONCE = 100

_FILE_COLUMNS = "seq, id, sha256, name, media_type, size, uses, created"


def _decode_file(row: Sequence[Any]) -> StoredFile:
    seq, id_, sha256, name, media_type, size, uses, created = row
    file = File(id=id_, name=name, media_type=media_type, size=size, sha256=sha256)
    return StoredFile(file=file, seq=seq, uses=uses, created=created)


# --- storing ----------------------------------------------------------------------------------


def add_file(tx: Transaction, staged: StagedFile, key: IdempotencyKey | None = None) -> File:
    earlier = idempotency.find_used(tx, key)
    found = None if earlier is None else _find_file(tx, earlier)
    if found is not None:
        return found.file
    store_staged(tx, [staged])
    idempotency.save_key(tx, key, staged.file.id)
    return staged.file


def store_staged(tx: Transaction, staged: Sequence[StagedFile], *, within_quota: bool = True) -> None:
    """Store files whose contents are on disk.

    Args:
        within_quota: whether the quota counts: not for what agents have made, whose runs must end.

    Raises:
        StorageFull: the disk is full, or all files together would be larger than the quota.
        Unavailable: the disk refuses.
    """
    new = {one.file.sha256: one.file.size for one in staged}
    for sha256 in list(new):
        if tx.execute("SELECT 1 FROM contents WHERE sha256 = ?", (sha256,)).get:
            del new[sha256]
    # Before anything is written: an operation that fails then does not fail the others of its batch.
    if new and within_quota and (total := count_bytes(tx) + sum(new.values())) > tx.file_quota:
        raise make_quota_error(total, tx.file_quota)
    for one in staged:
        try:
            one.place()
        except OSError as error:
            raise explain_disk_error(error, f"the file {one.file.name!r} cannot be stored") from error
    for content in new.items():
        tx.execute("INSERT INTO contents (sha256, size) VALUES (?, ?)", content)
    for file in (one.file for one in staged):
        tx.execute(
            "INSERT INTO files (id, sha256, name, media_type, size, created) VALUES (?, ?, ?, ?, ?, ?)",
            (file.id, file.sha256, file.name, file.media_type, file.size, tx.now),
        )


def check_stored(tx: Transaction, files: Sequence[File], staged: Sequence[StagedFile] = ()) -> None:
    """Check that files to which something will refer are there, or will be.

    Raises:
        FileUnknown: one is not; it may have been deleted.
    """
    coming = {one.file.id for one in staged}
    for file in files:
        if file.id not in coming and not tx.execute("SELECT 1 FROM files WHERE id = ?", (file.id,)).get:
            raise FileUnknown(f"there is no file with the id {file.id!r}; it may have been deleted.")


def use_files(
    tx: Transaction,
    files: Sequence[File],
    *,
    run: int | None = None,
    message: int | None = None,
    schedule: str | None = None,
) -> None:
    """Let a run, a message or a schedule refer to files, so that they are kept as long as it is."""
    for file in files:
        tx.execute(
            "INSERT INTO file_uses (file, run, message, schedule) SELECT seq, CAST(? AS INTEGER), CAST(? AS INTEGER), ?"
            " FROM files WHERE id = ?",
            (run, message, schedule, file.id),
        )


def release_schedule_files(tx: Transaction, schedule: str) -> None:
    """Let a schedule refer to no files."""
    tx.execute("DELETE FROM file_uses WHERE schedule = ?", (schedule,))


# --- deleting ---------------------------------------------------------------------------------


def delete_file(tx: Transaction, file_id: str) -> str:
    stored = get_file(tx, file_id)
    if stored.uses:
        raise Conflict(
            f"{stored.uses} tasks, messages or schedules refer to the file {stored.file.id}.",
            remedy="Delete its sessions and schedules first; retention removes old tasks.",
        )
    tx.execute("DELETE FROM files WHERE seq = ?", (stored.seq,))
    _delete_unowned_contents(tx, [stored.file.sha256])
    return stored.file.sha256


def prune_files(tx: Transaction, before: int) -> list[str]:
    rows = tx.execute(
        "DELETE FROM files WHERE seq IN (SELECT seq FROM files INDEXED BY files_unused"
        f" WHERE uses = 0 AND created < ? LIMIT {MAX_FILES_PRUNED_AT_ONCE}) RETURNING sha256",
        (before,),
    ).fetchall()
    hashes = [str(sha256) for (sha256,) in rows]
    _delete_unowned_contents(tx, hashes)
    return hashes


def remove_file(tx: Transaction, file_id: str) -> None:
    """Delete a file that cannot be read, whatever refers to it. The sweep finds its content later."""
    rows: list[Any] = tx.execute("SELECT seq, CAST(sha256 AS BLOB) FROM files WHERE id = ?", (file_id,)).fetchall()
    for seq, sha256 in rows:
        tx.execute("DELETE FROM file_uses WHERE file = ?", (seq,))
        tx.execute("DELETE FROM files WHERE seq = ?", (seq,))
        _delete_unowned_contents(tx, [sha256])


def _delete_unowned_contents(tx: Transaction, hashes: Sequence[str | bytes]) -> None:
    for sha256 in hashes:
        tx.execute(
            "DELETE FROM contents WHERE sha256 = CAST(?1 AS TEXT)"
            " AND NOT EXISTS (SELECT 1 FROM files WHERE sha256 = CAST(?1 AS TEXT))",
            (sha256,),
        )


def remove_unowned(tx: Transaction, hashes: Sequence[str], remove: Callable[[str], None]) -> int:
    """Run it in a transaction of its own: what others in it have deleted may come back, should its commit fail."""
    unowned = find_unowned(tx, hashes)
    for sha256 in unowned:
        remove(sha256)
    return len(unowned)


# --- reading ----------------------------------------------------------------------------------


def find_unowned(reader: Reader, hashes: Sequence[str]) -> list[str]:
    return [
        sha256
        for sha256 in dict.fromkeys(hashes)
        if not reader.execute("SELECT 1 FROM contents WHERE sha256 = ?", (sha256,)).get
    ]


def get_file(reader: Reader, file_id: str) -> StoredFile:
    found = _find_file(reader, file_id)
    if found is None:
        ids = id_lookup.find_ids(reader, "files", file_id)
        if len(ids) != 1:
            raise FileUnknown(id_lookup.describe_misses("file", "files", file_id, ids))
        found = _find_file(reader, ids[0])
        assert found is not None
    return found


def _find_file(reader: Reader, file_id: str) -> StoredFile | None:
    rows = reader.execute(f"SELECT {_FILE_COLUMNS} FROM files WHERE id = ?", (file_id,))
    return fetch_row(reader, RowKind.FILE, rows, _decode_file, lambda: (file_id,))


def list_files(reader: Reader, page: Page, reach: Reach | None = None) -> list[StoredFile]:
    before = page.before if page.before is not None else 1 << 62
    reached = _make_condition(reach)
    rows = reader.execute(
        f"SELECT {_FILE_COLUMNS} FROM files WHERE seq < ? AND {reached.text} ORDER BY seq DESC LIMIT ?",
        (before, *reached.values, page.limit),
    )
    return decode_rows(reader, RowKind.FILE, rows, _decode_file, lambda row: (row[1],))


def is_reached(reader: Reader, seq: int, reach: Reach) -> bool:
    reached = _make_condition(reach)
    found = reader.execute(f"SELECT 1 FROM files WHERE seq = ? AND {reached.text}", (seq, *reached.values)).get
    return bool(found)


def _make_condition(reach: Reach | None) -> Condition:
    """Return the condition of the files to which a run or a message refers that a limited caller reaches."""
    if reach is None:
        return make_condition(None)
    runs = make_condition(reach, "runs.agent", "runs.session")
    messages = make_condition(reach, "sessions.agent", "transcript.session")
    return Condition(
        "(EXISTS (SELECT 1 FROM file_uses CROSS JOIN runs ON runs.seq = file_uses.run"
        f" WHERE file_uses.file = files.seq AND {runs.text})"
        " OR EXISTS (SELECT 1 FROM file_uses CROSS JOIN transcript ON transcript.id = file_uses.message"
        " CROSS JOIN sessions ON sessions.key = transcript.session"
        f" WHERE file_uses.file = files.seq AND {messages.text}))",
        (*runs.values, *messages.values),
    )


def count_bytes(reader: Reader) -> int:
    total: int = reader.execute("SELECT bytes FROM content_total").get
    return total
