"""Files go into a workspace and come out of its outbox, whatever the agent has put there. Links are never followed."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from gateway.domain.file import File
from gateway.engine.execution import workspace_files
from gateway.engine.execution.workspace_files import FoundFile, OutboxDirectory, open_found, place_attachments

RUN = "01JABCDEFGHJKMNPQRSTVWXYZ0"


def file(name: str) -> File:
    return File(id=name, name=name, media_type="text/plain", size=1, sha256="0" * 64)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    place = tmp_path / "workspace"
    place.mkdir()
    return place


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A directory outside the workspace, with a file."""
    place = tmp_path / "elsewhere"
    place.mkdir()
    (place / "secret.txt").write_text("secret")
    return place


@pytest.fixture
def outbox(workspace: Path) -> OutboxDirectory:
    made = OutboxDirectory(workspace, RUN, is_shared=False)
    made.prepare()
    return made


def content(tmp_path: Path, text: str) -> Path:
    at = tmp_path / f"content-{text}"
    at.write_text(text)
    return at


def read(found: FoundFile) -> bytes:
    descriptor = open_found(found)
    try:
        return os.read(descriptor, 100)
    finally:
        os.close(descriptor)


# --- attachments ------------------------------------------------------------------------------


def test_attachments_lie_in_a_directory_of_the_run_that_version_control_ignores(
    workspace: Path, tmp_path: Path
) -> None:
    given = [(file(name), content(tmp_path, str(n))) for n, name in enumerate(("a.txt", "A.TXT", "a.txt", "b"))]
    placed = [Path(path) for path in place_attachments(workspace, RUN, given)]

    assert [path.name for path in placed] == ["a.txt", "A-2.TXT", "a-3.txt", "b"]
    assert [path.read_text() for path in placed] == ["0", "1", "2", "3"]
    assert {path.parent for path in placed} == {workspace / "attachments" / RUN.lower()}
    assert (workspace / "attachments" / ".gitignore").read_text() == "*\n"


def test_attachments_are_whole_again_after_an_attempt_that_broke_off(workspace: Path, tmp_path: Path) -> None:
    place = workspace / "attachments" / RUN.lower()
    place.mkdir(parents=True)
    (place / ".a.txt.part").write_text("half of it")
    (place / "a.txt").write_text("changed by the agent")

    place_attachments(workspace, RUN, [(file("a.txt"), content(tmp_path, "whole"))])

    assert [(path.name, path.read_text()) for path in place.iterdir()] == [("a.txt", "whole")]


def test_an_agent_that_changes_an_attachment_does_not_change_the_stored_content(
    workspace: Path, tmp_path: Path
) -> None:
    stored = content(tmp_path, "stored")
    (placed,) = place_attachments(workspace, RUN, [(file("a.txt"), stored)])
    Path(placed).write_text("changed")

    assert stored.read_text() == "stored"


@pytest.mark.skipif(os.name != "posix", reason="links need a privilege on Windows")
@pytest.mark.parametrize("linked", ["attachments", f"attachments/{RUN.lower()}"])
def test_nothing_is_written_through_a_link_to_a_directory(
    workspace: Path, secret: Path, tmp_path: Path, linked: str
) -> None:
    (workspace / linked).parent.mkdir(exist_ok=True)
    (workspace / linked).symlink_to(secret)

    with pytest.raises(OSError, match="is a link"):
        place_attachments(workspace, RUN, [(file("a.txt"), content(tmp_path, "x"))])
    assert [path.name for path in secret.iterdir()] == ["secret.txt"]


@pytest.mark.skipif(os.name != "posix", reason="links need a privilege on Windows")
def test_nothing_is_written_through_a_link_in_place_of_a_copy(workspace: Path, secret: Path, tmp_path: Path) -> None:
    place = workspace / "attachments" / RUN.lower()
    place.mkdir(parents=True)
    for name in (".a.txt.part", "a.txt"):
        (place / name).symlink_to(secret / "secret.txt")

    place_attachments(workspace, RUN, [(file("a.txt"), content(tmp_path, "x"))])

    assert (secret / "secret.txt").read_text() == "secret"
    assert (place / "a.txt").read_text() == "x"


# --- outbox -----------------------------------------------------------------------------------


