"""`gateway audit`."""

from __future__ import annotations

import signal

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
    newest = shell("audit", "--limit", "1", "--json").json["entries"][0]["id"]
    process = shell.start("audit", "--follow", "--limit", "1", "--json")
    try:
        first = next_line(process.stdout)
        served.call("POST", "/api/tokens", {"name": "followed"})
        second = next_line(process.stdout)
        process.send_signal(signal.SIGINT)
        code = process.wait(PATIENCE)
    finally:
        process.kill()
        process.communicate()

    assert (first["id"], second["target"]) == (newest, "followed")
    assert code in (0, 130)
