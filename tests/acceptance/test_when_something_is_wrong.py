"""The page "When something is wrong": each of its commands exists and can be used."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cli.command import Invocation
from cli.main import COMMAND, main
from harness.live_gateway import Live

PAGE = (Path(__file__).parents[2] / "docs" / "operations" / "when-something-is-wrong.md").read_text()
#: the commands of its blocks, which change nothing
SHOWN = sorted(
    {
        line.partition("#")[0].strip()
        for block in re.findall(r"^```sh\n([\s\S]*?)^```$", PAGE, re.MULTILINE)
        for line in block.splitlines()
    }
)
#: the commands in its sentences, which may have placeholders
NAMED = sorted({*re.findall(r"`(gateway [^`]+)`", PAGE), *SHOWN})
#: exit codes of commands that report on something that need not be there
OTHER_CODES = {"gateway doctor": (0, 1), "gateway service-status": (0, 1, 3)}


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway with a task."""
    live = Live(tmp_path_factory.mktemp("troubled"))
    live.home.chmod(0o700)
    live.start()
    assert live.call("POST", "/api/agent", {"message": "Hello"}).status == 200
    yield live
    live.close()


@pytest.mark.parametrize("command", SHOWN)
def test_a_command_of_a_block_works(
    troubled: Live, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in troubled.env.items():
        monkeypatch.setenv(name, value)

    code = main(shlex.split(command)[1:])

    assert code in OTHER_CODES.get(command, (0,)), capsys.readouterr().err


@pytest.mark.parametrize("command", NAMED)
def test_a_command_in_a_sentence_has_a_name_and_options_that_exist(command: str) -> None:
    words = shlex.split(command.replace(" ID", " 73F9KQ"))[1:]
    found: click.Command = COMMAND
    context = click.Context(COMMAND, obj=Invocation())
    while isinstance(found, click.Group) and words and not words[0].startswith("-"):
        name = words.pop(0)
        inner = found.get_command(context, name)
        if name == "update" and inner is None:
            pytest.skip("this tree has no gateway update yet")
        assert inner is not None, f"there is no {name!r}"
        found, context = inner, click.Context(inner, parent=context, obj=context.obj)

    if words and not isinstance(found, click.Group):
        found.make_context(found.name or "", words, parent=context.parent)


def test_each_symptom_of_the_table_leads_to_a_part_and_each_part_has_a_command() -> None:
    parts = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")[1:]}
    rows = re.findall(r"\| \[([^]]+)\]\(#", PAGE)

    assert rows == list(parts)
    assert len(SHOWN) > 20
    assert [title for title, part in parts.items() if "gateway " not in part] == []
