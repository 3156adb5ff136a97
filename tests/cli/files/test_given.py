"""The files that a user gives to a command."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from pathlib import Path

import pytest

from cli.files.given import _name_stream
from harness.command_line import Shell
from harness.live_gateway import Live
from harness.waiting import PATIENCE

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    ("name", "beginning", "named"),
    [
        ("stdin", b"a log\n", "stdin.txt"),
        ("stdin", "ä".encode()[:1], "stdin.txt"),
        ("stdin", b"", "stdin.txt"),
        ("stdin", PNG, "stdin.png"),
        ("stdin", b"%PDF-1.7\n", "stdin.pdf"),
        ("stdin", b"\x00\x01", "stdin.bin"),
        ("63", b"a log\n", "63.txt"),
        ("my.log", PNG, "my.log"),
    ],
)
def test_a_stream_has_the_ending_of_what_it_says(name: str, beginning: bytes, named: str) -> None:
    assert _name_stream(name, beginning) == named


def test_a_pipe_is_sent_as_a_file(shell: Shell, tmp_path: Path) -> None:
    pipe = tmp_path / "log"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("from a pipe",), daemon=True)
    writer.start()

    answer = shell("agent", "@@ read", "--session", "pipe", "--file", str(pipe))

    writer.join(PATIENCE)
    assert answer.out == hashlib.sha256(b"from a pipe").hexdigest() + "\n\n"


def test_a_file_without_a_size_is_read_to_its_end(shell: Shell) -> None:
    answer = shell("agent", "@@ read", "--session", "proc", "--file", "/proc/version")

    assert answer.out.strip() == hashlib.sha256(Path("/proc/version").read_bytes()).hexdigest()


def test_an_empty_file_is_sent_as_it_is(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")

    added = shell("files", "add", str(tmp_path / "empty"), "--json").json

    assert [file["size"] for file in added["files"]] == [0]
    assert shell("files", "get", added["files"][0]["id"], "--output", "-") == (0, "", "")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--file", "none.png"], "'none.png' does not exist"),
        (["--file", "."], "'.' is a directory"),
        (["--file", ""], "--file: the value is empty"),
        (["--file", "-"], "the file - is standard input"),
        (["--file", "-", "--file", "-", "text"], "can be only one of the files"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_anything_is(shell: Shell, given: list[str], said: str) -> None:
    result = shell("agent", *given, "--session", "not-sent")

    assert (result.code, result.out) == (2, "")
    assert said in result.err


def test_what_is_too_large_or_too_many_is_refused_before_anything_is_sent(alone: tuple[Live, Shell]) -> None:
    live, shell = alone
    live.config.write_text(
        '{"gateway": {"port": 0}, "agents": {"list": [{"id": "main", "backend": "echo", "script": true}]},'
        ' "files": {"size": 2000, "per_message": 2, "message_size": 3000}}'
    )
    live.start()
    for name in "abc":
        (shell.cwd / name).write_bytes(bytes(1600))
    (shell.cwd / "large").write_bytes(bytes(2001))
    first = ("agent", "hi", "--file", "a")

    too_large = shell(*first, "--file", "large")
    endless = shell(*first, "--file", "/dev/zero")
    too_many = shell(*first, "--file", "b", "--file", "c")
    together = shell(*first, "--file", "b")

    assert [one.code for one in (too_large, endless, too_many, together)] == [2, 2, 2, 2]
    assert "large has 2.0 kB; a file may have 2.0 kB. The setting files.size allows more." in too_large.err
    assert "zero has more than 2.0 kB" in endless.err
    assert "a message may have 2 files, and you give 3." in too_many.err
    assert "the files have 3.2 kB together; those of a message may have 3.0 kB." in together.err
    assert live.call("GET", "/api/files").body["files"] == []
    assert live.call("GET", "/api/tasks").body["tasks"] == []


def test_ctrl_c_while_a_file_is_read_sends_nothing(shell: Shell, served: Live) -> None:
    reading, writing = os.pipe()
    process = shell.start("agent", "hi", "--session", "stopped", "--file", "-", stdin=reading)
    os.close(reading)
    os.write(writing, bytes(1 << 16))
    os.write(writing, bytes(1 << 16))  # the pipe has room again: the command is reading
    process.send_signal(signal.SIGINT)
    out, told = process.communicate(timeout=PATIENCE)
    os.close(writing)

    assert (process.returncode, out) == (130, "")
    assert "Stopped while files were sent" in told
    assert served.call("GET", "/api/tasks?session=main:api:stopped").body["tasks"] == []
