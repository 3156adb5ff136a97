"""Files of the gateway on this machine: whole or not at all, and under a safe name."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from cli.command import Interrupted
from cli.files import saving
from cli.files.saving import make_local_name, save_file
from gateway.errors import GatewayError, Unavailable


def shown(content: bytes, name: str = "chart.png") -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    return {"id": "1", "name": name, "media_type": "image/png", "size": len(content), "sha256": digest}


class Client:
    """A gateway that sends these bytes, and then fails."""

    def __init__(self, content: bytes, error: BaseException | None = None) -> None:
        self._content = content
        self._error = error

    def download_file(self, id_: str, take: Callable[[bytes], None]) -> None:
        take(self._content)
        if self._error is not None:
            raise self._error


@pytest.mark.parametrize(
    ("error", "raised"),
    [(Unavailable("it is away."), Unavailable), (KeyboardInterrupt(), Interrupted), (None, GatewayError)],
)
def test_a_file_that_does_not_come_whole_leaves_nothing(
    tmp_path: Path, error: BaseException | None, raised: type[BaseException]
) -> None:
    with click.Context(click.Command("get")), pytest.raises(raised):
        save_file(Client(b"half", error), shown(b"half and half"), tmp_path / "chart.png")  # type: ignore[arg-type]

    assert list(tmp_path.iterdir()) == []


def test_the_progress_of_a_file_with_a_long_name_is_seen_on_a_narrow_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    class Waiting:
        def set_text(self, what: str) -> None:
            told.append(what)

    monkeypatch.setattr(saving.output, "show_waiting", lambda what: contextlib.nullcontext(Waiting()))
    content = bytes(saving.SHOWN_PROGRESS_BYTES)
    with click.Context(click.Command("get")):
        save_file(Client(content), shown(content, "n" * 100), tmp_path / "x")  # type: ignore[arg-type]

    assert told[-1].startswith("100 %, receiving nnn")


@pytest.mark.parametrize("has_links", [True, False])
def test_another_file_is_replaced_only_if_the_user_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    def refuse(*paths: object) -> None:
        raise PermissionError

    if not has_links:
        monkeypatch.setattr(saving.os, "link", refuse)
    place = tmp_path / "chart.png"
    with click.Context(click.Command("get")):
        save_file(Client(b"one"), shown(b"one"), place)  # type: ignore[arg-type]
        with pytest.raises(FileExistsError):
            save_file(Client(b"two"), shown(b"two"), place)  # type: ignore[arg-type]
        kept = place.read_bytes()
        save_file(Client(b"two"), shown(b"two"), place, replace=True)  # type: ignore[arg-type]

    assert (kept, place.read_bytes(), len(list(tmp_path.iterdir()))) == (b"one", b"two", 1)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with click.Context(click.Command("get")), pytest.raises(click.ClickException, match=r"cannot write .*below"):
        save_file(Client(b"one"), shown(b"one"), tmp_path / "none" / "below")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..\\passwd", ".passwd", "pass\x1bwd", "passwd "])
def test_a_name_of_the_gateway_is_only_a_file_name(name: str) -> None:
    assert make_local_name(shown(b"", name)) == "passwd"
