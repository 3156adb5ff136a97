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

    files = {file.name: json.loads(file.read_text()) for file in directory.glob("*.json")}
    assert {name: len(entries) for name, entries in files.items()} == told["files"]
    assert ended in files["tasks.json"]
    assert schedule in files["schedules.json"]
    assert ended in files["task_history.json"]
    assert session in files["persistent_sessions.json"]


def test_the_files_of_messages_go_along_and_what_is_there_stays(shell: Shell, tmp_path: Path) -> None:
    id_ = shell("files", "add", "-", given="a log").out.strip()
    content = tmp_path / "files" / id_ / "stdin.txt"

    first = shell("export", str(tmp_path), "--json").json["files"]["files.json"]
    saved, written = content.read_text(), content.stat().st_mtime_ns
    shell("export", str(tmp_path))
    [known] = [file for file in json.loads((tmp_path / "files.json").read_text()) if file["id"] == id_]

    assert (saved, known["name"], known["size"]) == ("a log", "stdin.txt", 5)
    assert content.stat().st_mtime_ns == written
    assert len(list((tmp_path / "files").iterdir())) == first


def test_the_files_of_messages_are_left_out_on_request(shell: Shell, tmp_path: Path) -> None:
    shell("files", "add", "-", given="a log")

    told = shell("export", str(tmp_path), "--no-files", "--json").json

    assert "files.json" not in told["files"]
    assert not (tmp_path / "files").exists()


def test_a_directory_that_cannot_be_written_is_named(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    result = shell("export", str(tmp_path / "file" / "below"))

    assert result.code == 1
    assert str(tmp_path / "file" / "below") in result.err
