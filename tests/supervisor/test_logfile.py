"""The log file: bounded, private, and never another file."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from gateway.supervisor import logfile
from gateway.supervisor.logfile import LogFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "gateway.log"


def test_lines_are_appended_to_the_present_file(path: Path) -> None:
    for line in (b"one", b"two"):
        file = LogFile(path)
        file.write_line(line)
        file.close()

    assert path.read_bytes() == b"one\ntwo\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_keeps_a_number_of_files_of_a_size(path: Path) -> None:
    file = LogFile(path, size=100, count=3)
    for number in range(100):
        file.write_line(b"%030d" % number)
    file.close()

    kept = sorted(path.parent.iterdir())
    assert [one.name for one in kept] == ["gateway.log", "gateway.log.1", "gateway.log.2", "gateway.log.3"]
    assert max(one.stat().st_size for one in kept) <= 100
    lines = [int(line) for one in reversed(kept[1:]) for line in one.read_bytes().split()]
    assert [*lines, *map(int, path.read_bytes().split())] == list(range(100 - len(lines) - 1, 100))


def test_a_line_that_is_longer_than_a_file_is_written_completely(path: Path) -> None:
    file = LogFile(path, size=10)
    file.write_line(b"x" * 100)
    file.close()

    assert path.read_bytes() == b"x" * 100 + b"\n"


def test_a_failed_rotation_never_writes_into_another_file(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = LogFile(path, size=20)
    file.write_line(b"x" * 15)
    with monkeypatch.context() as patch:
        patch.setattr(LogFile, "_open_file", lambda _: (_ for _ in ()).throw(OSError("no space")))
        with pytest.raises(OSError, match="no space"):
            file.write_line(b"y" * 15)
        other = os.open(tmp_path / "database", os.O_RDWR | os.O_CREAT)  # gets the descriptor that is free now
        with pytest.raises(OSError, match="no space"):
            file.write_line(b"z" * 15)
    file.write_line(b"again")
    file.close()

    assert os.read(other, 100) == b""
    os.close(other)
    assert path.read_bytes() == b"again\n"


def test_a_link_in_its_place_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(OSError, match="symbolic"):
        LogFile(path)


@pytest.mark.parametrize(
    ("event", "about", "level"),
    [
        ("generation.failed", {"error": "x"}, "error"),
        ("generation.crashed", {"error": "x"}, "error"),
        ("generation.hangs", {}, "error"),
        ("generation.killed", {}, "warning"),
        ("generation.ended", {"code": -9}, "warning"),
        ("generation.ended", {"code": 0}, "info"),
        ("generation.leads", {}, "info"),
        ("restart.failed", {"error": "x"}, "error"),
        ("restart.ignored", {"reason": "x"}, "warning"),
        ("restart.begun", {}, "info"),
        ("supervisor.ended", {"code": 78}, "warning"),
        ("supervisor.ended", {"code": 0}, "info"),
    ],
)
def test_an_event_has_the_level_of_what_it_means(event: str, about: dict[str, Any], level: str) -> None:
    line = json.loads(logfile.encode_event(event, about))

    assert (line["event"], line["level"]) == (event, level)


@pytest.mark.parametrize(
    ("line", "level"),
    [
        (b'{"time": "1", "level": "error", "event": "x"}', "error"),
        (b'{"time":"1","level":"warning","event":"x"}', "warning"),
        (b"Traceback", "info"),
    ],
)
def test_the_count_of_a_repeated_line_has_the_level_of_the_line(line: bytes, level: str) -> None:
    lines: list[bytes] = []
    repeats = logfile.RepeatFilter(lines.append)
    for _ in range(3):
        repeats.write_line(line)
    repeats.flush_repeats()

    assert [json.loads(last)["level"] for last in lines[1:]] == [level]
