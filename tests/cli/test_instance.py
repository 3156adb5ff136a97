"""The files of a gateway, and the token for it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cli import instance
from cli.instance import FoundToken, Instance
from gateway import config
from gateway.errors import ConfigError, Forbidden


def make(home: Path, env: dict[str, str] | None = None) -> Instance:
    return Instance.from_environment({"MOONGATE_HOME": str(home), **(env or {})})


@pytest.mark.parametrize(("name", "names"), [instance.TOKEN_SETTING, instance.AUTH_MODE_SETTING])
def test_the_names_read_here_are_those_of_the_table(name: str, names: tuple[str, ...]) -> None:
    assert {setting.name: setting.env for setting in config.list_settings()}[name] == names


def test_without_any_token_there_is_none(tmp_path: Path) -> None:
    assert make(tmp_path).access_token is None


def test_a_token_is_looked_for_in_the_order_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("of the file\n")
    assert make(tmp_path).access_token == FoundToken("of the file", f"the file {tmp_path / 'token'}")

    (tmp_path / "config.json").write_text(json.dumps({"gateway": {"auth": {"token": "of the config"}}}))
    assert make(tmp_path).access_token == FoundToken(
        "of the config", f"gateway.auth.token in {tmp_path / 'config.json'}"
    )

    (tmp_path / ".env").write_text("OPENCLAW_TOKEN=of-dotenv\n")
    assert make(tmp_path).access_token == FoundToken("of-dotenv", "OPENCLAW_TOKEN in .env")

    assert make(tmp_path, {"XITTO_SERVER_TOKEN": "x"}).access_token == FoundToken("x", "XITTO_SERVER_TOKEN")
    assert make(tmp_path, {"XITTO_SERVER_TOKEN": "x", "MOONGATE_TOKEN": "m"}).access_token == FoundToken(
        "m", "MOONGATE_TOKEN"
    )


@pytest.mark.parametrize("text", ["{", "[]", '{"gateway": 1}', '{"gateway": {"auth": {"token": 1}}}', "\ufeff{}"])
def test_a_config_that_cannot_be_used_is_passed_over(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    (tmp_path / "token").write_text("t\n")

    found = make(tmp_path).access_token

    assert found is not None
    assert found.value == "t"


def test_no_token_is_sent_where_none_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t\n")

    assert make(tmp_path, {"MOONGATE_AUTH_MODE": "none"}).access_token is None


def test_a_token_file_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ConfigError):
        _ = make(tmp_path).access_token


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
def test_the_state_directory_of_another_user_is_named_with_its_owner(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "locks").mkdir(parents=True, mode=0o700)
    home.chmod(0o700)
    os.seteuid(65534)
    try:
        with pytest.raises(Forbidden) as caught:
            Instance.from_environment({"MOONGATE_HOME": str(home)})
    finally:
        os.seteuid(0)

    assert caught.value.exit_code == 1
    assert "belongs to root" in caught.value.message
    assert "sudo -u root gateway" in (caught.value.remedy or "")
