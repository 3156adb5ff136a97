"""`.env` in the state directory: what cannot be understood is an error that names file and line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.config_files import env_file
from gateway.errors import ConfigError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def test_variables_are_read_as_they_stand(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf# comment\nA=1\nexport B='two words'\n\nC=${A}\nD=\nNOTHING\n")

    assert env_file.read_env_file(file) == {"A": "1", "B": "two words", "C": "${A}", "D": ""}


def test_no_file_sets_nothing(file: Path) -> None:
    assert env_file.read_env_file(file) == {}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"A=1\n# caf\xe9\nB=2\n", r"\.env: line 2: not valid UTF-8 \(byte 0xe9\)"),
        (b"\xff\xfeA\x00=\x001\x00", r"\.env: line 1: not valid UTF-8"),
        (b"A=1\n\n\n=value\n", r"\.env: line 4: not NAME=VALUE"),
        (b"A=1\nB='no end\n", r"\.env: line 2: not NAME=VALUE"),
        (b"A=1\0\n", r"\.env: line 1: a variable cannot contain the character NUL"),
    ],
)
def test_a_line_that_cannot_be_understood_is_an_error_that_names_it(file: Path, content: bytes, said: str) -> None:
    file.write_bytes(content)

    with pytest.raises(ConfigError, match=said) as caught:
        env_file.read_env_file(file)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["directory", "pipe", "dangling link", "writable by everyone"])
def test_what_is_no_file_of_its_owner_is_refused_at_once(file: Path, kind: str) -> None:
    match kind:
        case "directory":
            file.mkdir()
        case "pipe":
            os.mkfifo(file)
        case "dangling link":
            file.symlink_to("nowhere")
        case "writable by everyone":
            file.write_text("A=1\n")
            file.chmod(0o666)

    with pytest.raises(ConfigError, match=r"cannot read .*\.env: "):
        env_file.read_env_file(file)


def test_a_link_to_a_file_is_followed(file: Path) -> None:
    (file.parent / "target").write_text("A=1\n")
    file.symlink_to("target")

    assert env_file.read_env_file(file) == {"A": "1"}
