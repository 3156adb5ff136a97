"""What `start`, `status` and `doctor` say of how other machines reach the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.command_line import Shell
from harness.live_gateway import Live

WARNING = "Plain HTTP beyond this machine"


@pytest.fixture
def gateway_at(tmp_path: Path) -> Iterator[object]:
    """A function that returns a shell for a gateway that listens on an address, and is not started."""
    made: list[Live] = []

    def make(host: str, **settings: object) -> Shell:
        live = Live(tmp_path / "home", {"gateway": {"host": host, **settings}})
        live.home.chmod(0o700)
        made.append(live)
        return Shell(live.env, tmp_path)

    yield make
    for live in made:
        live.close()


def examine(shell: Shell, check: str) -> list[dict[str, str]]:
    return [one for one in shell("doctor", "--json").json["findings"] if one["check"] == check]


def test_a_gateway_for_this_machine_only_has_no_address_for_others(gateway_at) -> None:  # type: ignore[no-untyped-def]
    shell = gateway_at("127.0.0.1")

    started = shell("start", "--json").json

    assert started["external_url"] is None
    assert shell("status", "--json").json["external_url"] is None
    assert "For others" not in shell("status").out
    assert examine(shell, "encryption") == []


def test_plain_http_beyond_this_machine_is_warned_of(gateway_at) -> None:  # type: ignore[no-untyped-def]
    shell = gateway_at("0.0.0.0")

    assert WARNING in shell("start").out
    assert WARNING in shell("status").out
    [found] = examine(shell, "encryption")
    assert found["level"] == "warning"
    assert "gateway.tls.cert" in found["remedy"]


def test_behind_a_proxy_with_https_the_public_address_is_shown(gateway_at) -> None:  # type: ignore[no-untyped-def]
    shell = gateway_at("0.0.0.0", public_url="https://gate.example/")

    assert WARNING not in shell("start").out
    assert "   For others: https://gate.example\n" in shell("status").out
    assert shell("status", "--json").json["external_url"] == "https://gate.example"
    assert shell("dashboard", "--print").out.startswith("https://gate.example/#code=")
    assert examine(shell, "encryption") == []
