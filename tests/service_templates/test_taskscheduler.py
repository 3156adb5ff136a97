"""The task has the right content within the limits, and Windows splits its command line into the same words."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service_templates import ServiceSpec, taskscheduler
from tests.service_templates import validating
from tests.support.windows import windows_words

GOLDEN = Path(__file__).parent / "golden" / "Moongate.xml"
SCHEMA = str(validating.DATA / "task.xsd")
NAMES = ["plain", "with space", "a & b", "it's", "żółć 日本", "😀", "100%", "$HOME", "trailing\\", "a;b=c,d", "^caret"]
SPACE = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"


def spec(**other: Any) -> ServiceSpec:
    usual = {
        "program": "C:\\Users\\anna\\moongate\\Scripts\\python.exe",
        "arguments": ("-m", "gateway"),
        "directory": "C:\\Users\\anna\\.moongate",
        "path": "C:\\Windows;C:\\Windows\\System32",
        "environment": (("PYTHONSAFEPATH", "1"),),
        "output": "C:\\Users\\anna\\.moongate\\logs\\service.log",
        "stop_seconds": 20,
        "user": "DESK\\anna",
        "version": "1.2.3",
    }
    return ServiceSpec(**{**usual, **other})


def variants(name: str) -> list[ServiceSpec]:
    """Return specs with a name in every field that can contain one."""
    plain = spec(directory=f"C:\\Users\\{name}\\.moongate", arguments=("-m", "gateway", name), output=f"D:\\{name}")
    return [
        plain,
        dataclasses.replace(
            plain,
            program=f"C:\\{name}\\python.exe",
            environment=(("MOONGATE_CONFIG", f"C:\\{name}.json"), ("PYTHONSAFEPATH", "1")),
        ),
        dataclasses.replace(plain, program=f"C:\\{name}\\gateway.exe", arguments=("run",), suffix="0a1b2c3d"),
    ]


def text_of(task: bytes, element: str) -> str:
    found = ElementTree.fromstring(task).find(f".//{SPACE}{element}")
    assert found is not None
    return found.text or ""


@pytest.mark.parametrize(
    ("line", "words"),
    [
        # the examples in Microsoft's documentation
        (r'"abc" d e', ["abc", "d", "e"]),
        (r'a\\b d"e f"g h', ["a\\\\b", "de fg", "h"]),
        (r"a\\\"b c d", ['a\\"b', "c", "d"]),
        (r'a\\\\"b c" d e', ["a\\\\b c", "d", "e"]),
    ],
)
def test_the_rules_of_windows_are_understood(line: str, words: list[str]) -> None:
    assert windows_words(line) == words


_WORDS = st.text(st.sampled_from("ab\"\\ \t'&%é") | st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)


@settings(max_examples=200, deadline=None)
@example(words=["", "a\\", 'a\\"', "a b\\\\", '"', '\\\\"\\'])
@given(words=st.lists(_WORDS, max_size=6))
def test_windows_takes_a_command_line_apart_as_it_was_meant(words: list[str]) -> None:
    line = taskscheduler.join_command_line(words)

    assert windows_words(line) == words
    assert taskscheduler.split_command_line(line) == words


def test_the_task_is_as_it_was_agreed_on() -> None:
    assert taskscheduler.render(spec(arguments=("-m", "gateway", "--port", "8080"))) == GOLDEN.read_bytes()


def test_it_is_utf_16_with_its_mark() -> None:
    task = taskscheduler.render(spec(directory="C:\\żółć"))
    assert task.startswith(b"\xff\xfe<\x00?\x00")
    assert "żółć" in task.decode("utf-16")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_rendered_is_read_back_equal(name: str) -> None:
    for written in variants(name):
        task = taskscheduler.render(written)
        assert taskscheduler.parse(task, path=written.path, stop_seconds=written.stop_seconds) == written


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_task_by_its_schema(name: str) -> None:
    for written in variants(name):
        assert validating.lint("--schema", SCHEMA, document=taskscheduler.render(written)) == ""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("<Count>255</Count>", "<Count>256</Count>"),
        ("<Interval>PT1M</Interval>", "<Interval>PT59S</Interval>"),
        ("<Interval>PT1M</Interval>", "<Interval>1 minute</Interval>"),
        ("<ExecutionTimeLimit>PT0S</ExecutionTimeLimit>", "<ExecutionTimeLimit>P1M</ExecutionTimeLimit>"),
        ("<Delay>PT5S</Delay>", "<Delay>PT5S</Delay><Other/>"),
        ("<Settings>", "<Settings><Enabled>true</Enabled>"),
        ('version="1.2"', 'version="1.5"'),
    ],
)
def test_the_schema_finds_what_windows_would_refuse(right: str, wrong: str) -> None:
    text = taskscheduler.render(spec()).decode("utf-16")
    assert right in text
    spoiled = text.replace(right, wrong).encode("utf-16")
    assert "Schemas validity error" in validating.lint("--schema", SCHEMA, document=spoiled)


def test_the_schema_finds_elements_in_another_order() -> None:
    text = taskscheduler.render(spec()).decode("utf-16")
    delay = "      <Delay>PT5S</Delay>\n"
    enabled = "      <Enabled>true</Enabled>\n"
    spoiled = text.replace(delay, "").replace(enabled, delay + enabled, 1).encode("utf-16")
    assert "Delay" in validating.lint("--schema", SCHEMA, document=spoiled)


def test_python_runs_without_a_console_window_and_without_code_of_the_state_directory() -> None:
    task = taskscheduler.render(spec())
    assert text_of(task, "Command") == "C:\\Users\\anna\\moongate\\Scripts\\pythonw.exe"
    assert text_of(task, "Arguments").startswith("-P -m gateway ")


def test_what_a_task_cannot_set_is_told_to_the_gateway() -> None:
    words = windows_words(text_of(taskscheduler.render(spec()), "Arguments"))
    assert words[3:] == [
        *("--environment", "MOONGATE_SERVICE_MARKER=taskscheduler"),
        *("--environment", "MOONGATE_DETACHED=1"),
        *("--environment", "PYTHONSAFEPATH=1"),
        *("--output", "C:\\Users\\anna\\.moongate\\logs\\service.log"),
    ]


@pytest.mark.parametrize("field", ["program", "directory"])
def test_a_path_that_is_too_long_is_refused(field: str) -> None:
    taskscheduler.render(spec(**{field: "C:\\" + "a" * 257}))
    with pytest.raises(ValueError, match="at most 260 characters"):
        taskscheduler.render(spec(**{field: "C:\\" + "a" * 258}))
    with pytest.raises(ValueError, match="at most 260 characters"):
        taskscheduler.render(spec(**{field: "C:\\" + "😀" * 129}))


def test_a_command_line_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="fewer than 32767 characters"):
        taskscheduler.render(spec(arguments=("-m", "gateway", "a" * 32_700)))


@pytest.mark.parametrize("value", ["%PATH%", "a%ProgramFiles(x86)%b", "$(Arg0)"])
def test_what_task_scheduler_would_replace_is_refused(value: str) -> None:
    for field in ("program", "directory", "output"):
        with pytest.raises(ValueError, match="would replace"):
            taskscheduler.render(spec(**{field: f"C:\\{value}"}))


def test_a_task_of_the_whole_system_is_refused() -> None:
    with pytest.raises(ValueError, match="not with the system"):
        taskscheduler.render(spec(system=True))


@pytest.mark.parametrize("value", ["\x01", "\ud800", "\uffff"])
def test_what_xml_cannot_carry_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="XML cannot contain"):
        taskscheduler.render(spec(user=f"anna{value}"))


def test_the_script_of_the_startup_folder_says_the_same() -> None:
    text = taskscheduler.render_script(spec(directory="C:\\50% & more\\", arguments=("-m", "gateway", "100%"))).decode()

    assert text.splitlines()[0] == "@chcp 65001 >nul", "or it could not hold other letters"
    assert "1.2.3" in text
    start = text.splitlines()[2]
    assert start.startswith(
        '@start "Moongate" /d "C:\\50%% & more\\" "C:\\Users\\anna\\moongate\\Scripts\\pythonw.exe" '
    )
    as_run = start.replace("%%", "%").partition('pythonw.exe" ')[2]
    assert windows_words(as_run) == taskscheduler.build_command(spec(arguments=("-m", "gateway", "100%")))[1:]


def test_a_script_that_would_end_a_quote_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot contain a quote"):
        taskscheduler.render_script(spec(arguments=("-m", "gateway", 'a" & del *')))


@pytest.mark.parametrize(
    "task",
    [
        b"",
        b"<Task/>",
        taskscheduler.render(spec()).decode("utf-16").replace("gateway install", "schtasks").encode("utf-16"),
        taskscheduler.render(spec()).decode("utf-16").replace("\\Moongate<", "\\Other<").encode("utf-16"),
        taskscheduler.render(spec()).decode("utf-16").replace("_MARKER", "_OTHER").encode("utf-16"),
        taskscheduler.render(spec()).decode("utf-16").replace("--output", "--puts").encode("utf-16"),
    ],
)
def test_a_task_of_somebody_else_is_not_taken_for_ours(task: bytes) -> None:
    with pytest.raises(ValueError, match="Moongate did not write it"):
        taskscheduler.parse(task, path="", stop_seconds=20)


def test_another_config_has_a_task_of_its_own() -> None:
    assert (taskscheduler.name(""), taskscheduler.name("0a1b")) == ("Moongate", "Moongate-0a1b")
