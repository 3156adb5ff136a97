"""The config file over time: one reading is one version, and the last good copy has the content that was read."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import config, paths
from gateway.supervisor import config_history
from gateway.supervisor.config_history import ConfigHistory
from gateway.supervisor.deadlines import TimeLimits


def test_an_edit_during_a_restart_gives_one_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.json"
    first, second = (b'{"gateway": {"port": %d, "hang_timeout": %d}}' % pair for pair in ((1001, 11), (2002, 22)))
    file.write_bytes(first)
    parse = config.parse_config

    def edit_then_parse(*given: object) -> object:
        file.write_bytes(second)  # a user saves the file between its reading and its use
        return parse(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(config, "parse_config", edit_then_parse)
    reading = config_history.read_config({"MOONGATE_HOME": str(tmp_path)})
    assert reading.settings is not None
    ConfigHistory(file).keep_last_good(reading.content)

    assert reading.settings.gateway.port == 1001
    assert TimeLimits.from_config(reading.settings).hang == 11
    assert paths.last_good_config(file).read_bytes() == first
    assert paths.last_good_config(file).stat().st_mode & 0o777 == 0o600


def test_a_bad_file_is_read_with_its_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"{")

    reading = config_history.read_config({"MOONGATE_HOME": str(tmp_path)})

    assert (reading.content, reading.settings) == (b"{", None)
    assert "not valid JSON" in reading.error


def test_a_missing_file_is_valid_and_removes_the_copy(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    paths.last_good_config(file).write_bytes(b"{}")

    reading = config_history.read_config({"MOONGATE_HOME": str(tmp_path)})
    ConfigHistory(file).keep_last_good(reading.content)

    assert reading.settings is not None
    assert list(tmp_path.iterdir()) == []


def test_the_bad_file_is_put_aside_for_the_last_good_copy(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    configs = ConfigHistory(file)
    file.write_bytes(b"bad")
    assert configs.fall_back() is None

    configs.keep_last_good(b"{}")

    assert configs.fall_back() == paths.last_good_config(file)
    assert (tmp_path / "config.json.rejected").read_bytes() == b"bad"
