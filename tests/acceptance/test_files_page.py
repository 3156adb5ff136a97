"""The examples of docs/files.md work as they stand there, with an agent that reads files and makes one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.live_gateway import Live
from harness.waiting import PATIENCE

PAGE = (Path(__file__).parents[2] / "docs" / "files.md").read_text()
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
#: names the files that it got, and makes one
AGENT = """
import os, pathlib
names = [pathlib.Path(path).name for path in os.environ.get("MOONGATE_ATTACHMENTS", "").splitlines()]
(pathlib.Path(os.environ["MOONGATE_OUTBOX"]) / "chart.txt").write_text("a chart")
print("I see", *names)
"""


@pytest.fixture
def desk(live: Callable[..., Live], tmp_path: Path) -> tuple[Live, Path]:
    """A gateway with that agent, and a directory with the files that the page names."""
    command = [sys.executable, "-I", "-S", "-c", AGENT]
    own = live(config={"agents": {"list": [{"id": "main", "backend": "command", "command": command}]}}).start()
    directory = tmp_path / "desk"
    directory.mkdir()
    for name in set(re.findall(r"[\w-]+\.(?:png|pdf|csv)\b", "".join(text for _, text in BLOCKS))) - {"chart.png"}:
        (directory / name).write_text(f"the content of {name}")
    return own, directory


def run_example(desk: tuple[Live, Path], command: list[str], text: str) -> str:
    live, directory = desk
    text = text.replace("http://127.0.0.1:18790", live.url)
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
    done = subprocess.run(
        [*command, text],
        env={**live.env, "PATH": path, "PYTHONWARNINGS": ""},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def find_example(language: str, word: str) -> str:
    [found] = [text for kind, text in BLOCKS if kind == language and word in text]
    return found


def test_the_command_line_sends_files(desk: tuple[Live, Path]) -> None:
    example = find_example("sh", "--file -").replace("dmesg", "echo a line")

    said = run_example(desk, ["bash", "-ec"], example).splitlines()

    assert said[:2] == ["I see error.png", "I see stdin.txt"]
    tasks = desk[0].call("GET", "/api/tasks").body["tasks"]
    assert [file["name"] for file in tasks[0]["attachments"]] == ["spring.pdf", "summer.pdf"]


def test_curl_stores_a_file_and_refers_to_it(desk: tuple[Live, Path]) -> None:
    assert run_example(desk, ["bash", "-ec"], find_example("sh", "curl")) == "I see error.png\n"


def test_python_sends_a_file_and_saves_what_the_agent_made(desk: tuple[Live, Path]) -> None:
    said = run_example(desk, [sys.executable, "-I", "-c"], find_example("python", "import requests"))

    assert said == "I see report.pdf\n"
    assert (desk[1] / "chart.txt").read_text() == "a chart"


def test_openais_client_sends_a_picture(desk: tuple[Live, Path]) -> None:
    (desk[1] / "error.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(25))

    said = run_example(desk, [sys.executable, "-I", "-c"], find_example("python", "import OpenAI"))

    [task] = desk[0].call("GET", "/api/tasks").body["tasks"]
    [file] = task["attachments"]
    assert said.startswith(f"I see {file['name']}")
    assert (file["media_type"], file["size"]) == ("image/png", 33)


def test_what_an_agent_made_is_saved_shown_and_fetched(desk: tuple[Live, Path]) -> None:
    example = find_example("sh", "--save")
    ask, rest = example.split("\n", 1)

    run_example(desk, ["bash", "-ec"], ask)
    made = desk[0].call("GET", "/api/files?limit=1").body["files"][0]["id"]
    shown = run_example(desk, ["bash", "-ec"], rest.replace("73F9KQ", made[-8:]))

    assert (desk[1] / "charts" / "chart.txt").read_text() == (desk[1] / "chart.png").read_text() == "a chart"
    assert shown.count(f"gateway files get {made}") == 1
    assert "sales.csv" in shown
