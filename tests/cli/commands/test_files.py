"""`gateway files`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.command_line import Shell
from harness.live_gateway import Live
from harness.waiting import PATIENCE

FILE = {"id", "name", "media_type", "size", "sha256"}


@pytest.fixture
def desk(served: Live, tmp_path: Path) -> Shell:
    """A shell in a directory of its own."""
    return Shell(served.env, tmp_path)


def add(shell: Shell, name: str, content: bytes) -> str:
    """Send a file, and return its id."""
    source = shell.cwd / "source"
    source.mkdir(exist_ok=True)
    (source / name).write_bytes(content)
    result = shell("files", "add", str(source / name))
    assert result.code == 0
    return result.out.strip()


def test_the_newest_file_is_listed_first_with_its_size_and_uses(desk: Shell) -> None:
    unused = add(desk, "report.pdf", b"%PDF-1.7\n" + bytes(4991))
    (desk.cwd / "log.txt").write_text("a log")
    desk("agent", "--session", "listed-files", "hi", "--file", "log.txt")

    listed = desk("files", "list", "--limit", "2")
    told = desk("files", "list", "--limit", "2", "--json").json

    header, first, second = listed.out.splitlines()
    assert header.split() == ["FILE", "NAME", "TYPE", "SIZE", "USES", "CREATED"]
    assert first.split()[1:6] == ["log.txt", "text/plain", "5", "bytes", "2"]
    assert second.split()[:6] == [unused, "report.pdf", "application/pdf", "5.0", "kB", "0"]
    assert "of 10.0 GB." in listed.err
    assert set(told) == {"files", "next_cursor", "space"}
    assert set(told["files"][0]) == {*FILE, "uses", "created_at"}
    assert told["space"]["used"] >= 5005
    assert told["space"]["size"] == 25_000_000


def test_added_files_are_told_in_their_order(desk: Shell) -> None:
    for name in ("a.txt", "b.txt"):
        (desk.cwd / name).write_text(name)

    plain = desk("files", "add", "a.txt", "b.txt", "-", given="c").out.split()
    as_json = desk("files", "add", "a.txt", "--json").json

    shown = [desk("files", "get", id_, "--output", "-").out for id_ in plain]
    assert shown == ["a.txt", "b.txt", "c"]
    assert [(set(file), file["name"]) for file in as_json["files"]] == [(FILE, "a.txt")]


def test_a_file_is_saved_under_its_name_and_nothing_is_overwritten(desk: Shell) -> None:
    id_ = add(desk, "chart.txt", b"one")

    saved = desk("files", "get", id_)
    (desk.cwd / "chart.txt").write_text("mine")
    refused = desk("files", "get", id_)
    kept = (desk.cwd / "chart.txt").read_text()
    forced = desk("files", "get", id_, "--force", "--json").json

    assert (saved.out, kept, (desk.cwd / "chart.txt").read_text()) == ("chart.txt\n", "mine", "one")
    assert (refused.code, refused.err) == (
        1,
        "chart.txt is there already. Replace it with --force, or use --output.\n",
    )
    assert [(set(file), file["path"]) for file in forced["files"]] == [
        ({*FILE, "uses", "created_at", "path"}, "chart.txt")
    ]


def test_a_file_is_found_by_a_part_of_its_id_and_saved_where_the_user_says(desk: Shell) -> None:
    id_ = add(desk, "chart.txt", b"one")
    (desk.cwd / "there").mkdir()

    renamed = desk("files", "get", id_[-10:], "--output", "mine.txt")
    inside = desk("files", "get", id_[-10:], "--output", "there")

    assert (renamed.out, inside.out) == ("mine.txt\n", "there/chart.txt\n")
    assert (desk.cwd / "mine.txt").read_text() == (desk.cwd / "there" / "chart.txt").read_text() == "one"


def test_several_files_need_a_directory_and_names_that_differ(desk: Shell) -> None:
    first, second, same = add(desk, "a.txt", b"a"), add(desk, "b.txt", b"b"), add(desk, "a.txt", b"c")

    both = desk("files", "get", first, second)
    made = desk("files", "get", first, second, "--output", "new/charts")
    no_directory = desk("files", "get", first, second, "--output", "a.txt")
    alike = desk("files", "get", first, same, "--force")

    assert (both.out, made.out) == ("a.txt\nb.txt\n", "new/charts/a.txt\nnew/charts/b.txt\n")
    assert (no_directory.code, alike.code) == (2, 2)
    assert "a.txt is no directory" in no_directory.err
    assert "several of the files are called a.txt" in alike.err
    assert (desk.cwd / "a.txt").read_text() == "a"


def test_a_file_goes_to_a_pipe_but_not_to_the_terminal(desk: Shell) -> None:
    id_ = add(desk, "large.bin", bytes(range(256)) * 4000)

    with (desk.cwd / "out").open("wb") as out:
        process = desk.start("files", "get", id_, "--output", "-", stdout=out)
        _, told = process.communicate(timeout=PATIENCE)
    with desk.terminal("files", "get", id_, "--output", "-") as at:
        assert at.end() == 2

    assert (told, process.returncode) == ("", 0)
    assert (desk.cwd / "out").read_bytes() == bytes(range(256)) * 4000
    assert "would go to the terminal" in at.shown


def test_removed_files_are_gone_and_those_in_use_are_named_with_the_reason(desk: Shell) -> None:
    unused = add(desk, "a.txt", b"a")
    (desk.cwd / "log.txt").write_text("used")
    task = desk("tasks", "add", "--file", "log.txt", "hi", "--json").json["task"]
    [used] = [file["id"] for file in task["attachments"]]

    refused = desk("files", "remove", unused[-10:], used)
    gone = desk("files", "get", unused)
    again = desk("files", "remove", unused, "--json")

    assert refused.code == 1
    assert f"Removed {unused}." in refused.err
    assert "refer to the file" in refused.err
    assert (gone.code, again.json["error"]["code"]) == (1, "FILE_NOT_FOUND")
    assert desk("files", "remove", add(desk, "b.txt", b"b"), "--json").json["status"] == "ok"


def test_the_progress_of_a_large_file_is_told_on_a_terminal(desk: Shell) -> None:
    (desk.cwd / "large.bin").write_bytes(bytes(8_000_000))

    with desk.terminal("files", "add", "large.bin") as at:
        at.wait_for("sending large.bin (8.0 MB)")
        assert at.end() == 0


def names(found: dict[str, Any]) -> list[str]:
    return [file["name"] for file in found["files"]]


def test_tasks_and_sessions_show_their_files(desk: Shell) -> None:
    (desk.cwd / "log.txt").write_text("a log")
    answer = desk("agent", "--session", "with-files", "@@ file chart.txt hello", "--file", "log.txt", "--json").json

    task = desk("tasks", "show", answer["run_id"])
    session = desk("sessions", "show", "main:api:with-files")
    messages = desk("sessions", "show", "main:api:with-files", "--json").json["messages"]

    assert "Attachment   log.txt (text/plain, 5 bytes)\n" in task.out
    assert "File         chart.txt (text/plain, 5 bytes): gateway files get 01" in task.out
    assert "  log.txt (text/plain, 5 bytes): gateway files get 01" in session.out
    assert [names(message) for message in messages] == [["log.txt"], ["chart.txt"]]
