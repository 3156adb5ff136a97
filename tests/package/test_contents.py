"""The wheel and the source distribution have all that the program needs, and nothing else."""

from __future__ import annotations

import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

import gateway

ROOT = Path(__file__).parent.parent.parent
#: what helps those who work on the dashboard, and nobody who uses it
_FOR_WORK = {"gateway/web/api.d.ts", "gateway/web/jsconfig.json"}

pytestmark = pytest.mark.slow


def _list_files(*folders: str) -> set[str]:
    """Return the files of the folders that git knows, as paths from the root."""
    done = subprocess.run(["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines())


def test_the_wheel_has_every_file_of_the_program_and_no_other(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        members = set(archive.namelist())
    about = {name for name in members if name.startswith(f"moongate-{gateway.__version__}.")}

    assert members - about == _list_files("gateway", "cli", "service_templates") - _FOR_WORK
    assert {name.partition("/")[2] for name in about} == {
        *("METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt", "licenses/LICENSE"),
        *(f"data/share/doc/moongate/{name}" for name in (".env.example", "CHANGELOG.md", "config.example.json")),
    }


def test_each_file_of_the_wheel_is_that_of_the_tree(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        other = [
            name
            for name in archive.namelist()
            if not name.startswith("moongate-") and archive.read(name) != (ROOT / name).read_bytes()
        ]

    assert other == []


def test_the_source_distribution_builds_without_tests_and_tools(source: Path) -> None:
    with tarfile.open(source) as archive:
        members = {name.partition("/")[2] for name in archive.getnames()}

    assert _list_files("gateway", "cli", "service_templates") - _FOR_WORK <= members
    assert {name for name in _list_files("docs") if not name.endswith((".png", ".py"))} <= members
    assert {name.partition("/")[0] for name in members} - {""} == {
        *("gateway", "cli", "service_templates", "docs", "moongate.egg-info", "PKG-INFO", "setup.cfg"),
        *(".env.example", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "README.md"),
        *("config.example.json", "pyproject.toml", "requirements.lock"),
    }


def test_the_same_commit_gives_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([ROOT / "scripts/package", tmp_path], check=True, capture_output=True)

    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()
