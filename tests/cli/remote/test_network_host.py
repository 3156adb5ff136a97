"""The address that other machines can reach."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.instance import Instance
from cli.remote import network_host
from gateway.errors import Conflict
from gateway.supervisor.record import Record


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


@pytest.mark.parametrize(
    ("host", "is_secure", "public", "external", "is_exposed"),
    [
        ("127.0.0.1", False, None, None, False),
        ("127.0.0.1", False, "https://gate.example", "https://gate.example", False),
        ("0.0.0.0", False, None, "http://192.168.1.20:1", True),
        ("0.0.0.0", True, None, "https://192.168.1.20:1", False),
        ("0.0.0.0", False, "http://gate.example", "http://gate.example", True),
        ("0.0.0.0", False, "https://gate.example", "https://gate.example", False),
        ("fd00::1", False, None, "http://[fd00::1]:1", True),
    ],
)
def test_others_have_an_address_and_perhaps_a_warning(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    is_secure: bool,
    public: str | None,
    external: str | None,
    is_exposed: bool,
) -> None:
    monkeypatch.setattr(network_host, "_find_own_address", {"192.0.2.1": "192.168.1.20"}.get)
    config = tmp_path / "config.json"
    instance = Instance(tmp_path, config, {} if public is None else {"MOONGATE_PUBLIC_URL": public})
    found = Record(1, 0, str(config), "", "", "", host, 1, "")
    if is_secure:
        instance.served_certificates.parent.mkdir()
        instance.served_certificates.touch()

    assert network_host.find_external_url(instance, found) == external
    assert network_host.is_exposed_without_tls(instance, found) == is_exposed
