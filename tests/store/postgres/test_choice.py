"""`store.url` and `store.password_file`: what is wrong with them is told, and no password is ever shown."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from gateway import config
from gateway.errors import ConfigError
from gateway.store import choice
from gateway.store.moving import choice as moving
from harness.postgres_server import PostgresServer
from tests.store.postgres.servers import PASSWORD, url_of


def settings(tmp_path: Path, **store: str) -> config.Config:
    return config.load({"MOONGATE_HOME": str(tmp_path), **{f"MOONGATE_{name}": value for name, value in store.items()}})


@pytest.mark.parametrize("missing", ["psycopg", "procrastinate"])
def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found(name))

    with pytest.raises(ConfigError, match=f"needs the package {missing}") as refused:
        choice.check_server(settings(tmp_path, STORE_URL="postgresql://u@host/gate"))

    assert "MOONGATE_STORE_URL" in str(refused.value)
    assert str(refused.value).endswith("pip install 'moongate[postgres]'")

    with pytest.raises(ConfigError, match=f"--to: PostgreSQL needs the package {missing}"):
        moving.choose_move(settings(tmp_path), "postgresql://u@host/gate")


def test_the_password_may_be_in_a_file(tmp_path: Path, strict_server: PostgresServer) -> None:
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    url = url_of(strict_server, "clerk").replace(f":{PASSWORD}@", "@")

    choice.check_server(settings(tmp_path, STORE_URL=url, STORE_PASSWORD_FILE=str(file)))


def test_a_wrong_password_in_a_file_is_refused(tmp_path: Path, strict_server: PostgresServer) -> None:
    file = tmp_path / "password"
    file.write_text("wrong-horse")
    url = url_of(strict_server, "clerk").replace(f":{PASSWORD}@", "@")

    with pytest.raises(ConfigError, match="does not accept the password") as refused:
        choice.check_server(settings(tmp_path, STORE_URL=url, STORE_PASSWORD_FILE=str(file)))

    assert "wrong-horse" not in str(refused.value)


def make_missing(file: Path) -> None:
    """Leave it as it is."""


def make_directory(file: Path) -> None:
    file.mkdir()


def make_binary(file: Path) -> None:
    file.write_bytes(b"\xff\xfe" + PASSWORD.encode())


def make_empty(file: Path) -> None:
    file.write_text("\n")


@pytest.mark.parametrize("make", [make_missing, make_directory, make_binary, make_empty])
def test_a_file_that_has_no_password_is_named(tmp_path: Path, make: Any) -> None:
    file = tmp_path / "password"
    make(file)

    with pytest.raises(ConfigError, match=r"store\.password_file: .*password") as refused:
        choice.check_server(
            settings(tmp_path, STORE_URL="postgresql://u@127.0.0.1/gate", STORE_PASSWORD_FILE=str(file))
        )

    assert PASSWORD not in str(refused.value)


def test_a_url_that_cannot_be_read_is_refused_also_with_a_password_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(PASSWORD)
    given = settings(tmp_path, STORE_URL="postgresql://u@[::1/gate", STORE_PASSWORD_FILE=str(tmp_path / "password"))

    with pytest.raises(ConfigError, match=r"MOONGATE_STORE_URL: store\.url: this is not the URL"):
        choice.check_server(given)


@pytest.mark.parametrize(
    ("url", "shown", "secrets"),
    [
        ("postgresql://u:secret@host/d", "postgresql://u:***@host/d", ["secret"]),
        ("postgresql://u:se%40cret@host/d", "postgresql://u:***@host/d", ["se%40cret", "se@cret"]),
        ("postgresql://u:a:b@host/d", "postgresql://u:***@host/d", ["a:b"]),
        ("postgresql://u:a@b@host/d", "postgresql://u:***@host/d", ["a@b"]),
        ("postgresql://u:a/b@host/d", "postgresql://u:***@host/d", ["a/b"]),
        ("postgresql://u:a?b#c@host/d", "postgresql://u:***@host/d", ["a?b#c"]),
        ("postgresql://:secret@host/d", "postgresql://:***@host/d", ["secret"]),
        ("postgresql://u@h/d?password=x&a=1", "postgresql://u@h/d?password=***&a=1", ["x"]),
        ("postgresql://u@h/d?a=1&sslpassword=x", "postgresql://u@h/d?a=1&sslpassword=***", ["x"]),
        ("postgresql://u:x@h/d?password=y", "postgresql://u:***@h/d?password=***", ["x", "y"]),
        ("postgresql://u@host:5432/d", "postgresql://u@host:5432/d", []),
        ("postgresql://host:5432/d?sslmode=require", "postgresql://host:5432/d?sslmode=require", []),
        ("postgresql://u@[::1]:5432/d", "postgresql://u@[::1]:5432/d", []),
    ],
)
def test_passwords_are_hidden_wherever_they_are(tmp_path: Path, url: str, shown: str, secrets: list[str]) -> None:
    assert config.hide_password(url) == shown
    assert choice.find_secrets(settings(tmp_path, STORE_URL=url)) == secrets


def test_the_password_of_a_file_is_a_secret(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    given = settings(tmp_path, STORE_URL="postgresql://u@h/d", STORE_PASSWORD_FILE=str(tmp_path / "password"))

    assert choice.find_secrets(given) == [PASSWORD]
