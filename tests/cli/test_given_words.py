"""Words of a command line that are mistakes of a script: a value that is missing or empty."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.main import main


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state directory in which no gateway runs."""
    monkeypatch.setenv("MOONGATE_HOME", str(tmp_path))


EMPTY = [
    ["agents", "show", "*"],
    ["agents", "edit", "*", "--model", "m"],
    ["agents", "remove", "*"],
    ["agents", "add", "*"],
    ["sessions", "show", "*"],
    ["sessions", "delete", "*", "--force"],
    ["sessions", "search", "*"],
    ["tokens", "create", "*"],
    ["tokens", "revoke", "*"],
    ["tasks", "show", "*"],
    ["tasks", "answer", "*", "p1", "allow"],
    ["tasks", "answer", "73F9KQ", "*", "allow"],
    ["tasks", "list", "--agent", "*"],
    ["tasks", "list", "--session", "*"],
    ["tasks", "list", "--label", "*"],
    ["tasks", "add", "--parent=*", "hi"],
    ["deliveries", "show", "*"],
    ["cron", "remove", "*"],
    ["cron", "edit", "*", "--name", "x"],
    ["cron", "add", "*", "hi"],
    ["logs", "--task", "*"],
    ["message", "*", "1", "hi"],
    ["message", "telegram", "*", "hi"],
    ["export", "*"],
    ["agents", "show", "--", "*"],
    ["stop", "--config", "*"],
    ["--config", "*", "stop"],
]


@pytest.mark.parametrize("blank", ["", "  "])
@pytest.mark.parametrize("words", EMPTY, ids=" ".join)
def test_an_empty_name_is_wrong_usage(capsys: pytest.CaptureFixture[str], words: list[str], blank: str) -> None:
    code = main([word.replace("*", blank) for word in words])

    assert code == 2
    assert "is empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["logs", "--task", "--last"],
        ["logs", "--task", "--"],
        ["tasks", "add", "--agent", "--watch", "hi"],
        ["tasks", "list", "--session", "--json"],
        ["cron", "edit", "inbox", "--name", "--disabled"],
        ["start", "--host", "--force"],
        ["run", "--token", "--force"],
        ["restart", "--reason", "--hard"],
        ["stop", "--config", "--force"],
    ],
    ids=" ".join,
)
def test_an_option_in_the_place_of_a_value_is_wrong_usage(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    code = main(words)

    assert code == 2
    assert "looks like an option. If it is the value: --" in capsys.readouterr().err


def test_a_value_that_begins_with_dashes_can_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    for words in (["logs", "--task=--last"], ["tasks", "add", "--model", "---", "x"], ["tasks", "add", "--", "--x"]):
        main(words)
        told.append("looks like an option" in capsys.readouterr().err)

    assert told == [False] * 3
