"""A process goes on with the version that it started with, although another one was put in its place."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.update import environment, kept_environment
from cli.update.exchange import exchange_directories, restore_after_kill
from cli.update.installation import Installation, Kind
from gateway.process.own_environment import identify_directory, is_same_directory
from harness.waiting import PATIENCE

ROOT = Path(__file__).parent.parent.parent
#: imports a module, a submodule and finds a file and its interpreter when it is told to
PROCESS = """
import sys
from pathlib import Path
import package
from gateway.process import own_environment
if sys.argv[1] == "keeps":
    own_environment.keep_own_environment()
print("started", flush=True)
sys.stdin.readline()
import late
import package.part
text = own_environment.find_own_path(Path(package.__file__).with_name("text")).read_text()
print(late.VERSION, package.part.VERSION, text, own_environment.find_own_executable(), flush=True)
"""


def _write_packages(environment_: Path, version: str) -> None:
    place = next(environment_.glob("lib/python3*/site-packages"))
    (place / "package").mkdir()
    (place / "package/__init__.py").write_text("")
    (place / "package/text").write_text(version)
    (place / "package/part.py").write_text(f"VERSION = {version!r}")
    (place / "late.py").write_text(f"VERSION = {version!r}")


@pytest.fixture
def site(tmp_path: Path) -> Installation:
    found = Installation(Kind.VENV, tmp_path / "venv", tmp_path / "venv")
    for place, version in ((found.environment, "old"), (found.candidate, "new")):
        venv.create(place, symlinks=True)
        _write_packages(place, version)
    return found


@pytest.fixture
def started(site: Installation, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    env = {"PYTHONPATH": os.pathsep.join([str(ROOT), *(path for path in sys.path if "site-packages" in path)])}
    words = [site.environment / "bin/python", "-c", PROCESS, request.param]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, env=env, text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            assert process.stdout.readline() == "started\n"
            yield process
        finally:
            process.kill()


def _say(process: subprocess.Popen[str]) -> list[str]:
    said, _ = process.communicate("go\n", timeout=PATIENCE)
    return said.split()


@pytest.mark.parametrize("started", ["keeps"], indirect=True)
def test_a_running_process_imports_late_what_it_started_with(
    site: Installation, started: subprocess.Popen[str]
) -> None:
    kept_environment.keep_copy(site)
    exchange_directories(site.environment, site.candidate)
    environment.remove_directory(site.candidate)
    assert _say(started) == ["old", "old", "old", str(kept_environment.kept_copy(site) / "bin/python")]


@pytest.mark.parametrize("started", ["forgets"], indirect=True)
def test_a_process_that_keeps_nothing_would_mix_the_versions(
    site: Installation, started: subprocess.Popen[str]
) -> None:
    kept_environment.keep_copy(site)
    exchange_directories(site.environment, site.candidate)
    assert _say(started)[0] == "new"


@pytest.mark.parametrize("started", ["keeps"], indirect=True)
def test_a_copy_of_another_environment_is_not_used(site: Installation, started: subprocess.Popen[str]) -> None:
    exchange_directories(site.environment, site.candidate)
    kept_environment.keep_copy(site)  # of the new one
    assert _say(started)[0] == "new"


@pytest.mark.parametrize("started", ["keeps"], indirect=True)
def test_without_an_update_nothing_changes(site: Installation, started: subprocess.Popen[str]) -> None:
    assert _say(started) == ["old", "old", "old", str(site.environment / "bin/python")]


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_an_exchange_by_renames_that_was_killed_is_undone_or_completed(tmp_path: Path, moved: int) -> None:
    one, other, aside = tmp_path / "one", tmp_path / "other", tmp_path / "one.aside"
    for place in (one, other):
        place.mkdir()
        (place / "name").write_text(place.name)
    for source, target in [(one, aside), (other, one)][:moved]:
        source.rename(target)
    restore_after_kill(one, other)
    said = ((one / "name").read_text(), (other / "name").read_text())
    assert said == (("other", "one") if moved == 2 else ("one", "other"))
    assert not aside.exists()


def test_another_environment_with_the_number_of_a_removed_one_is_another(site: Installation) -> None:
    config = site.environment / "pyvenv.cfg"
    before = identify_directory(site.environment)
    os.utime(config, ns=(1, 1))
    assert identify_directory(site.environment) != before


def test_a_disk_that_has_another_number_after_a_start_has_the_same_directories() -> None:
    assert is_same_directory("65024:1234:9", "65030:1234:9")
    assert not is_same_directory("65024:1234:9", "65024:1235:9")
