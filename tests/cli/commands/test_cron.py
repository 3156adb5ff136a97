"""`gateway cron`."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.command_line import Shell
from harness.live_gateway import Live


@pytest.fixture
def job(shell: Shell) -> str:
    return shell(
        "cron", "add", "0 9 * * 1-5", "--tz", "Europe/Berlin", "--name", "inbox", "summarise my inbox"
    ).out.strip()


def test_a_schedule_is_made_listed_edited_and_removed(shell: Shell, job: str) -> None:
    row = next(line for line in shell("cron", "list").out.splitlines() if line.startswith(job))
    edited = shell("cron", "edit", job, "--schedule", "every 15m", "--json").json["job"]
    run = shell("cron", "trigger", job).out.strip()
    runs = shell("cron", "runs", job).out

    assert "inbox" in row
    assert "0 9 * * 1-5" in row
    assert (edited["schedule"], edited["name"]) == ("every 15m", "inbox")
    assert "triggered" in runs
    assert run in runs
    assert shell("cron", "toggle", job).out == "Disabled.\n"
    assert shell("cron", "remove", job) == (0, f"Removed {job}.\n", "")


def test_next_shows_five_times(shell: Shell) -> None:
    assert len(shell("cron", "next", "every 1h").out.splitlines()) == 5
    assert set(shell("cron", "next", "every 1h", "--json").json) == {"schedule", "timezone", "times"}


def test_next_shows_times_in_the_zone_that_is_asked_for(shell: Shell) -> None:
    tokyo = shell("cron", "next", "0 9 * * *", "--tz", "Asia/Tokyo", "--count", "2").out.splitlines()

    assert len(tokyo) == 2
    assert all(line.endswith("09:00:00 JST (Asia/Tokyo)") for line in tokyo)


def test_without_a_zone_it_is_that_of_the_gateways_machine_and_is_said(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    live.env["TZ"] = "Asia/Tokyo"
    live.start()
    added = shell("cron", "add", "0 9 * * *", "hi")

    assert shell("cron", "next", "0 9 * * *").out.splitlines()[0].endswith("09:00:00 JST (Asia/Tokyo)")
    assert added.err.endswith("09:00:00 JST (Asia/Tokyo).\n")
    assert shell("cron", "show", added.out.strip(), "--json").json["job"]["timezone"] == "Asia/Tokyo"


def test_list_shows_zone_next_time_agent_target_and_prompt(shell: Shell) -> None:
    added = shell(
        *("cron", "add", "0 9 * * *", "--tz", "Asia/Tokyo", "--agent", "main", "summarise my inbox"),
        *("--webhook", "http://127.0.0.1:9/hook"),
    )
    id_ = added.out.strip()
    header, *rows = shell("cron", "list").out.splitlines()
    row = next(row for row in rows if row.startswith(id_))

    assert header.lower().split() == "job name schedule zone next agent target last missed skipped prompt".split()
    for said in ("Asia/Tokyo", "09:00:00 JST", "main", "http://127.0.0.1:9/hook", "summarise my inbox"):
        assert said in row


def test_show_says_all_about_a_schedule_with_its_next_times_in_its_zone(shell: Shell, job: str) -> None:
    shell("cron", "edit", job, "--overlap", "replace", "--budget-runs", "3", "--fresh")
    shown = shell("cron", "show", job)
    told = shell("cron", "show", job, "--json").json["job"]

    assert (shown.code, shown.out.count("09:00:00 CE")) == (0, 5)
    for said in (job, "inbox", "0 9 * * 1-5", "Europe/Berlin", "replace", "3 runs a day", "a new one each time"):
        assert said in shown.out
    assert (len(told["next_runs"]), told["next_runs"][0]) == (5, told["next_run"])
    shell("cron", "toggle", job)
    assert "Enabled     no\n" in shell("cron", "show", job).out
    assert shell("cron", "show", "abc123").code != 0


def test_every_command_shows_the_times_of_a_schedule_in_its_zone(shell: Shell) -> None:
    job = shell("cron", "add", "0 9 1 1 *", "--tz", "Asia/Tokyo", "summarise my inbox").out.strip()
    edited = shell("cron", "edit", job, "--schedule", "30 9 1 1 *").out
    shell("cron", "toggle", job)
    toggled = shell("cron", "toggle", job).out
    shell("cron", "trigger", job)
    _, run = shell("cron", "runs", job).out.splitlines()

    assert edited.endswith("09:30:00 JST (Asia/Tokyo).\n")
    assert toggled.startswith("Enabled; next: ")
    assert toggled.endswith("09:30:00 JST (Asia/Tokyo).\n")
    assert run.count("JST") == 2


def test_at_a_terminal_times_are_shown_before_it_is_made(shell: Shell) -> None:
    with shell.terminal("cron", "add", "every 1h", "hi") as terminal:
        terminal.wait_for("Create it?")
        assert len([line for line in terminal.shown.splitlines() if " UTC" in line or "20" in line]) >= 5
        terminal.press("n\n")
        assert terminal.end() == 130


def test_what_cannot_be_is_refused(shell: Shell) -> None:
    found = shell("cron", "add", "30 2 30 2 *", "hi")

    assert (found.code, "never comes" in found.err) == (2, True)
    assert shell("cron", "trigger", "abc123", "--json").json["error"]["code"] == "JOB_NOT_FOUND"


def test_a_schedule_is_named_by_its_name_or_a_part_of_its_id(shell: Shell) -> None:
    identifier = shell("cron", "add", "0 0 1 1 *", "hi", "--name", "new year").out.strip()
    shell("cron", "add", "0 0 2 1 *", "hi", "--name", "twice")
    shell("cron", "add", "0 0 3 1 *", "hi", "--name", "twice")

    assert shell("cron", "edit", "new year", "--prompt", "ho", "--json").json["job"]["id"] == identifier
    assert shell("cron", "toggle", identifier[-8:]).out == "Disabled.\n"
    assert shell("cron", "runs", "New Year").err == "None.\n"
    ambiguous, unknown = shell("cron", "remove", "twice"), shell("cron", "remove", "never")
    assert (ambiguous.code, ambiguous.err.count("(twice)")) == (1, 2)
    assert "See: gateway cron list" in unknown.err
    assert shell("cron", "remove", "new year").code == 0


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_id_removes_nothing(shell: Shell, empty: str) -> None:
    shell("cron", "add", "every 1h", "hi")
    before = shell("cron", "list", "--json").json["jobs"]

    refused = shell("cron", "remove", empty)
    shown = shell("tasks", "show", empty)

    assert (refused.code, "The ID is empty." in refused.err) == (2, True)
    assert (shown.code, "The ID is empty." in shown.err) == (2, True)
    assert [job["id"] for job in shell("cron", "list", "--json").json["jobs"]] == [job["id"] for job in before]


def test_a_few_characters_remove_nothing_by_accident(shell: Shell) -> None:
    identifier = shell("cron", "add", "every 1h", "hi", "--json").json["job"]["id"]

    assert shell("cron", "remove", identifier[-3:]).code == 1
    assert shell("cron", "remove", identifier[-4:]).code == 0


def test_the_name_of_a_schedule_in_the_place_of_an_expression_is_answered_with_the_right_command(shell: Shell) -> None:
    made = shell("cron", "add", "0 9 * * *", "hi", "--name", "named-for-next", "--yes").out.strip()

    by_name, by_id, unknown = (shell("cron", "next", word) for word in ("named-for-next", made, "neither"))

    for told in (by_name, by_id):
        assert told.code == 2
        assert (
            f"is a schedule, not an expression. To see the next times of a schedule: gateway cron show {made}"
            in told.err
        )
    assert "is not a cron expression" in unknown.err


def test_files_go_along_each_time_and_are_replaced_or_removed(shell: Shell, tmp_path: Path) -> None:
    for name in ("log.txt", "new.txt"):
        (tmp_path / name).write_text(name)
    identifier = shell("cron", "add", "0 0 1 1 *", "@@ read", "--file", str(tmp_path / "log.txt")).out.strip()

    run = shell("cron", "trigger", identifier).out.strip()
    shown = shell("cron", "show", identifier).out
    replaced = shell("cron", "edit", identifier, "--file", str(tmp_path / "new.txt"), "--json").json["job"]
    kept = shell("cron", "edit", identifier, "--name", "with files", "--json").json["job"]
    removed = shell("cron", "edit", identifier, "--no-files", "--json").json["job"]
    both = shell("cron", "edit", identifier, "--no-files", "--file", str(tmp_path / "new.txt"))

    assert [file["name"] for file in shell("tasks", "show", run, "--json").json["task"]["attachments"]] == ["log.txt"]
    assert "Attachment   log.txt (text/plain, 7 bytes): gateway files get 01" in shown
    assert [[file["name"] for file in job["attachments"]] for job in (replaced, kept, removed)] == [
        ["new.txt"],
        ["new.txt"],
        [],
    ]
    assert both.code == 2