def test_files_of_an_outbox_are_found_by_name_with_those_in_its_directories(outbox: OutboxDirectory) -> None:
    (outbox.path / "charts" / "2024").mkdir(parents=True)
    (outbox.path / "z.txt").write_text("z")
    (outbox.path / "charts" / "2024" / "a.png").write_text("png")
    found, problems = outbox.list_files()

    assert [(one.name, one.size) for one in found] == [("charts/2024/a.png", 3), ("z.txt", 1)]
    assert problems == []
    assert [read(one) for one in found] == [b"png", b"z"]


@pytest.mark.skipif(os.name != "posix", reason="no such files on Windows")
def test_what_is_no_file_is_told_of_and_not_opened(outbox: OutboxDirectory, secret: Path) -> None:
    (outbox.path / "link").symlink_to(secret / "secret.txt")
    (outbox.path / "directory link").symlink_to(secret)
    (outbox.path / "dangling").symlink_to("nowhere")
    os.mkfifo(outbox.path / "pipe")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(outbox.path / "s"))
    (outbox.path / "good.txt").write_text("good")
    found, problems = outbox.list_files()
    listener.close()

    assert [one.name for one in found] == ["good.txt"]
    names = ("dangling", "directory link", "link", "pipe", "s")
    assert sorted(problems) == [f"{name!r} is not a file" for name in names]


@pytest.mark.skipif(os.name != "posix", reason="links need a privilege on Windows")
def test_an_outbox_is_prepared_when_it_is_an_empty_directory_and_no_link(
    outbox: OutboxDirectory, tmp_path: Path
) -> None:
    assert outbox.is_prepared
    (outbox.path / "left").touch()
    assert not outbox.is_prepared
    (outbox.path / "left").unlink()
    outbox.path.rmdir()
    assert not outbox.is_prepared
    (elsewhere := tmp_path / "elsewhere").mkdir()
    outbox.path.symlink_to(elsewhere)
    assert not outbox.is_prepared


def test_an_outbox_that_cannot_be_read_is_not_prepared(
    outbox: OutboxDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)

    assert not outbox.is_prepared
    assert outbox.is_empty, "there is nothing that could be kept"


@pytest.mark.skipif(os.name != "posix", reason="links need a privilege on Windows")
def test_an_outbox_that_the_agent_has_replaced_by_a_link_is_not_followed(outbox: OutboxDirectory, secret: Path) -> None:
    outbox.path.rmdir()
    outbox.path.symlink_to(secret)

    found, problems = outbox.list_files()
    outbox.clear()

    assert found == []
    assert len(problems) == 1
    assert (secret / "secret.txt").read_text() == "secret"


@pytest.mark.skipif(os.name != "posix", reason="links need a privilege on Windows")
@pytest.mark.parametrize("replaced", ["a", "a/b", "a/b/c.txt"])
def test_a_file_that_becomes_a_link_after_it_was_found_is_not_followed(
    outbox: OutboxDirectory, secret: Path, tmp_path: Path, replaced: str
) -> None:
    (outbox.path / "a" / "b").mkdir(parents=True)
    (outbox.path / "a" / "b" / "c.txt").write_text("c")
    (found,), _ = outbox.list_files()
    (outbox.path / replaced).rename(tmp_path / "moved")
    (outbox.path / replaced).symlink_to(tmp_path / "moved")

    with pytest.raises(OSError):
        open_found(found)


@pytest.mark.skipif(os.name != "posix", reason="no pipes on Windows")
def test_a_file_that_becomes_a_pipe_after_it_was_found_is_refused_at_once(outbox: OutboxDirectory) -> None:
    (outbox.path / "a.txt").write_text("a")
    (found,), _ = outbox.list_files()
    (outbox.path / "a.txt").unlink()
    os.mkfifo(outbox.path / "a.txt")

    with pytest.raises(OSError, match="not a file"):
        open_found(found)


@pytest.mark.skipif(os.name != "posix", reason="such names cannot be created on Windows")
def test_names_that_are_no_text_are_found_and_told_of(outbox: OutboxDirectory) -> None:
    for name in (b"\xff.txt", b"a\nb.txt", b"\x1b[31m.txt"):
        (outbox.path / os.fsdecode(name)).write_text("x")
    (outbox.path / os.fsdecode(b"\xff link")).symlink_to("x")
    found, problems = outbox.list_files()

    assert len(found) == 3
    assert problems == ["'\\udcff link' is not a file"]


