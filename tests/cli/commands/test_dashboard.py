"""`gateway dashboard`."""

from __future__ import annotations

import re
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from harness.command_line import Shell
from harness.live_gateway import Live
from harness.waiting import until_sync

NO_SCREEN = {"DISPLAY": "", "WAYLAND_DISPLAY": "", "BROWSER": "", "SSH_CONNECTION": ""}


def sign_in(live: Live, url: str) -> Any:
    """Trade the code in an address, as the page does."""
    code = url.strip().partition("#code=")[2]
    return live.call("POST", "/api/dashboard/sign-in", {"code": code}, headers={"X-Moongate-Dashboard": "1"})


def test_without_a_screen_the_address_is_printed_and_signs_in(shell: Shell, served: Live) -> None:
    result = shell("dashboard", env=NO_SCREEN)

    assert result.code == 0
    assert re.fullmatch(rf"http://localhost:{served.port}/#code=mc_[\w-]{{43}}\n", result.out)
    assert "within a minute" in result.err
    assert [sign_in(served, result.out)[0] for _ in range(2)] == [200, 401]


@pytest.fixture
def fake_browser(tmp_path: Path) -> Path:
    """A program that writes its address to `opened`, and runs until nobody waits for it."""
    program = tmp_path / "browser"
    program.write_text(
        f'#!/bin/sh\necho noise\necho "$1" > "{tmp_path}/draft"\nmv "{tmp_path}/draft" "{tmp_path}/opened"\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def test_with_a_screen_a_browser_opens_it(shell: Shell, served: Live, fake_browser: Path) -> None:
    result = shell("dashboard", env={**NO_SCREEN, "BROWSER": f"{fake_browser} %s"})
    opened = fake_browser.with_name("opened")
    until_sync(opened.exists)

    assert result.out == f"Opened the dashboard in your browser: http://localhost:{served.port}\n"
    assert "#code" not in result.err
    assert sign_in(served, opened.read_text())[1]["scope"] == "admin"


def test_a_browser_that_cannot_start_leaves_the_address(shell: Shell) -> None:
    result = shell("dashboard", env={**NO_SCREEN, "BROWSER": "/nowhere/browser %s", "PATH": "/nowhere"})

    assert "#code=mc_" in result.out


def test_it_can_be_printed_only_and_as_json(shell: Shell, served: Live, fake_browser: Path) -> None:
    env = {**NO_SCREEN, "BROWSER": f"{fake_browser} %s"}
    printed = shell("dashboard", "--print", env=env)
    told = shell("dashboard", "--print", "--json", env=env).json
    opened = shell("dashboard", "--json", env=env).json

    assert "#code=mc_" in printed.out
    assert set(told) == {"url", "expires_at", "opened"}
    assert (told["opened"], opened["opened"]) == (False, True)
    assert sign_in(served, told["url"])[0] == 200


def test_over_ssh_it_says_how_to_reach_the_port(shell: Shell, served: Live) -> None:
    result = shell("dashboard", env={**NO_SCREEN, "SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22"})

    assert f"ssh -L {served.port}:localhost:{served.port}" in result.err


def test_the_browser_gets_the_scope_of_the_shell_s_token(shell: Shell, served: Live) -> None:
    secret = shell("tokens", "create", "looker", "--scope", "read").out.strip()
    result = shell("dashboard", "--print", env={**NO_SCREEN, "MOONGATE_TOKEN": secret})

    assert sign_in(served, result.out)[1] == {"status": "ok", "name": "looker", "scope": "read"}


def test_a_phone_cannot_reach_a_gateway_on_loopback(shell: Shell) -> None:
    result = shell("dashboard", "--qr")

    assert (result.code, result.out) == (1, "")
    assert "the gateway listens on 127.0.0.1, which no other machine can reach" in result.err
    assert "Set gateway.host to 0.0.0.0" in result.err


def test_an_address_behind_a_proxy_is_shown_if_the_gateway_answers_for_its_host(shell: Shell, served: Live) -> None:
    refused = shell("dashboard", "--qr", "--url", "https://gate.example")
    good = shell("dashboard", "--qr", "--url", "https://192.0.2.7/")
    *picture, address = good.out.splitlines()

    assert refused.code == 1
    assert "does not answer for the host" in refused.err
    assert "gateway.allowed_hosts" in refused.err
    assert re.fullmatch(r"https://192\.0\.2\.7/#code=mc_[\w-]{43}", address)
    assert len(picture) > 15
    assert "not encrypted" not in good.err
    assert sign_in(served, address)[0] == 200


def test_a_gateway_on_all_addresses_is_shown_by_one_of_them(live: Any, tmp_path: Path) -> None:
    gateway: Live = live(config={"gateway": {"host": "0.0.0.0"}})
    gateway.home.chmod(0o700)
    gateway.start()
    result = Shell(gateway.env, tmp_path)("dashboard", "--qr")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine is in no network")
        mine = probe.getsockname()[0]

    assert f"http://{mine}:{gateway.port}/#code=mc_" in result.out
    assert "not encrypted" in result.err


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "gate.example",
        "ftp://x",
        "https://",
        "https://x/path",
        "https://a@x",
        "https://x:y",
        "http://[",
        "http://x#y",
    ],
)
def test_what_is_no_address_is_wrong_usage(shell: Shell, wrong: str) -> None:
    assert shell("dashboard", "--url", wrong).code == 2


def test_a_gateway_that_does_not_run_is_named_with_how_to_start_it(alone: tuple[Live, Shell]) -> None:
    result = alone[1]("dashboard")

    assert (result.code, result.out) == (3, "")
    assert "Start it: gateway start" in result.err
