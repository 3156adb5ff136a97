"""The gateway's own token on disk."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.security import secret_file


def test_a_token_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = secret_file.read_or_create(tmp_path / "token")
    finally:
        os.umask(before)

    assert len(made) >= 43
    assert secret_file.read_or_create(tmp_path / "token") == made
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600


def test_starts_at_the_same_time_agree_on_one_token(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: secret_file.read_or_create(tmp_path / "token"), range(50)))

    assert len(made) == 1


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("secret")
    (tmp_path / "token").symlink_to(tmp_path / "victim")

    with pytest.raises(ConfigError, match="cannot read the token file"):
        secret_file.read_or_create(tmp_path / "token")


@pytest.mark.parametrize(
    ("name", "called"), [("token", "the token file"), ("webhook-secret", "the webhook secret file")]
)
def test_an_error_says_which_secret_cannot_be_read_and_what_to_do(tmp_path: Path, name: str, called: str) -> None:
    (tmp_path / name).mkdir()

    with pytest.raises(ConfigError, match=rf"cannot read {called} .*: it is a directory, .* Move it away"):
        secret_file.read_or_create(tmp_path / name)


@pytest.mark.parametrize("content", ["", "\n", "a\x00b", "\x1b[31m"])
def test_a_file_without_a_token_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content)

    with pytest.raises(ConfigError, match=r"the token file .*token is empty or damaged"):
        secret_file.read_secret(tmp_path / "token")


def test_a_stored_token_takes_the_place_of_the_present_one(tmp_path: Path) -> None:
    secret_file.read_or_create(tmp_path / "token")
    secret_file.store_secret(tmp_path / "token", "another")

    assert secret_file.read_secret(tmp_path / "token") == "another"
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["token"]
