"""How the events of a run are shown."""

from __future__ import annotations

from typing import Any

import click
import pytest

from cli.follow.screen import EventScreen
from cli.remote.sse import Event

SAID = [
    {"kind": "status", "status": "queued"},
    {"kind": "status", "status": "running", "attempt": 1},
    {"kind": "thinking", "delta": "Let me "},
    {"kind": "thinking", "delta": "see."},
    {"kind": "tool", "id": "1", "name": "bash", "args": {"command": "ls\n-l"}},
    {"kind": "tool", "id": "2", "name": "Write", "title": "Write a.txt"},
    {"kind": "tool_end", "id": "1", "name": "bash", "output": "fi\nne", "seconds": 1.25},
    {"kind": "tool_end", "id": "1", "name": "bash", "is_error": True, "output": "no such file"},
    {"kind": "text", "delta": "Two "},
    {"kind": "text", "delta": ""},
    {"kind": "permission", "id": "2", "action": "write", "answer": "reject_once"},
    {"kind": "permission", "id": "p1", "action": "rm\n-rf", "choices": ["allow", "deny"]},
    {"kind": "permission", "id": "p1", "action": "rm\n-rf", "answer": "allow", "by": "anna"},
    {"kind": "permission", "id": "p2", "action": "cp", "answer": "deny", "reason": "deadline"},
    {"kind": "log", "level": "info", "message": "a remark"},
    {"kind": "usage", "input": 1},
    {"kind": "status", "status": "running", "attempt": 2, "reason": "rescued"},
    {"kind": "text", "delta": "files.\n"},
    {"kind": "end", "status": "succeeded", "outcome": "completed"},
]


def play(events: list[dict[str, Any]], *, text: bool = True, talk: bool = True) -> int:
    """Show events. Returns how often the screen announced that it prints something."""
    begun: list[None] = []
    screen = EventScreen(lambda: begun.append(None), text=text, talk=talk)
    for number, data in enumerate(events, 1):
        screen(Event(number, data["kind"], data))
    return len(begun)


def test_the_answer_is_the_result_and_the_rest_is_talk(capsys: pytest.CaptureFixture[str]) -> None:
    play(SAID)

    shown = capsys.readouterr()
    assert shown.out == "Two \nfiles.\n"
    assert shown.err.splitlines() == [
        "Let me see.",
        '· bash {"command": "ls\\n-l"}',
        "· Write Write a.txt",
        "· done after 1.2 s: fi ne",
        "· failed: no such file",
        "· asked to write: deny, by the agent's permissions",
        "· asked to rm -rf: allow, by anna",
        "· asked to cp: deny, nobody answered in time",
        "· a remark",
        "· running, attempt 2: rescued",
    ]


def test_a_question_and_its_answer_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    question = {"message": "Which?", "fields": [{"name": "a"}]}
    about = {"kind": "permission", "id": "p1", "action": "Which?"}
    other = about | {"id": "p2"}
    answered = about | {"answer": "answer", "by": "anna", "content": {"a": ["x", "y"], "b": 3}}
    asked = [about | {"question": question}, other | {"question": question}]
    play([*asked, answered, other | {"answer": "deny", "reason": "deadline"}])

    assert capsys.readouterr().err.splitlines() == [
        "· asked Which?: x, y; 3, by anna",
        "· asked Which?: deny, nobody answered in time",
    ]


@pytest.mark.parametrize(("result", "said"), [("", ["The agent has ended without an answer."]), ("x", [])])
def test_an_empty_answer_says_so(capsys: pytest.CaptureFixture[str], result: str, said: list[str]) -> None:
    play([{"kind": "end", "status": "succeeded", "outcome": "completed", "result": result}])

    assert capsys.readouterr().err.splitlines() == said


def test_without_talk_there_is_the_answer_only(capsys: pytest.CaptureFixture[str]) -> None:
    play(SAID, talk=False)

    assert capsys.readouterr() == ("Two files.\n", "")


def test_an_answer_without_a_line_end_gets_one_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    play([{"kind": "text", "delta": "a"}, {"kind": "end"}])

    assert capsys.readouterr().out == "a\n"


def test_nothing_begins_while_there_is_nothing_to_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert play(SAID[:2]) == 0
    assert play(SAID, text=False, talk=False) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("talk", [True, False])
def test_a_file_that_the_agent_made_is_always_told(talk: bool, capsys: pytest.CaptureFixture[str]) -> None:
    made = {"kind": "file", "id": "01F", "name": "a.png", "media_type": "image/png", "size": 1200}
    with click.Context(click.Command("watch")):
        play([{"kind": "text", "delta": "Done"}, made, {"kind": "end", "result": ""}], talk=talk)

    shown = capsys.readouterr()
    assert shown.out == "Done\n"
    assert "· made a.png (image/png, 1.2 kB): " in shown.err
    assert shown.err.endswith("gateway files get 01F\n")
