"""Root does not run the gateway of another user."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway import paths
from gateway.errors import ConfigError
from gateway.supervisor import lock
from gateway.supervisor.state_owner import refuse_foreign_state
from harness.command_line import Shell
from harness.live_gateway import Live

pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="only root can give a directory to somebody else"
)
#: a user id that no passwd file has, and that of a user whom every system has
STRANGER, NOBODY = 54_321, 65_534


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A state directory of another user, to which root came with its HOME."""
    home = tmp_path / "state"
    home.mkdir(mode=0o700)
    (home / "config.json").write_text(json.dumps({"gateway": {"port": 0}}))
    os.chown(home, STRANGER, STRANGER)
    return home


@pytest.mark.parametrize(
    "command", [["start"], ["run"], ["run", "--token", "a-secret-token"], ["restart", "--force"], ["backup"]]
)
def test_root_is_refused_and_leaves_no_files(foreign: Path, tmp_path: Path, command: list[str]) -> None:
    env = {"PATH": os.defpath, "HOME": str(tmp_path), "MOONGATE_HOME": str(foreign), "SUDO_UID": str(STRANGER)}
    shell = Shell(env, tmp_path)

    result = shell(*command)

    assert result.code == 78
    assert f"belongs to the user with id {STRANGER}, and this is root" in result.err
    assert f"sudo -u '#{STRANGER}'" in result.err
    assert f"chown -R root '{foreign}'" in result.err
    assert [path.name for path in foreign.iterdir()] == ["config.json"]


def test_a_state_directory_that_is_still_to_be_made_in_the_home_of_another_user_is_refused(
    foreign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = SimpleNamespace(pw_name="anna", pw_dir=str(foreign))
    monkeypatch.setattr("pwd.getpwuid", lambda number: anna if number == STRANGER else None)

    with pytest.raises(ConfigError, match=r"belongs to user anna.* sudo -u 'anna' gateway start"):
        refuse_foreign_state(foreign / ".moongate", {})


@pytest.mark.parametrize("owner", [STRANGER, NOBODY])
def test_a_volume_of_a_container_with_user_ids_of_its_host_is_not_refused(foreign: Path, owner: int) -> None:
    os.chown(foreign, owner, owner)

    refuse_foreign_state(foreign, {})
    refuse_foreign_state(foreign / "home" / ".moongate", {"SUDO_UID": "1234"})


def test_root_runs_its_own_gateway(tmp_path: Path) -> None:
    refuse_foreign_state(tmp_path)
    refuse_foreign_state(tmp_path / "not" / "there")


def test_a_forced_restart_that_is_refused_stops_nothing(live: Callable[..., Live], tmp_path: Path) -> None:
    one: Live = live()
    shell = Shell({**one.env, "SUDO_UID": str(STRANGER)}, tmp_path)
    one.start()
    os.chown(one.home, STRANGER, STRANGER)

    refused = shell("restart", "--force")

    assert refused.code == 78
    assert lock.lock_holder(paths.lock_file(one.home, one.config)) is not None
    assert shell("restart").code == 0
    assert shell("stop").code == 0
