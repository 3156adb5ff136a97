"""`gateway usage`, and the options that set budgets."""

from __future__ import annotations

import pytest

from harness.command_line import Shell


def test_use_and_what_is_left_are_shown(shell: Shell) -> None:
    options = ["--budget-runs", "20", "--budget-tokens", "5000", "--budget-cost", "2.5"]
    job = shell("cron", "add", "every 1d", "--name", "counted", *options, "wake up").out.strip()
    shell("tasks", "watch", shell("cron", "trigger", job).out.strip())
    shown = shell("usage", "--by", "schedule")
    told = shell("usage", "--by", "schedule", "--agent", "main", "--json").json
    shell("cron", "remove", job)

    lines = [line.split() for line in shown.out.splitlines()]
    assert ["counted", "1", "2", "3", "0", "1", "unknown"] in lines
    assert "schedule counted 19 of 20 4,995 of 5,000 unknown of $2.50 used up".split() in lines
    assert "Budgets start again at " in shown.err
    assert {"by", "timezone", "since", "until", "resets_at", "usage", "budgets"} == set(told)
    assert told["budgets"][0]["limits"] == {"runs": 20, "tokens": 5000, "cost": 2.5}


def test_a_schedules_budget_is_replaced_and_lifted(shell: Shell) -> None:
    job = shell("cron", "add", "every 1d", "--budget-runs", "20", "wake").out.strip()
    kept = shell("cron", "edit", job, "--name", "x", "--json").json["job"]["budget"]
    edited = shell("cron", "edit", job, "--budget-tokens", "9", "--json").json["job"]["budget"]
    lifted = shell("cron", "edit", job, "--no-budget", "--json").json["job"]["budget"]
    shell("cron", "remove", job)

    assert kept == {"runs": 20, "tokens": None, "cost": None}
    assert edited == {"runs": None, "tokens": 9, "cost": None}
    assert lifted is None


def test_an_agent_over_its_budget_says_so(shell: Shell) -> None:
    added = shell("agents", "add", "frugal", "--budget-runs", "1", "--json").json["agent"]
    shown = shell("agents", "show", "frugal").out
    first, second = (shell("agent", "--agent", "frugal", "hello") for _ in range(2))
    lifted = shell("agents", "edit", "frugal", "--no-budget", "--json").json["agent"]
    shell("agents", "remove", "frugal")

    assert (added["budget"], lifted["budget"]) == ({"runs": 1, "tokens": None, "cost": None}, None)
    assert "Budget    1 run a day" in shown
    assert (first.out, second.code) == ("echo: hello\n", 1)
    assert "is over its budget: 1 of 1 runs are used today." in second.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["usage", "--since", "yesterday"], "is not a time"),
        (["usage", "--since", "2026-01-02", "--until", "2026-01-01"], "since: 2026-01-02 is later than 2026-01-01"),
        (["cron", "add", "every 1d", "--budget-runs", "1", "--no-budget", "wake"], "not both"),
        (["agents", "add", "x", "--budget-tokens", "0"], "--budget-tokens"),
    ],
)
def test_what_cannot_be_meant_is_refused(shell: Shell, words: list[str], said: str) -> None:
    result = shell(*words)

    assert (result.code, said in result.err) == (2, True), result.err
