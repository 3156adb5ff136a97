"""`gateway unreadable`."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from harness.command_line import Shell


def test_a_schedule_that_cannot_be_read_is_listed_and_removed(shell: Shell) -> None:
    job = shell("cron", "add", "every 1h", "hi", "--json").json["job"]["id"]
    database = next(Path(shell.env["MOONGATE_HOME"]).glob("**/moongate.db"))
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE schedules SET spec = '{}' WHERE id = ?", (job,))
    connection.close()
    shell("cron", "list")

    listed = shell("unreadable", "list")
    told = shell("unreadable", "list", "--json").json["rows"]
    removed = shell("unreadable", "remove", "schedule", job)
    again = shell("unreadable", "remove", "schedule", job)

    assert f"schedule  {job}" in listed.out
    assert [(row["kind"], row["id"]) for row in told] == [("schedule", job)]
    assert set(told[0]) == {"kind", "id", "reason", "found_at"}
    assert removed == (0, f"Removed the schedule {job}.\n", "")
    assert again.code == 1
    assert shell("unreadable", "list", "--json").json == {"rows": []}
