"""Makes the database of a release, as it is kept in `tests/data/databases`.

    git archive COMMIT gateway cli service_templates | tar -x -C DIRECTORY
    python -m tests.store.make_released_database DIRECTORY tests/data/databases/VERSION.db.gz

It runs the release in DIRECTORY with the packages of this environment, fills its database over HTTP, and copies it
while one task runs and another waits. Version 0.1.0 is the commit that named it in the changelog, 84021ceb; it was
never tagged.
"""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

#: requests that fill it, in order: method, path, body
REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/api/agent", {"message": "@@ say first answer", "session": "talk"}),
    ("POST", "/api/agent", {"message": "@@ say 数据库的内容", "session": "talk"}),
    ("POST", "/api/agent", {"message": "@@ fail it broke", "session": "other"}),
    ("POST", "/api/tasks", {"input": "@@ say labelled", "labels": {"project": "old"}}),
    ("POST", "/api/tasks", {"input": "@@ say held", "held": True}),
    ("POST", "/api/tasks", {"input": "@@ say later", "run_at": "2199-01-01T00:00:00Z"}),
    ("POST", "/api/tasks", {"input": "@@ sleep 3600", "session": "lane"}),
    ("POST", "/api/tasks", {"input": "@@ say waits", "session": "lane"}),
    ("POST", "/api/tokens", {"name": "reader", "scope": "read"}),
    ("POST", "/api/cron/create", {"name": "nightly", "schedule": "0 3 * * *", "message": "@@ say night"}),
]


def main(directory: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="moongate-") as place:
        home = Path(place)
        agents = {"list": [{"id": "main", "backend": "echo", "script": True}]}
        (home / "config.json").write_text(json.dumps({"gateway": {"port": 0}, "agents": agents}))
        env = {"PATH": os.environ["PATH"], "HOME": place, "MOONGATE_HOME": place, "PYTHONPATH": str(directory)}
        with subprocess.Popen([sys.executable, "-P", "-m", "gateway"], env=env, cwd=directory) as gateway:
            try:
                _fill(home)
                _copy(home / "data/moongate.db", home / "copy.db")
            finally:
                gateway.kill()
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(gzip.compress((home / "copy.db").read_bytes(), mtime=0))


def _fill(home: Path) -> None:
    for _ in range(200):
        locks = [json.loads(file.read_text() or "{}") for file in home.glob("locks/gateway.*.lock")]
        if locks and "port" in locks[0] and (home / "token").exists():
            break
        time.sleep(0.1)
    time.sleep(2)
    for method, path, body in REQUESTS:
        request = urllib.request.Request(f"http://127.0.0.1:{locks[0]['port']}{path}", method=method)
        request.add_header("Authorization", f"Bearer {(home / 'token').read_text().strip()}")
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, json.dumps(body).encode(), timeout=60) as answer:
                print(path, answer.status)
        except urllib.error.HTTPError as error:
            print(path, error.code, error.read().decode()[:300])
    time.sleep(2)


def _copy(source: Path, target: Path) -> None:
    database = sqlite3.connect(source)
    try:
        database.execute("VACUUM INTO ?", (str(target),))
    finally:
        database.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
