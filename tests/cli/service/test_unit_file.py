"""The unit's file is replaced whole or not at all, and what a service printed is read."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from cli.service.unit_file import read_last_line, replace_content


def test_the_last_line_of_what_was_printed_is_told_unless_it_is_older(tmp_path: Path) -> None:
    file = tmp_path / "service.log"
    assert read_last_line(file, 0.0) == ""
    file.write_text("x" * 10_000 + "\nthe first\nthe last \n\n")
    os.utime(file, (100.0, 100.0))

    assert (read_last_line(file, 99.0), read_last_line(file, 101.0)) == ("the last", "")


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_unit_that_the_disk_has_no_room_for_leaves_no_draft(tmp_path: Path) -> None:
    import resource

    file = tmp_path / "moongate.service"
    file.write_text("the one of before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            replace_content(file, b"another one")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {file.name: "the one of before"}