def test_no_more_entries_are_looked_at_than_the_limit(outbox: OutboxDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace_files, "MAX_OUTBOX_ENTRIES", 50)
    for number in range(200):
        (outbox.path / f"{number}.txt").write_text("x")
    found, problems = outbox.list_files()

    assert len(found) == 50
    assert problems == ["it has more than 50 entries; the others are left out"]


def test_directories_are_looked_into_as_deep_as_the_limit(outbox: OutboxDirectory) -> None:
    deep = outbox.path.joinpath(*"abcdefghij")
    deep.mkdir(parents=True)
    (deep / "too deep.txt").write_text("x")
    (outbox.path / "a" / "b" / "good.txt").write_text("x")
    found, problems = outbox.list_files()

    assert [one.name for one in found] == ["a/b/good.txt"]
    assert problems == ["'a/b/c/d/e/f/g/h' is nested too deeply"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_directory_that_cannot_be_read_is_told_of(outbox: OutboxDirectory) -> None:
    (outbox.path / "closed").mkdir(mode=0o000)
    (outbox.path / "good.txt").write_text("x")
    found, problems = outbox.list_files()
    (outbox.path / "closed").chmod(0o700)

    assert [one.name for one in found] == ["good.txt"]
    assert problems == ["'closed/' cannot be read: Permission denied"]


@pytest.mark.skipif(os.name != "posix", reason="links need a privilege on Windows")
def test_an_outbox_begins_empty_whatever_lies_in_its_place(workspace: Path, secret: Path) -> None:
    outbox = OutboxDirectory(workspace, RUN, is_shared=False)
    for lie in ("directory", "file", "link"):
        if lie == "directory":
            (workspace / "outbox" / "sub").mkdir(parents=True)
            (workspace / "outbox" / "sub" / "left.txt").write_text("of an interrupted attempt")
            (workspace / "outbox" / "link").symlink_to(secret)
        elif lie == "file":
            (workspace / "outbox").write_text("a file")
        else:
            (workspace / "outbox").symlink_to(secret)
        outbox.prepare()
        assert (outbox.path.is_dir(), outbox.path.is_symlink(), outbox.is_empty) == (True, False, True)
        outbox.path.rmdir()
    assert (secret / "secret.txt").read_text() == "secret"


def test_runs_that_share_a_workspace_have_outboxes_of_their_own_and_leave_no_directory(workspace: Path) -> None:
    first, second = (OutboxDirectory(workspace, run, is_shared=True) for run in ("RUN1", "RUN2"))
    first.prepare()
    second.prepare()
    (first.path / "a.txt").write_text("first")
    (second.path / "a.txt").write_text("second")

    assert [one.size for one in first.list_files()[0]] == [5]
    first.clear()
    assert second.path.is_dir()
    second.clear()
    assert list(workspace.iterdir()) == []


def test_an_outbox_that_is_made_while_that_of_another_run_is_removed_is_there_and_hidden(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (OutboxDirectory(workspace, run, is_shared=True) for run in ("RUN1", "RUN2"))
    first.prepare()
    remove, waiting = Path.rmdir, [second]

    def remove_late(place: Path) -> None:
        if place == workspace / "outbox" and waiting:
            waiting.pop().prepare()
        remove(place)

    monkeypatch.setattr(Path, "rmdir", remove_late)
    first.clear()

    assert second.path.is_dir()
    assert (workspace / "outbox" / ".gitignore").read_text() == "*\n"
    second.clear()
    assert list(workspace.iterdir()) == []


def test_an_outbox_is_made_though_another_run_removes_the_directory_of_all_of_them(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = OutboxDirectory(workspace, RUN, is_shared=True)
    create, removed = Path.mkdir, [workspace / "outbox"]

    def create_late(place: Path, *args: object, **options: object) -> None:
        if place == outbox.path and removed:
            shutil.rmtree(removed.pop())
        create(place, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", create_late)
    outbox.prepare()

    assert outbox.path.is_dir()
    assert (workspace / "outbox" / ".gitignore").exists()
