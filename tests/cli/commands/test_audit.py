"""`gateway audit`."""

from __future__ import annotations

import signal
from typing import Any, cast

import pytest

from cli.commands import audit
from gateway.errors import NotRunning, Unavailable
from harness.command_line import Shell, next_line
from harness.live_gateway import Live
from harness.waiting import PATIENCE


def test_who_did_what_is_shown_oldest_first(shell: Shell) -> None:
    shell("tokens", "create", "told-of", "--scope", "read", "--agent", "main")
    shell("tokens", "revoke", "told-of")
    lines = [line for line in shell("audit", "--action", "token").out.splitlines() if "told-of" in line]

    made, revoked = lines
    assert "owner" in made
    assert "127.0.0.1" in made
    assert "token.created" in made
    assert "scope: read, agents: main" in made
    assert "token.revoked" in revoked


def test_json_has_the_documented_shape_and_the_filters_hold(shell: Shell) -> None:
    shell("tokens", "create", "shaped-audit")
    found = shell("audit", "--who", "owner", "--action", "token.created", "--since", "1h", "--json").json

    assert set(found) == {"entries", "next_cursor"}
    assert {frozenset(entry) for entry in found["entries"]} == {
        frozenset({"id", "at", "who_kind", "who", "address", "action", "target", "outcome", "details"})
    }
    assert shell("audit", "--since", "1s", "--who", "nobody", "--json").json["entries"] == []


def test_the_start_of_the_gateway_is_told(shell: Shell) -> None:
    assert "gateway.started" in shell("audit", "--action", "gateway", "--limit", "500").out


def test_only_an_admin_may_see_it(shell: Shell) -> None:
    secret = shell("tokens", "create", "curious", "--scope", "write").out.strip()

    assert shell("audit", "--json", env={"MOONGATE_TOKEN": secret}).json["error"]["code"] == "FORBIDDEN"


def test_new_entries_are_followed_until_ctrl_c(shell: Shell, served: Live) -> None:
    shell("tokens", "create", "newest")
    tokens = ("--action", "token.created")  # the gateway may write other entries at any time
    process = shell.start("audit", "--follow", "--limit", "1", *tokens, "--json")
    try:
        first = next_line(process.stdout)
        served.call("POST", "/api/tokens", {"name": "followed"})
        second = next_line(process.stdout)
        process.send_signal(signal.SIGINT)
        code = process.wait(PATIENCE)
    finally:
        process.kill()
        process.communicate()

    assert (first["target"], second["target"]) == ("newest", "followed")
    assert code in (0, 130)


class _Away:
    """A gateway that restarts after its first answer."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.answers: list[list[dict[str, int]] | BaseException] = [
            [{"id": 7}],
            NotRunning("it does not run."),
            Unavailable("it starts."),
            [{"id": 8}],
            KeyboardInterrupt(),
        ]

    def get(self, path: str, *, after: int, **_: object) -> dict[str, object]:
        self.asked.append(after)
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return {"entries": answer}


def test_a_restart_does_not_end_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "AUDIT_POLL_SECONDS", 0.0)
    notes: list[str] = []
    monkeypatch.setattr(audit.output, "print_note", notes.append)
    away, shown = _Away(), list[int]()
    with pytest.raises(KeyboardInterrupt):
        audit._follow_entries(cast("Any", away), [{"id": 3}], 5, {}, lambda entry: shown.append(entry["id"]))

    assert (shown, away.asked) == ([3, 7, 8], [5, 7, 7, 7, 8])
    assert len(notes) == 1
