"""The address that other machines can reach."""

from __future__ import annotations

import pytest

from cli.remote import network_host
from gateway.errors import Conflict


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "[::1]", "localhost", "127.8.8.8"])
def test_what_only_this_machine_can_reach_is_refused_with_what_to_change(host: str) -> None:
    with pytest.raises(Conflict) as refused:
        network_host.find_network_host(host)

    assert host.strip("[]") in refused.value.message
    assert "gateway.host" in (refused.value.remedy or "")
    assert "--url" in (refused.value.remedy or "")


@pytest.mark.parametrize("host", ["192.168.1.20", "gate.example", "fd00::1"])
def test_what_the_gateway_listens_on_is_the_address(host: str) -> None:
    assert network_host.find_network_host(host) == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_of_all_addresses_one_in_the_network_is_chosen(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_host, "_find_own_address", {"192.0.2.1": "192.168.1.20"}.get)

    assert network_host.find_network_host(host) == "192.168.1.20"


def test_without_a_network_there_is_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_host, "_find_own_address", lambda _: None)

    with pytest.raises(Conflict, match="in no network"):
        network_host.find_network_host("0.0.0.0")
