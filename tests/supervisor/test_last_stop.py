"""The time and the reason of the last stop, on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.supervisor import last_stop


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "gateway.0123.lock"


def test_the_record_is_read_back_and_private(lock: Path) -> None:
    last_stop.write_last_stop(lock, "one", 78, "x" * 10_000)

    found = last_stop.read_last_stop(lock)

    assert found is not None
    assert (found.instance, found.code, found.reason) == ("one", 78, "x" * last_stop.MAX_REASON_CHARS)
    assert [(path.name, path.stat().st_mode & 0o777) for path in lock.parent.iterdir()] == [
        ("gateway.0123.ended", 0o600)
    ]


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b'{"instance": "x"}', b'{"instance": 1, "at": 1, "code": 0, "reason": ""}', b"[" * 10_000],
)
def test_an_invalid_record_counts_as_none(data: bytes, lock: Path) -> None:
    lock.with_suffix(".ended").write_bytes(data)

    assert last_stop.read_last_stop(lock) is None


def test_a_link_is_not_followed(lock: Path, tmp_path: Path) -> None:
    last_stop.write_last_stop(tmp_path / "other.lock", "one", 0, "")
    lock.with_suffix(".ended").symlink_to(tmp_path / "other.ended")

    assert last_stop.read_last_stop(lock) is None


def test_a_missing_directory_is_no_error(tmp_path: Path) -> None:
    last_stop.write_last_stop(tmp_path / "gone" / "gateway.lock", "one", 0, "")

    assert not (tmp_path / "gone").exists()
