"""The config over time: one reading is one version, and the last good copy is what a generation served with."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from gateway import config, paths, private_file
from gateway.errors import ConfigError
from gateway.supervisor import config_history
from gateway.supervisor.config_history import ConfigHistory, ReadingPostponed
from gateway.supervisor.deadlines import TimeLimits

FIRST, SECOND = (b'{"gateway": {"port": %d, "hang_timeout": %d}}' % pair for pair in ((1001, 11), (2002, 22)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.json"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"MOONGATE_HOME": str(tmp_path)}


def start_history(file: Path, env: dict[str, str]) -> ConfigHistory:
    """Return the history after the first generation has led."""
    configs = ConfigHistory(file, config_history.read_config(env))
    configs.take_reading(env)
    configs.confirm_current()
    return configs


def test_an_edit_during_a_restart_gives_one_version(
    file: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_bytes(FIRST)
    parse = config.parse_config

    def edit_then_parse(*given: object) -> object:
        file.write_bytes(SECOND)  # somebody saves the file between its reading and its use
        return parse(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(config, "parse_config", edit_then_parse)
    configs = start_history(file, env)

    assert configs.current.settings.gateway.port == 1001
    assert TimeLimits.from_config(configs.current.settings).hang == 11
    assert config.parse_config(configs.current.sources, env) == configs.current.settings
    assert paths.last_good_config(file).read_bytes() == FIRST
    assert paths.last_good_config(file).stat().st_mode & 0o777 == 0o600


def test_a_restart_starts_with_the_reading_that_was_checked(file: Path, env: dict[str, str]) -> None:
    file.write_bytes(FIRST)
    configs = start_history(file, env)
    file.write_bytes(SECOND)
    checked = configs.take_reading(env)
    configs.prepare_restart(checked)
    file.write_bytes(b"{")

    assert configs.take_reading(env) is checked


def test_a_refused_restart_puts_the_settings_of_the_leader_in_force_again(file: Path, env: dict[str, str]) -> None:
    file.write_bytes(FIRST)
    configs = start_history(file, env)
    file.write_bytes(SECOND)
    configs.prepare_restart(configs.take_reading(env))
    assert configs.current.settings.gateway.port == 2002

    configs.revert_to_confirmed()

    assert configs.current.settings.gateway.port == 1001
    assert paths.last_good_config(file).read_bytes() == FIRST


def test_a_refused_restart_returns_to_the_settings_that_served_last(file: Path, env: dict[str, str]) -> None:
    file.write_bytes(FIRST)
    configs = start_history(file, env)
    for content, port in ((SECOND, 2002), (b'{"gateway": {"port": 3003}}', 3003)):
        file.write_bytes(content)
        configs.prepare_restart(config_history.read_config(env))
        assert configs.take_reading(env).settings.gateway.port == port
        if port == 2002:
            configs.confirm_current()

    configs.revert_to_confirmed()

    assert configs.current.settings.gateway.port == 2002
    assert paths.last_good_config(file).read_bytes() == SECOND


def test_a_bad_file_is_neither_in_force_nor_kept(file: Path, env: dict[str, str]) -> None:
    file.write_bytes(FIRST)
    configs = start_history(file, env)
    file.write_bytes(b"{")

    with pytest.raises(ConfigError, match="not valid JSON"):
        configs.take_reading(env)
    configs.confirm_current()

    assert configs.current.settings.gateway.port == 1001
    assert paths.last_good_config(file).read_bytes() == FIRST


def test_a_file_that_cannot_be_read_now_keeps_the_copy(
    file: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_bytes(FIRST)
    configs = start_history(file, env)

    def no_descriptor(_: Path) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(private_file, "read_plain_file", no_descriptor)
        with pytest.raises(ReadingPostponed, match="Too many open files"):
            configs.take_reading(env)
        configs.confirm_current()

    assert paths.last_good_config(file).read_bytes() == FIRST
    assert configs.take_reading(env).settings.gateway.port == 1001


def test_no_file_is_a_good_one_and_removes_the_copy(tmp_path: Path, file: Path, env: dict[str, str]) -> None:
    paths.last_good_config(file).write_bytes(b"{}")

    start_history(file, env)

    assert list(tmp_path.iterdir()) == []


def test_the_bad_content_is_put_aside_for_the_last_good_copy(file: Path, env: dict[str, str]) -> None:
    file.write_bytes(FIRST)
    configs = ConfigHistory(file, config_history.read_config(env))
    configs.take_reading(env)
    configs.confirm_current()
    file.write_bytes(b"bad")
    with pytest.raises(ConfigError):
        configs.take_reading(env)
    file.write_bytes(b"edited once more")

    configs.fall_back()

    assert configs.stand_in_variables == {"MOONGATE_CONFIG": str(paths.last_good_config(file))}
    assert file.with_name("config.json.rejected").read_bytes() == b"bad"
    assert configs.take_reading(env | configs.stand_in_variables).sources.content == FIRST
    assert not configs.confirm_current()
    assert paths.last_good_config(file).read_bytes() == FIRST


def test_nothing_stands_in_while_the_file_is_good_or_there_is_no_copy(file: Path, env: dict[str, str]) -> None:
    file.write_bytes(FIRST)
    configs = start_history(file, env)
    assert paths.last_good_config(file).exists()
    assert configs.stand_in_variables == {}

    configs.fall_back()
    paths.last_good_config(file).unlink()

    assert configs.stand_in_variables == {}


def test_the_variables_of_dotenv_are_read_once_too(tmp_path: Path, env: dict[str, str]) -> None:
    (tmp_path / ".env").write_text("MOONGATE_PORT=1001\nTOKEN_OF_SOMETHING=first\n")
    reading = config_history.read_config(env)
    (tmp_path / ".env").write_text("MOONGATE_PORT=2002\nTOKEN_OF_SOMETHING=second\n")

    settings = config.parse_config(reading.sources, env)

    assert settings == reading.settings
    assert settings.gateway.port == 1001
    assert settings.dotenv["TOKEN_OF_SOMETHING"] == "first"


def test_the_last_good_variables_of_dotenv_stand_in_too(tmp_path: Path, file: Path, env: dict[str, str]) -> None:
    (tmp_path / ".env").write_text("MOONGATE_PORT=1001\n")
    configs = start_history(file, env)
    (tmp_path / ".env").write_bytes(b"# caf\xe9\n")
    with pytest.raises(ConfigError, match=r"\.env: line 1"):
        configs.take_reading(env)

    configs.fall_back()

    assert configs.take_reading(env | configs.stand_in_variables).settings.gateway.port == 1001
    assert not configs.confirm_current()
    (tmp_path / ".env").write_text("MOONGATE_PORT=2002\n")
    assert configs.take_reading(env).settings.gateway.port == 1001
    configs.prepare_restart(config_history.read_config(env))
    assert configs.take_reading(env).settings.gateway.port == 2002
