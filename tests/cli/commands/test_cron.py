"""`gateway cron`."""

from __future__ import annotations

import pytest

from harness.command_line import Shell


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
