"""The forms that XCClaw's files may have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.takeover import xcclaw_files
from cli.takeover.xcclaw_files import XCClawEntry

SCHEDULE = {"id": "daily", "name": "每日", "cron": "0 9 * * *", "prompt": "report", "enabled": False}
ANOTHER = {**SCHEDULE, "id": "another"}


def read(tmp_path: Path, name: str, content: Any) -> list[XCClawEntry]:
    file = tmp_path / name
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return list(xcclaw_files.read_entries(file))


def without_id(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != "id"}


@pytest.mark.parametrize(
    "content",
    [
        [SCHEDULE, ANOTHER],
        {"daily": without_id(SCHEDULE), "another": ANOTHER},
        {"version": 1, "schedules": [SCHEDULE, ANOTHER]},
        {"schedules": {"daily": SCHEDULE, "another": without_id(ANOTHER)}},
        [
            {"scheduleId": "daily", "title": "每日", "cronExpression": "0 9 * * *", "prompt": "report", "isEnabled": 0},
            ANOTHER,
        ],
        "\ufeff" + json.dumps([SCHEDULE, ANOTHER]),
    ],
    ids=["list", "by id", "one list", "by id inside", "camelCase", "byte order mark"],
)
def test_a_file_may_have_several_forms(tmp_path: Path, content: Any) -> None:
    assert [entry.body for entry in read(tmp_path, "schedules.json", content)] == [SCHEDULE, ANOTHER]


@pytest.mark.parametrize("content", [[], {}, {"tasks": []}, {"tasks": {}}])
def test_a_file_may_be_empty(tmp_path: Path, content: Any) -> None:
    assert read(tmp_path, "tasks.json", content) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"a": [1,', "line 1: not valid JSON"),
        ('[{"id": "a", "id": "b"}]', "not valid JSON: an object has the name 'id' twice"),
        ('[{"id": NaN}]', "not valid JSON: NaN"),
        ("[" * 100_000, "nested too deep"),
        ('"text"', "it is neither a list"),
        ('{"version": 1}', "it is neither a list"),
        ('{"a": [], "b": []}', "it is neither a list"),
        ("", "line 1: not valid JSON"),
    ],
    ids=["cut off", "twice", "NaN", "deep", "text", "no list", "two lists", "empty"],
)
def test_a_file_of_no_such_form_is_one_problem(tmp_path: Path, content: str, reason: str) -> None:
    [found] = read(tmp_path, "tasks.json", content)

    assert (found.label, found.body) == ("-", None)
    assert reason in found.problem


def test_a_huge_file_is_one_problem(tmp_path: Path) -> None:
    with (tmp_path / "tasks.json").open("wb") as file:
        file.truncate(xcclaw_files.MAX_XCCLAW_FILE_BYTES + 1)

    [found] = xcclaw_files.read_entries(tmp_path / "tasks.json")

    assert (found.body, found.problem) == (None, "it is larger than 64 MB.")


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ("completed", "completed"),
        ("SUCCESS", "completed"),
        ("TaskStatus.FAILED", "failed"),
        ("cancelled", "aborted"),
        ("running", "pending"),
        (None, "pending"),
    ],
)
def test_a_status_may_have_several_names(tmp_path: Path, told: str | None, status: str) -> None:
    [found] = read(tmp_path, "tasks.json", [{"id": "a", "prompt": "p", "status": told}])

    assert found.body is not None
    assert found.body["status"] == status


@pytest.mark.parametrize(("more", "status"), [({"result": "r"}, "completed"), ({"error": "e"}, "failed")])
def test_a_task_of_the_history_without_a_status_has_ended(tmp_path: Path, more: dict[str, str], status: str) -> None:
    [found] = read(tmp_path, "task_history.json", [{"id": "a", "prompt": "p", **more}])

    assert found.body is not None
    assert found.body["status"] == status


@pytest.mark.parametrize(
    "time", [1704164645, 1704164645.0, 1704164645000, "2024-01-02T03:04:05Z", "2024-01-02T05:04:05+02:00"]
)
def test_a_time_may_have_several_forms(tmp_path: Path, time: Any) -> None:
    [found] = read(tmp_path, "tasks.json", [{"id": "a", "prompt": "p", "createdAt": time}])

    assert found.body is not None
    assert found.body["created_at"] == "2024-01-02T03:04:05.000Z"


@pytest.mark.parametrize(
    "wrong",
    [
        {"created_at": "yesterday"},
        {"created_at": True},
        {"created_at": 10**300},
        {"created_at": []},
        {"id": {"a": 1}},
        {"prompt": 5},
        {"prompt": ""},
        {"type": "eternal"},
        {"status": 7},
        {"session_id": []},
    ],
)
def test_a_field_of_a_wrong_type_is_named(tmp_path: Path, wrong: dict[str, Any]) -> None:
    [found] = read(tmp_path, "tasks.json", [{"id": "a", "prompt": "p", **wrong}])

    assert found.body is None
    assert found.problem.startswith(f"{next(iter(wrong))}: ")


def test_an_entry_without_an_id_has_the_same_one_each_time(tmp_path: Path) -> None:
    content = [{"prompt": "p", "status": "completed"}, {"prompt": "q", "status": "completed"}]

    labels = [[entry.label for entry in read(tmp_path, "tasks.json", content)] for _ in range(2)]

    assert labels[0] == labels[1]
    assert len(set(labels[0])) == 2


def test_messages_of_opencode_are_understood_and_system_prompts_left_out(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "be kind"},
        {"info": {"role": "user"}, "parts": [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]},
        {"role": "AI", "text": "hi", "timestamp": 1704164645},
    ]

    [found] = read(tmp_path, "persistent_sessions.json", [{"id": "s", "name": "n", "messages": messages}])

    assert found.body is not None
    assert found.body["messages"] == [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hi", "at": "2024-01-02T03:04:05.000Z"},
    ]
