"""What all commands share: the commands that they print reach the same gateway."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from cli.command import complete_commands
from cli.main import COMMAND
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
        ("More: gateway tasks list --help", None),
        ("the gateway status is known; gateways run; ~/gateway logs", None),
    ],
)
def test_commands_in_a_text_name_the_config(text: str, completed: str | None) -> None:
    assert complete_commands(text, WORK) == (completed or text)
    home = {**WORK, "MOONGATE_HOME": "/srv/a", "MOONGATE_CONFIG": "/srv/a/config.json"}
    once = complete_commands(text, home)
    assert complete_commands(once, home) == once, "what is complete stays"
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


def list_commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from list_commands(found, (*path, name))


@pytest.mark.parametrize("path", [*list_commands(COMMAND)], ids=" ".join)
def test_no_help_ends_in_the_middle_of_a_sentence(path: tuple[str, ...]) -> None:
    command: click.Command = COMMAND
    context = click.Context(command, info_name="gateway", max_content_width=100)
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(context, name)
        assert found is not None
        command, context = found, click.Context(found, parent=context, info_name=name)

    text = command.get_help(context)

    assert not [line for line in text.splitlines() if line.rstrip().endswith("...") and not line.startswith("Usage:")]
    helps = [option.help for option in command.params if isinstance(option, click.Option) and not option.hidden]
    assert [said for said in helps if not said or not re.search(r"[.\]}]$", said.strip())] == []
