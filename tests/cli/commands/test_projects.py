"""`gateway projects`."""

from __future__ import annotations

from harness.command_line import Shell


def test_a_project_is_made_listed_with_its_tasks_and_deleted(shell: Shell) -> None:
    made = shell("projects", "create", "garden", "--name", "The garden", "--note", "beans")
    task = shell("tasks", "add", "hi", "--label", "project=garden").out.strip()
    shell("tasks", "watch", task)
    row = next(line for line in shell("projects", "list").out.splitlines() if line.startswith("garden"))

    assert made == (0, "Created garden. Its tasks have the label project=garden.\n", "")
    assert "The garden" in row
    assert "1 succeeded" in row
    assert shell("projects", "delete", "garden") == (0, "Deleted garden.\n", "")
    assert shell("tasks", "list", "--label", "project=garden", "--json").json["tasks"][0]["id"] == task


def test_json_has_the_documented_shapes(shell: Shell) -> None:
    made = shell("projects", "create", "shaped", "--json").json
    listed = shell("projects", "list", "--limit", "1", "--json").json
    gone = shell("projects", "delete", "shaped", "--json").json

    assert made["project"] == listed["projects"][0]
    assert set(made["project"]) == {"slug", "name", "note", "counts", "created_at", "updated_at"}
    assert set(listed) == {"projects", "next_cursor"}
    assert gone == {"status": "ok"}


def test_a_project_that_is_not_there_is_missed(shell: Shell) -> None:
    assert shell("projects", "delete", "gone", "--json").json["error"]["code"] == "PROJECT_NOT_FOUND"
    assert shell("projects", "create", "no slug").code == 2
