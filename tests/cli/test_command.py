"""What all commands share: the commands that they print reach the same gateway."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cli.command import complete_commands
from harness.command_line import Shell
from harness.live_gateway import Live

WORK = {"HOME": "/home/ann", "MOONGATE_CONFIG": "/w.json"}


@pytest.mark.parametrize(
    ("text", "completed"),
    [
        ("Start it: gateway start", "Start it: gateway --config /w.json start"),
        ("gateway stop, gateway start", "gateway --config /w.json stop, gateway --config /w.json start"),
        ("First: sudo gateway install --system", "First: sudo gateway --config /w.json install --system"),
        ("Or end it: gateway stop --config /other.json", "Or end it: gateway stop --config /other.json"),
        ("the gateway status is known; gateways run; ~/gateway logs", None),
    ],
)
def test_commands_in_a_text_name_the_config(text: str, completed: str | None) -> None:
    assert complete_commands(text, WORK) == (completed or text)
    assert complete_commands(text, {"HOME": "/home/ann"}) == text


@pytest.mark.parametrize(
    "words", [["status"], ["agents", "list"], ["stop"], ["restart"], ["doctor"], ["doctor", "--json"]]
)
def test_every_command_that_is_printed_reaches_the_gateway_that_was_named(
    words: list[str], tmp_path: Path, live: Callable[..., Live]
) -> None:
    shell = Shell(live().env, tmp_path)
    other = tmp_path / "other.json"
    other.write_text('{"gateway": {"port": 0}, "agents": {"list": [{"id": "main", "backend": "echo"}]}}')

    result = shell(*words, "--config", str(other))

    printed = result.out + result.err
    assert f"gateway --config {other} start" in printed
    assert "gateway start" not in printed
