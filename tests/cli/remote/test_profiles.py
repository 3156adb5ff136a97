"""The stored gateways elsewhere: one command at a time changes them, and no token goes to an address not its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cli.config_edit import edit_lock
from cli.config_edit.edit_lock import hold_edit_lock
from cli.remote.profiles import Remote, RemoteFiles
from gateway.errors import Unavailable
from gateway.security import secret_file

OLD, NEW = Remote("https://old.example"), Remote("https://new.example")


@pytest.fixture
def files(tmp_path: Path) -> RemoteFiles:
    made = RemoteFiles(tmp_path)
    made.store_remote("home", OLD, "the-old-token", is_default=False)
    return made


@pytest.mark.parametrize(
    "change",
    [
        lambda files: files.store_remote("lab", NEW, None, is_default=True),
        lambda files: files.remove_remote("home"),
        lambda files: files.choose_default("home"),
    ],
    ids=["add", "remove", "use"],
)
def test_a_change_waits_for_another_one(
    change: Callable[[RemoteFiles], None], files: RemoteFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edit_lock, "EDIT_LOCK_TIMEOUT_SECONDS", 0)
    before = files.read_remotes()
    with hold_edit_lock(tmp_path), pytest.raises(Unavailable):
        change(files)

    assert files.read_remotes() == before
    change(files)
    assert files.read_remotes() != before


@pytest.mark.parametrize("step", ["address", "token"])
def test_a_replacement_that_is_cut_off_leaves_no_token_for_another_address(
    step: str, files: RemoteFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(*((RemoteFiles, "_write") if step == "address" else (secret_file, "store_secret")), die)
        with pytest.raises(KeyboardInterrupt):
            files.store_remote("home", NEW, "the-new-token", is_default=False)

    assert files.read_remotes().by_name["home"] == (OLD if step == "address" else NEW)
    assert files.read_token("home") is None
    files.store_remote("home", NEW, "the-new-token", is_default=False)
    assert files.read_token("home") == "the-new-token"
