"""The files of chat messages: which are fetched, and what is said about those that cannot be had."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from gateway.domain.inbound import FileNotFetched, IncomingFile
from gateway.engine.messaging import incoming_files
from tests.engine.stage import staged


def incoming(name: str, content: bytes, *, error: Exception | None = None, size: int | None = None) -> IncomingFile:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield content
        if error is not None:
            raise error

    return IncomingFile(name=name, size=size, open_stream=stream)


async def test_what_cannot_be_had_is_left_out_and_the_rest_is_kept(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage, stage.engine.files.open_staging() as staging:
        async with stage.engine.files.open_staging() as before:
            earlier = await before.add_bytes(b"stored", name="stored.txt")
            await stage.engine.files.store_upload(before.staged[0])
        too_large = stage.engine.files.limits.size + 1
        left_out = await incoming_files.stage_incoming(
            staging,
            [
                incoming("one.txt", b"one"),
                incoming("../gone.txt", b"half", error=FileNotFetched("it is gone")),
                earlier,
                incoming("film.mp4", b"", size=too_large),
            ],
        )

        assert [file.name for file in staging.files] == ["one.txt", "stored.txt"]
        assert left_out[0] == "gone.txt: it is gone"
        assert left_out[1].startswith("film.mp4 (25.0 MB): too large: a file may have 25000000 bytes")


async def test_any_other_failure_of_a_sender_is_told_to_the_caller(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage, stage.engine.files.open_staging() as staging:
        with pytest.raises(ConnectionResetError):
            await incoming_files.stage_incoming(staging, [incoming("a", b"half", error=ConnectionResetError())])


def test_notes_follow_the_text_and_are_copied_to_its_next_version() -> None:
    first = incoming_files.add_notes("Look\n\nat this", ["a.mp4: too large", "b.mp4: too large"])

    assert first == "Look\n\nat this\n\n(Not attached: a.mp4: too large)\n\n(Not attached: b.mp4: too large)"
    assert incoming_files.copy_notes(first, "See") == first.replace("Look\n\nat this", "See")
    assert incoming_files.copy_notes("Look", "See") == "See"
