"""`gateway deliveries`, and `gateway tasks add --webhook`."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest

from harness.command_line import Shell
from harness.waiting import until_sync


@pytest.fixture(scope="module")
def nobody() -> Iterator[str]:
    """A URL on a port at which nobody listens, nor can."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/hook"


@pytest.fixture
def waiting(shell: Shell, nobody: str) -> str:
    """Return the id of a delivery that has failed once."""
    task = shell("tasks", "add", "hi", "--webhook", nobody).out.strip()

    def failed() -> bool:
        found = shell("deliveries", "list", "--task", task, "--json").json["deliveries"]
        return bool(found) and found[0]["error"] is not None

    until_sync(failed, "it was tried")
    return str(shell("deliveries", "list", "--task", task, "--json").json["deliveries"][0]["id"])


def test_a_delivery_is_listed_shown_and_retried(shell: Shell, waiting: str, nobody: str) -> None:
    row = next(line for line in shell("deliveries", "list").out.splitlines() if line.startswith(waiting))
    shown = shell("deliveries", "show", waiting[:22])

    assert nobody in row
    assert "cannot connect: Connection refused" in row
    assert shown.out.split()[:4] == ["Delivery", waiting, "Status", "pending"]
    assert re.search(r"^1 .* - +cannot connect: Connection refused$", shown.out, re.MULTILINE)
    assert shell("deliveries", "retry", waiting) == (0, f"Sending {waiting}.\n", "")


def test_a_task_shows_its_deliveries(shell: Shell, waiting: str, nobody: str) -> None:
    task = shell("deliveries", "show", waiting, "--json").json["delivery"]["task"]
    shown = shell("tasks", "show", task)
    told = shell("tasks", "show", task, "--json").json

    row = next(line for line in shown.out.splitlines() if line.startswith("Delivery"))
    assert f"  {nobody}: " in row
    assert row.endswith("(cannot connect: Connection refused)")
    assert [delivery["id"] for delivery in told["deliveries"]] == [waiting]


def test_json_has_the_documented_shapes(shell: Shell, waiting: str) -> None:
    listed = shell("deliveries", "list", "--json").json
    shown = shell("deliveries", "show", waiting, "--json").json
    retried = shell("deliveries", "retry", waiting, "--json").json

    fields = "id status task kind address format attempt next_at error created_at finished_at"
    assert set(listed) == {"deliveries", "next_cursor"}
    assert {frozenset(found) for found in (*listed["deliveries"], shown["delivery"], retried["delivery"])} == {
        frozenset(fields.split())
    }
    assert set(shown) == set(retried) == {"status", "delivery", "attempts"}
    assert set(shown["attempts"][0]) == {"number", "at", "seconds", "error", "http_status"}


def test_what_is_not_there_is_told(shell: Shell) -> None:
    assert shell("deliveries", "show", "01ZZZZ", "--json").json["error"]["code"] == "NOT_FOUND"
    assert "None." in shell("deliveries", "list", "--status", "dead").err
    assert shell("deliveries", "list", "--status", "lost").code == 2


def test_a_webhook_that_cannot_be_one_is_refused(shell: Shell) -> None:
    found = shell("tasks", "add", "hi", "--webhook", "http://10.0.0.1/")

    assert (found.code, "10.0.0.1 is a private address" in found.err) == (2, True)
