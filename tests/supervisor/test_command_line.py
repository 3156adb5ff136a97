"""Commands that are printed for a shell."""

from __future__ import annotations

import sys

import pytest

from gateway.supervisor.command_line import spell_program

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there, only the config file is named")


@pytest.mark.parametrize(
    ("env", "spelled"),
    [
        ({}, "gateway"),
        ({"MOONGATE_HOME": "/home/ann/.moongate"}, "gateway"),
        ({"MOONGATE_CONFIG": "/home/ann/.moongate/config.json"}, "gateway"),
        ({"MOONGATE_HOME": "/srv/a"}, "MOONGATE_HOME=/srv/a gateway"),
        ({"MOONGATE_CONFIG": "/srv/my work.json"}, "gateway --config '/srv/my work.json'"),
        (
            {"MOONGATE_HOME": "/srv/a", "MOONGATE_CONFIG": "/srv/b.json"},
            "MOONGATE_HOME=/srv/a gateway --config /srv/b.json",
        ),
    ],
)
def test_a_command_names_what_differs_from_the_usual_gateway(env: dict[str, str], spelled: str) -> None:
    assert spell_program({"HOME": "/home/ann", **env}) == spelled


def test_the_account_of_the_debian_package_calls_its_command_with_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"HOME": "/var/lib/moongate", "MOONGATE_HOME": "/var/lib/moongate"}
    service = own | {"MOONGATE_CONFIG": "/etc/moongate/config.json"}
    monkeypatch.setattr("sys.prefix", "/opt/moongate")

    assert spell_program(service) == "sudo -u moongate gateway"
    assert spell_program(own | {"MOONGATE_CONFIG": "/etc/other.json"}).endswith("gateway --config /etc/other.json")

    monkeypatch.setattr("sys.prefix", "/usr/local")
    assert spell_program(service).endswith("gateway --config /etc/moongate/config.json")
