"""`gateway update` is killed with SIGKILL at each step, or finds a full disk: a gateway serves, and nothing is half."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from cli.update import journal
from cli.update.journal import Step
from harness.releases import Installed, Lab
from harness.waiting import PATIENCE, until_sync

pytestmark = pytest.mark.slow


def _kill_update_when(installed: Installed, version: str, due: Callable[[], object]) -> None:
    """Begin an update, and kill it when a condition holds."""
    words = installed.command("update", "--version", version, "--watch", "20s", "--no-trial")
    with subprocess.Popen(
        words, env=installed.env, cwd=installed.home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as update:
        until_sync(lambda: due() or update.poll() is not None, "the step has come", within=300)
        assert update.poll() is None, "the update ended before it could be killed"
        update.kill()


def _step(installed: Installed) -> Step | None:
    found = journal.read_journal(installed.home)
    return None if found is None else found.step


def _go_on(installed: Installed) -> None:
    """Let the next command say what was interrupted, and end it."""
    said = installed.run("start")
    assert (said.code, "was interrupted" in said.err) == (0, True), said
    assert "interrupted" in installed.run("doctor", "--json").out


def _left(installed: Installed) -> set[str]:
    return {path.name for path in installed.environment.parent.iterdir()} - {"home", "venv", "venv.before-update"}


def test_an_update_that_is_killed_while_it_builds_has_changed_nothing(lab: Lab, installed: Installed) -> None:
    lab.add_release("0.3.0", "migrates")
    assert installed.run("start").code == 0
    _kill_update_when(
        installed,
        "0.3.0",
        lambda: _step(installed) is Step.BUILD and installed.environment.with_name("venv.update").exists(),
    )
    assert installed.version == "0.2.0"
    _go_on(installed)
    done = installed.run("update", "--version", "0.3.0", "--watch", "1s")
    assert (done.code, installed.version, _left(installed)) == (0, "0.3.0", set()), done


def test_an_update_that_is_killed_at_the_exchange_is_finished_or_undone(lab: Lab, installed: Installed) -> None:
    lab.add_release("0.3.0", "migrates")
    assert installed.run("start").code == 0
    task = installed.accept("before")
    _kill_update_when(installed, "0.3.0", lambda: _step(installed) is Step.EXCHANGE)
    assert installed.version in ("0.2.0", "0.3.0")
    _go_on(installed)
    done = installed.run("update", "--watch", "1s", "--version", "0.3.0")
    assert (done.code, installed.version, _left(installed)) == (0, "0.3.0", set()), done
    assert installed.call("GET", f"/api/tasks/{task}").status == 200
    assert journal.read_journal(installed.home) is None


def test_an_update_that_is_killed_on_its_way_back_goes_all_the_way(lab: Lab, installed: Installed) -> None:
    lab.add_release("0.4.7", "migrates", "dies migrated")
    assert installed.run("start").code == 0
    task = installed.accept("before")
    _kill_update_when(installed, "0.4.7", lambda: _step(installed) is Step.RETURN)
    done = installed.run("update", "--watch", "1s")
    assert (done.code, installed.version, _left(installed)) == (1, "0.2.0", set()), done
    assert "0.4.7 does not serve" in done.err
    assert installed.call("GET", f"/api/tasks/{task}").status == 200


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for one environment."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root may mount a small disk")
    directory = tmp_path / "small"
    directory.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=110m", "tmpfs", str(directory)]
    if (tried := subprocess.run(words, check=False, capture_output=True, text=True, timeout=PATIENCE)).returncode:
        pytest.skip(f"a small disk cannot be mounted here: {tried.stderr.strip()}")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True, timeout=PATIENCE)


def test_a_full_disk_leaves_everything_as_it_was(lab: Lab, index: Mapping[str, str], small_disk: Path) -> None:
    lab.add_release("0.3.0")
    installed = Installed(lab, small_disk, index)
    try:
        assert installed.run("start").code == 0
        done = installed.run("update", "--version", "0.3.0", "--watch", "1s", "--json")
        assert done.code != 0
        assert done.json["error"]["code"] == "STORAGE_FULL", done
        assert "Nothing has changed" in done.json["error"]["message"]
        assert (installed.version, _left(installed), journal.read_journal(installed.home)) == ("0.2.0", set(), None)
        assert installed.run("--version").out.split()[-1] == "0.2.0"
    finally:
        installed.close()
