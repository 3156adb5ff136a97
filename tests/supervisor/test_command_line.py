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
