"""The databases of all releases are opened and migrated, and a gateway goes on with what is in them.

`make_released_database.py` says how they were made.
"""

from __future__ import annotations

import gzip
import re
import sqlite3
from pathlib import Path
from urllib.parse import quote

import pytest

from gateway.store.sqlite.opening import read_migrations
from harness.live_gateway import Live
from harness.waiting import until_sync

DATABASES = Path(__file__).parent.parent / "data/databases"
RELEASES = sorted(file.name.removesuffix(".db.gz") for file in DATABASES.glob("*.db.gz"))


def _unpack(release: str, home: Path) -> Path:
    target = home / "data/moongate.db"
    target.parent.mkdir(parents=True)
    target.write_bytes(gzip.decompress((DATABASES / f"{release}.db.gz").read_bytes()))
    return target


def _schema(file: Path) -> int:
    with sqlite3.connect(file) as database:
        return int(database.execute("PRAGMA user_version").fetchone()[0])


def test_each_release_has_a_database_here() -> None:
    changelog = (Path(__file__).parent.parent.parent / "CHANGELOG.md").read_text()
    released = set(re.findall(r"^## \[?(\d+\.\d+\.\d+)", changelog, re.MULTILINE))
    assert released <= set(RELEASES)


@pytest.mark.slow
@pytest.mark.parametrize("release", RELEASES)
def test_a_gateway_goes_on_with_the_database_of_a_release(release: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    file = _unpack(release, home)
    before = _schema(file)
    newest = len(read_migrations())
    live = Live(home)
    try:
        live.start()
        tasks = live.call("GET", "/api/tasks?limit=100").body["tasks"]
        assert {"succeeded", "failed", "queued"} <= {task["status"] for task in tasks}
        later = [task for task in tasks if task["status"] == "queued" and task.get("run_at")]
        assert len(later) == 1
        said = live.call("GET", f"/api/search?q={quote('数据库的内容')}").body
        assert "数据库的内容" in str(said)
        assert [token["name"] for token in live.call("GET", "/api/tokens").body["tokens"]] != []
        assert "nightly" in str(live.call("GET", "/api/cron").body)
        _finish_lane(live, tasks)
    finally:
        live.close()
    assert _schema(file) == newest
    copy = file.with_name(f"moongate.db.schema-{before}")
    assert copy.exists() == (before < newest)
    live.check_store()


def _finish_lane(live: Live, tasks: list[dict[str, object]]) -> None:
    """The task that ran when the copy was made is tried again; after it, the one that waited for it is done."""
    lane = [task for task in tasks if str(task["session"]).endswith(":lane")]
    assert len(lane) == 2
    newer, older = sorted(lane, key=lambda task: str(task["id"]), reverse=True)

    def status(task: dict[str, object]) -> str:
        return str(live.call("GET", f"/api/tasks/{task['id']}").body["task"]["status"])

    until_sync(lambda: status(older) == "running", "it is tried again")
    assert live.call("POST", f"/api/tasks/{older['id']}/cancel").status == 200
    until_sync(lambda: status(newer) == "succeeded", "the next one is done")
