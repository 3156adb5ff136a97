"""Backups with real gateways: made under load, restored elsewhere, and the same conversation goes on."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.command_line import Shell
from harness.live_gateway import Live
from harness.waiting import until_sync

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")]

ECHO = {"id": "main", "backend": "echo", "script": True, "max_concurrent": 8}


def ask(live: Live, text: str, session: str = "talk") -> str:
    answer = live.call("POST", "/api/agent", {"message": text, "session": session})
    assert answer.status == 200, answer.body
    return str(answer.body["reply"])


def submit(live: Live, text: str, **more: Any) -> str:
    answer = live.call("POST", "/api/tasks", {"input": text, **more})
    assert answer.status == 202, answer.body
    return str(answer.body["task"]["id"])


def find_task(live: Live, task: str) -> dict[str, Any]:
    return dict(live.call("GET", f"/api/tasks/{task}").body["task"])


def test_a_backup_made_under_load_goes_on_in_the_same_conversation_elsewhere(
    live: Callable[..., Live], tmp_path: Path
) -> None:
    old = live("old", config={"agents": {"list": [ECHO]}}).start()
    shell = Shell(old.env, tmp_path)
    ask(old, "first")
    made = shell("tokens", "create", "phone", "--json").json
    running, waiting = submit(old, "@@ hang", session="busy"), submit(old, "@@ say later", session="busy")
    until_sync(lambda: find_task(old, running)["status"] == "running", "the task runs")
    enough = threading.Event()

    def load() -> None:
        while not enough.is_set():
            submit(old, "more")

    loading = threading.Thread(target=load)
    loading.start()
    try:
        backup = shell("backup", str(tmp_path / "backups"), "--json")
    finally:
        enough.set()
        loading.join()
    assert backup.code == 0, backup.err
    assert backup.json["running"] is True

    new = live("new")
    new.config.unlink()
    restored = Shell(new.env, tmp_path)("restore", backup.json["file"], "--json")
    assert restored.code == 0, restored.err
    assert restored.json["resumed"] is False
    assert restored.json["ended_tasks"] >= 2
    new.start()

    assert ask(new, "@@ history") == "2 messages"
    for task in (running, waiting):
        assert find_task(new, task)["status"] == "cancelled"
        assert "retry it" in find_task(new, task)["error"]
    assert new.call("GET", "/api/tasks", headers={"Authorization": f"Bearer {made['token']}"}).status == 200
    retried = new.call("POST", f"/api/tasks/{waiting}/retry").body["task"]["id"]
    until_sync(lambda: find_task(new, retried)["status"] == "succeeded", "the retried task ends")
