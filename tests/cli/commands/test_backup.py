"""`gateway backup`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.backup import databases, pending
from gateway.domain.times import wall_clock
from gateway.store.postgres import opening
from harness.command_line import Shell
from tests.backup.installations import list_tree, make_installation, make_shell, verify
from tests.backup.killed import STEPS_OF_BACKUP, run_killed
from tests.support import postgres


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A shell for an installation that does not run."""
    place = make_installation(tmp_path / "home")
    (place.home / "found-agent.json").unlink()
    place.home.chmod(0o700)
    return make_shell(place.home, tmp_path)


def test_a_backup_is_made_verified_and_listed(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "home" / "workspaces" / "elsewhere").symlink_to(tmp_path)
    made = shell("backup", "backups")

    assert made.code == 0, made.err
    (file,) = (tmp_path / "backups").iterdir()
    assert made.out.startswith(f"Backup ~/backups/{file.name} (")
    assert "while no gateway ran" in made.out
    assert "so not in it as it should be: 1." in made.err
    assert "workspaces/elsewhere: it is a link to" in made.err
    assert "Not in it: .env, the token, the webhook secret, and 1 secret of the config." in made.err
    told = shell("backup", "verify", str(file), "--json").json
    assert (told["ok"], told["variables"], told["running"]) == (True, ["RESTORED_WEBHOOKS_SECRET"], False)
    assert shell("backup", "verify", str(file)).out.startswith(f"~/backups/{file.name} is whole")
    (listed,) = shell("backup", "list", "backups", "--json").json["backups"]
    assert (listed["file"], listed["created_at"]) == (str(file), told["created_at"])
    status = shell("status", "--json").json["backup"]
    assert (status["file"], status["error"], status["lost"]) == (str(file), None, 1)


def test_options_may_stand_before_the_name_of_the_command(shell: Shell, tmp_path: Path) -> None:
    config = str(tmp_path / "home" / "config.json")

    listed = shell("backup", "--json", "--config", config, "list", "backups")

    assert listed.json == {"directory": str(tmp_path / "backups"), "backups": []}
    assert not (tmp_path / "list").exists()


def test_an_interrupted_restore_is_finished_before_the_config_is_read(shell: Shell, tmp_path: Path) -> None:
    home, draft = tmp_path / "home", tmp_path / "home" / ".restore-01234567"
    draft.mkdir()
    (home / "config.json").rename(draft / "config.json")
    pending.write_plan(home, [pending.Move(str(draft / "config.json"), str(home / "config.json"))], [draft])

    made = shell("backup", "backups", "--json")

    assert made.json["variables"] == ["RESTORED_WEBHOOKS_SECRET"]


def test_nobody_else_may_read_the_copy_of_the_database_meanwhile(tmp_path: Path) -> None:
    place = make_installation(tmp_path / "home")
    before = os.umask(0o022)
    try:
        databases.copy_for_archive(place, tmp_path / "copy", lambda: None)
    finally:
        os.umask(before)

    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600


def test_without_a_place_it_is_made_where_the_settings_say(shell: Shell, tmp_path: Path) -> None:
    assert shell("backup", "--no-workspaces", "--json").json["file"].startswith(str(tmp_path / "home" / "backups"))

    elsewhere = {"MOONGATE_BACKUP_DIRECTORY": str(tmp_path / "elsewhere")}
    assert shell("backup", "--json", env=elsewhere).json["file"].startswith(str(tmp_path / "elsewhere"))


def test_a_file_that_is_named_gets_the_secrets_if_asked_for(shell: Shell, tmp_path: Path) -> None:
    made = shell("backup", "all.tar.gz", "--secrets", "--json")

    assert (made.json["file"], made.json["variables"]) == (str(tmp_path / "all.tar.gz"), [])
    assert set(made.json["parts"]) >= {"secrets", "database", "workspaces"}
    again = shell("backup", "all.tar.gz")
    assert (again.code, "already" in again.err) == (1, True)
    assert shell("status", "--json").json["backup"]["error"] is None
    (tmp_path / "home" / "data" / "moongate.db").unlink()
    assert shell("backup").code == 78
    assert "there is no database" in shell("status", "--json").json["backup"]["error"]


def test_a_backup_that_is_killed_leaves_nothing_that_looks_like_one(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "backups").mkdir()
    before = list_tree(tmp_path / "home")
    killed = 0
    for step in (1, 2, 9, 15, 17):
        done = run_killed(shell, STEPS_OF_BACKUP, step, "backup", "backups")
        killed += done.returncode == -signal.SIGKILL
        for file in (tmp_path / "backups").iterdir():
            if not file.name.startswith("."):
                verify(file)  # it was killed after it was whole
                file.unlink()
    assert killed >= 4

    made = shell("backup", "backups", "--json")

    assert os.listdir(tmp_path / "backups") == [os.path.basename(made.json["file"])]
    after = list_tree(tmp_path / "home")
    assert {name for name in after if before.get(name) != after[name]} <= {
        "backup-status.json",
        "data/gateway.lock",
        "data/moongate.db-shm",  # any reader of the database makes it
        "data/moongate.db-wal",
    }


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a few hundred kilobytes."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("this machine does not let a test mount a disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_told_and_nothing_is_left_on_it(shell: Shell, small_disk: Path) -> None:
    made = shell("backup", str(small_disk))

    assert made.code == 1
    assert "full" in made.err
    assert "Free some space" in made.err
    assert os.listdir(small_disk) == []


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_backup_that_is_stopped_leaves_nothing(shell: Shell, tmp_path: Path, name: str) -> None:
    done = run_killed(shell, STEPS_OF_BACKUP, 7, "backup", "backups", sent=name)

    assert (done.returncode, os.listdir(tmp_path / "backups")) == (130, [])
    assert "no backup was made" in done.stderr


def test_a_postgresql_database_is_dumped_and_its_password_is_not_shown(shell: Shell, tmp_path: Path) -> None:
    url = postgres.shared_server().url(postgres.create_database())
    server = {"MOONGATE_STORE_URL": url}

    made = shell("backup", "backups", "--json", env=server)

    assert made.code == 0, made.err
    restored = shell("restore", made.json["file"], "--json", env={"MOONGATE_HOME": str(tmp_path / "new")})
    assert restored.code == 0, restored.err
    with open(restored.json["dump"], "rb") as dump:
        assert dump.read(5) == b"PGDMP"
    loaded = postgres.shared_server().url(postgres.create_database())
    command = ["pg_restore", "--clean", "--if-exists", "--exit-on-error", f"--dbname={loaded}", restored.json["dump"]]
    subprocess.run(command, check=True)
    opening.prepare_database(loaded, wall_clock)
    bare = {"PATH": str(tmp_path)}
    missing = Shell(shell.env | bare, tmp_path)("backup", "backups", env=server)
    assert (missing.code, "--no-database" in missing.err) == (78, True)
