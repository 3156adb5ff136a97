"""`gateway import`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.command_line import Result, Shell
from harness.live_gateway import Live

SCHEDULE = {"id": "daily", "name": "每日", "cron": "0 9 * * *", "prompt": "report", "enabled": False}
ENDED = {
    "id": "1b2c",
    "type": "ephemeral",
    "prompt": "old",
    "status": "completed",
    "result": "done then",
    "error": None,
    "created_at": "2024-01-02T03:04:05+00:00",
    "started_at": "2024-01-02T03:04:06+00:00",
    "finished_at": "2024-01-02T03:04:07+00:00",
}
SESSION = {
    "id": "talk",
    "name": "我的会话",
    "created_at": "2024-01-01T00:00:00Z",
    "messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi there"}],
}


def write(directory: Path, **files: Any) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (directory / f"{name}.json").write_text(text)
    return directory


@pytest.fixture
def gateway(alone: tuple[Live, Shell]) -> tuple[Live, Shell]:
    """A gateway of one test, which is running and empty."""
    alone[0].start()
    return alone


def left_out(result: Result) -> dict[tuple[str, str], str]:
    return {(one["file"], one["entry"]): one["reason"] for one in result.json["left_out"]}


def test_the_four_files_become_schedules_sessions_and_a_history(gateway: tuple[Live, Shell], tmp_path: Path) -> None:
    live, shell = gateway
    files = write(
        tmp_path / "x",
        schedules=[SCHEDULE, {**SCHEDULE, "id": "on", "enabled": True}],
        persistent_sessions=[SESSION],
        task_history=[ENDED],
        tasks=[ENDED, {"id": "open", "type": "ephemeral", "prompt": "later", "status": "pending"}],
    )

    told = shell("import", str(files), "--json")

    assert told.code == 0, told
    assert told.json["files"] == {
        "schedules.json": {"imported": 2, "present": 0, "left_out": 0, "pending": 0},
        "persistent_sessions.json": {"imported": 1, "present": 0, "left_out": 0, "pending": 0},
        "task_history.json": {"imported": 1, "present": 0, "left_out": 0, "pending": 0},
        "tasks.json": {"imported": 1, "present": 1, "left_out": 0, "pending": 1},
    }
    schedules = live.call("GET", "/api/xcclaw/schedule").body
    assert [(one["id"], one["name"], one["enabled"]) for one in schedules] == [
        ("daily", "每日", False),
        ("on", "每日", True),
    ]
    [session] = live.call("GET", "/api/xcclaw/persistent").body
    assert session == {"id": "talk", "name": "我的会话", "created_at": "2024-01-01T00:00:00.000Z"}
    messages = live.call("GET", "/api/sessions/main:xcclaw:talk/history").body["messages"]
    assert [(one["role"], one["content"]) for one in messages] == [("user", "hello"), ("assistant", "hi there")]
    [old] = live.call("GET", "/api/xcclaw/history").body
    assert {name: old[name] for name in ("prompt", "status", "result", "started_at", "finished_at")} == {
        "prompt": "old",
        "status": "completed",
        "result": "done then",
        "started_at": "2024-01-02T03:04:06.000Z",
        "finished_at": "2024-01-02T03:04:07.000Z",
    }
    tasks = live.call("GET", "/api/xcclaw/task").body
    assert sorted((one["prompt"], one["status"]) for one in tasks) == [("later", "pending"), ("old", "completed")]


def test_a_pending_task_runs_only_when_it_is_executed(gateway: tuple[Live, Shell], tmp_path: Path) -> None:
    live, shell = gateway
    task = {"id": "t", "prompt": "now", "status": "running"}
    told = shell("import", str(write(tmp_path / "x", tasks=[task])))
    [imported] = live.call("GET", "/api/xcclaw/task").body

    executed = live.call("POST", f"/api/xcclaw/task/{imported['id']}/execute").body

    assert imported["status"] == "pending"
    assert "Tasks that had not ended: 1" in told.err
    assert "perhaps done part of them: t" in told.err
    assert (executed["status"], executed["result"]) == ("completed", "echo: now")


def test_a_second_import_changes_nothing(gateway: tuple[Live, Shell], tmp_path: Path) -> None:
    live, shell = gateway
    files = write(tmp_path / "x", schedules=[SCHEDULE], persistent_sessions=[SESSION], task_history=[ENDED])
    shell("import", str(files))
    paths = ("schedule", "persistent", "history", "task")
    before = [live.call("GET", f"/api/xcclaw/{path}").body for path in paths]

    told = shell("import", str(files), "--json")

    assert told.code == 0
    assert {of["present"] for of in told.json["files"].values()} == {1}
    assert [live.call("GET", f"/api/xcclaw/{path}").body for path in paths] == before
    assert len(live.call("GET", "/api/sessions/main:xcclaw:talk/history").body["messages"]) == 2


def test_what_was_exported_from_this_gateway_is_there_already(gateway: tuple[Live, Shell], tmp_path: Path) -> None:
    live, shell = gateway
    task = live.call("POST", "/api/xcclaw/task", {"prompt": "hi"}).body
    live.call("POST", f"/api/xcclaw/task/{task['id']}/execute")
    live.call("POST", "/api/xcclaw/persistent?name=mine")
    live.call("POST", "/api/xcclaw/schedule", SCHEDULE)
    shell("export", str(tmp_path / "x"))

    told = shell("import", str(tmp_path / "x"), "--json")

    assert told.code == 0
    assert {(of["imported"], of["present"]) for of in told.json["files"].values()} == {(0, 1)}
    assert told.json["ignored_fields"] == {}


def test_a_dry_run_changes_nothing(gateway: tuple[Live, Shell], tmp_path: Path) -> None:
    live, shell = gateway
    bad = {**SCHEDULE, "id": "bad", "cron": "never"}
    files = write(tmp_path / "x", schedules=[SCHEDULE, bad], persistent_sessions=[SESSION], tasks=[ENDED])

    told = shell("import", str(files), "--dry-run", "--json")

    assert told.code == 1
    assert [of["imported"] for of in told.json["files"].values()] == [1, 1, 1]
    assert list(left_out(told)) == [("schedules.json", "bad")]
    for path in ("schedule", "persistent", "history", "task"):
        assert live.call("GET", f"/api/xcclaw/{path}").body == []


def test_bad_entries_are_named_and_the_others_are_imported(gateway: tuple[Live, Shell], tmp_path: Path) -> None:
    live, shell = gateway
    files = write(
        tmp_path / "x",
        schedules=[SCHEDULE, {**SCHEDULE, "id": "c", "cron": "61 * * * *"}, {"id": "p", "cron": "0 9 * * *"}, 7],
        persistent_sessions=[{"id": "m", "name": "m", "messages": [{"role": "user"}]}, SESSION],
        task_history=[
            ENDED,
            {**ENDED, "result": "another"},
            {**ENDED, "id": "s", "status": "puzzled"},
            {**ENDED, "id": "t", "created_at": "yesterday"},
            {**ENDED, "id": "u", "created_at": "0001-01-01T00:00:00Z"},
            {**ENDED, "id": "n" * 300},
        ],
    )

    told = shell("import", str(files), "--json")

    assert told.code == 1
    reasons = {where[1]: reason for where, reason in left_out(told).items()}
    assert reasons.pop("c").startswith("cron: ")
    assert reasons.pop("n" * 300).startswith("id: ")
    assert reasons == {
        "p": "prompt: it has none.",
        "#4": "it is not an object.",
        "m": "messages: #1 has no text.",
        "1b2c": "an earlier entry of this file has the same id and other content.",
        "s": "status: 'puzzled' is unknown here.",
        "t": "created_at: 'yesterday' is not a time.",
        "u": "created_at: send a time between 1970 and 9998.",
    }
    assert [one["result"] for one in live.call("GET", "/api/xcclaw/history").body] == ["done then"]
    assert len(live.call("GET", "/api/xcclaw/schedule").body) == 1
    assert len(live.call("GET", "/api/xcclaw/persistent").body) == 1


def test_fields_without_a_counterpart_are_told(gateway: tuple[Live, Shell], tmp_path: Path) -> None:
    _, shell = gateway
    files = write(tmp_path / "x", schedules=[{**SCHEDULE, "retryPolicy": 3, "nextRun": "2026-01-01T00:00:00Z"}])

    told = shell("import", str(files))

    assert told.code == 0
    assert "schedules.json: these fields have no counterpart and were left out: retry_policy." in told.err


def test_an_id_that_no_path_can_have_gets_another_one(gateway: tuple[Live, Shell], tmp_path: Path) -> None:
    live, shell = gateway
    files = write(tmp_path / "x", schedules=[{**SCHEDULE, "id": "每日/报告"}], persistent_sessions=[{"name": "no id"}])
    shell("import", str(files))

    told = shell("import", str(files), "--json")

    assert {of["present"] for of in told.json["files"].values()} == {1}
    [made] = live.call("GET", "/api/xcclaw/schedule").body
    assert live.call("DELETE", f"/api/xcclaw/schedule/{made['id']}").status == 200


def test_a_file_that_cannot_be_read_is_left_out_as_a_whole(gateway: tuple[Live, Shell], tmp_path: Path) -> None:
    live, shell = gateway

    told = shell("import", str(write(tmp_path / "x", tasks='[{"id": "a"', schedules=[SCHEDULE])), "--json")

    assert told.code == 1
    [(where, why)] = left_out(told).items()
    assert where == ("tasks.json", "-")
    assert "line 1: not valid JSON" in why
    assert len(live.call("GET", "/api/xcclaw/schedule").body) == 1


def test_a_link_a_directory_and_bytes_that_are_not_utf8_are_left_out(
    gateway: tuple[Live, Shell], tmp_path: Path
) -> None:
    _, shell = gateway
    files = write(tmp_path / "x")
    (tmp_path / "elsewhere.json").write_text("[]")
    (files / "tasks.json").symlink_to(tmp_path / "elsewhere.json")
    (files / "schedules.json").mkdir()
    (files / "task_history.json").write_bytes(b'[\n"\xff"]')

    told = shell("import", str(files), "--json")

    assert told.code == 1
    assert left_out(told) == {
        ("tasks.json", "-"): "it is a link, which is not followed.",
        ("schedules.json", "-"): "it is a directory, not a plain file.",
        ("task_history.json", "-"): "line 2: it is not UTF-8.",
    }


def test_a_directory_that_is_missing_or_has_no_such_file_is_named(shell: Shell, tmp_path: Path) -> None:
    for directory in (tmp_path / "missing", write(tmp_path / "empty")):
        result = shell("import", str(directory))

        assert result.code == 1
        assert str(directory) in result.err


def test_a_transcript_too_large_for_a_request_is_left_out_alone(gateway: tuple[Live, Shell], tmp_path: Path) -> None:
    live, shell = gateway
    large = {"id": "large", "name": "large", "messages": [{"role": "user", "content": "x" * 9_000_000}]}
    files = write(tmp_path / "x", persistent_sessions=[SESSION, large])

    told = shell("import", str(files), "--json")

    assert list(left_out(told)) == [("persistent_sessions.json", "large")]
    assert [one["id"] for one in live.call("GET", "/api/xcclaw/persistent").body] == ["talk"]


def test_many_entries_are_imported_in_the_order_of_their_making(gateway: tuple[Live, Shell], tmp_path: Path) -> None:
    served, shell = gateway
    times = [f"2024-01-01T00:{number // 60:02}:{number % 60:02}Z" for number in range(250)]
    entries = [{"id": f"t{n}", "prompt": f"{n}", "status": "failed", "created_at": at} for n, at in enumerate(times)]

    told = shell("import", str(write(tmp_path / "x", task_history=entries[::-1])), "--json")

    assert told.json["files"]["task_history.json"]["imported"] == 250
    tasks = served.call("GET", "/api/xcclaw/task").body
    assert [one["prompt"] for one in tasks] == [f"{number}" for number in range(250)]
    assert {one["status"] for one in tasks} == {"failed"}
