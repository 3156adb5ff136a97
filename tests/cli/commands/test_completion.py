"""`gateway completion`."""

from __future__ import annotations

import pytest

from harness.command_line import Shell


@pytest.mark.parametrize("shell_name", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(shell_name: str, alone: tuple[object, Shell]) -> None:
    result = alone[1]("completion", shell_name)

    assert result.code == 0
    assert f"_GATEWAY_COMPLETE={shell_name}_complete" in result.out


@pytest.mark.parametrize(
    ("typed", "at", "offered"),
    [
        ("gateway ", 1, "plain,tasks"),
        ("gateway sta", 1, "plain,status"),
        ("gateway tasks wa", 2, "plain,watch"),
        ("gateway tasks list --sta", 3, "plain,--status"),
        ("gateway tasks list --status fa", 4, "plain,failed"),
        ("gateway agent --file er", 3, "file,er"),
        ("gateway files add er", 3, "file,er"),
    ],
)
def test_commands_options_and_choices_are_completed(
    typed: str, at: int, offered: str, alone: tuple[object, Shell]
) -> None:
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(at), "_GATEWAY_COMPLETE": "bash_complete"}

    result = alone[1](env=words)

    assert offered in result.out.splitlines()


def test_an_unknown_shell_is_wrong_usage(alone: tuple[object, Shell]) -> None:
    assert alone[1]("completion", "cmd").code == 2
