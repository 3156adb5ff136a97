"""`gateway export`."""

from __future__ import annotations

import json
from pathlib import Path

from harness.command_line import Shell
from harness.live_gateway import Live


def test_the_files_have_what_the_api_lists(shell: Shell, served: Live, tmp_path: Path) -> None:
    task = served.call("POST", "/api/xcclaw/task", {"prompt": "hi"}).body
    ended = served.call("POST", f"/api/xcclaw/task/{task['id']}/execute").body
    session = served.call("POST", "/api/xcclaw/persistent?name=mine").body
    cron = {"id": "export", "name": "n", "cron": "0 9 * * *", "prompt": "p", "enabled": False}
    schedule = served.call("POST", "/api/xcclaw/schedule", cron).body
    directory = tmp_path / "new" / "xcclaw"

    told = shell("export", str(directory), "--json").json

    files = {file.name: json.loads(file.read_text()) for file in directory.iterdir()}
    assert {name: len(entries) for name, entries in files.items()} == told["files"]
    assert ended in files["tasks.json"]
    assert schedule in files["schedules.json"]
    assert ended in files["task_history.json"]
    assert session in files["persistent_sessions.json"]


def test_a_directory_that_cannot_be_written_is_named(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    result = shell("export", str(tmp_path / "file" / "below"))

    assert result.code == 1
    assert str(tmp_path / "file" / "below") in result.err
