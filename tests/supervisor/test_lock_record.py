"""The lock's record, read by others while it is written."""

from __future__ import annotations

import threading
from pathlib import Path

from gateway.supervisor import lock, record
from gateway.supervisor.record import Record


def test_a_reader_during_a_write_sees_a_complete_record(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "gateway.lock"
    held = lock.acquire_lock(path)
    mine = Record(1, 0, "/x", "1", "b", "i", "127.0.0.1", 1, "0")
    held.write_record(mine)
    over = threading.Event()

    def write() -> None:
        while not over.wait(0.0005):
            held.write_record(mine)
            held.write_record(mine._replace(configPath="/a/longer/path", port=54321))

    thread = threading.Thread(target=write)
    thread.start()
    seen = [record.read_record(path) for _ in range(2000)]
    over.set()
    thread.join()
    held.release()

    assert None not in seen
