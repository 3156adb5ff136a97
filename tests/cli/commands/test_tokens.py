"""`gateway tokens`."""

from __future__ import annotations

from harness.command_line import Shell
from harness.live_gateway import Live


def test_a_token_is_made_used_listed_and_revoked(shell: Shell) -> None:
    made = shell("tokens", "create", "phone", "--scope", "read", "--days", "2")
    mine = {"MOONGATE_TOKEN": made.out.strip()}

    assert made.err == "This is the secret. It is shown only once; the gateway stores its hash.\n"
    assert shell("agents", "list", env=mine).code == 0
    assert shell("agent", "hi", "--json", env=mine).json["error"]["code"] == "FORBIDDEN"
    row = next(line for line in shell("tokens", "list").out.splitlines() if line.startswith("phone"))
    assert row.split()[1] == "read"
    assert made.out.strip() not in row
    assert shell("tokens", "revoke", "phone") == (0, "Revoked phone.\n", "")
    assert shell("agents", "list", "--json", env=mine).json["error"]["code"] == "UNAUTHORIZED"


def test_json_has_the_documented_shapes(shell: Shell) -> None:
    made = shell("tokens", "create", "shaped", "--json").json
    listed = shell("tokens", "list", "--json").json
    gone = shell("tokens", "revoke", "shaped", "--json").json

    assert set(made) == {"status", "token", "name", "scope"}
    assert {frozenset(token) for token in listed["tokens"]} == {
        frozenset({"name", "scope", "created_at", "expires_at", "browser", "signed_in_with", "last_used"})
        | {"last_address", "last_client", "agents", "sessions"}
    }
    assert gone == {"status": "ok"}


def test_a_browser_is_listed_with_its_last_use_and_signed_out(shell: Shell, served: Live) -> None:
    agent = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Firefox/145.0", "X-Moongate-Dashboard": "1"}
    mine = shell("tokens", "create", "of-the-browser").out.strip()
    served.call("POST", "/api/dashboard/sign-in", {"token": mine}, headers=agent)
    said = "Firefox on Linux, signed in with of-the-browser, last used 20"
    (row,) = [line for line in shell("tokens", "list").out.splitlines() if said in line]

    assert row.startswith("browser-")
    assert shell("tokens", "revoke", row.split()[0]).code == 0
    assert said not in shell("tokens", "list").out


def test_a_name_that_is_taken_is_refused(shell: Shell) -> None:
    shell("tokens", "create", "taken")

    assert shell("tokens", "create", "taken").code == 1


def test_an_unknown_scope_is_wrong_usage(shell: Shell) -> None:
    assert shell("tokens", "create", "x", "--scope", "root").code == 2
