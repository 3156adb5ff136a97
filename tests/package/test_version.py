"""One line says the version, and what else names it agrees: the changelog, the promises of releases, the migrations."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

import gateway
from gateway.api import openapi, routing
from tests.wire import names, promises

ROOT = Path(__file__).parent.parent.parent
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
#: (version, what follows it in the heading, text) of the sections of the changelog, newest first
SECTIONS = re.findall(r"^## (\S+)(.*)\n((?:(?!## ).*\n?)*)", CHANGELOG, re.MULTILINE)


def test_the_package_reads_its_version_from_the_code() -> None:
    assert "version" not in PROJECT["project"]
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["setuptools"]["dynamic"] == {"version": {"attr": "gateway.__version__"}}
    assert openapi.build_document(routing.discover_routes())["info"]["version"] == gateway.__version__


def test_no_other_file_of_the_program_states_the_version() -> None:
    folders = ("gateway", "cli", "service_templates", "packages", "scripts")
    files = [ROOT / "pyproject.toml", *(file for folder in folders for file in (ROOT / folder).rglob("*"))]
    sources = [file for file in files if "__pycache__" not in file.parts and file.is_file()]
    stating = [file for file in sources if f'"{gateway.__version__}"'.encode() in file.read_bytes()]

    assert stating == [ROOT / "gateway" / "__init__.py"]


def test_the_changelog_has_the_releases_from_the_newest_to_the_oldest() -> None:
    heading, *released = SECTIONS

    assert heading[0] == "Unreleased"
    assert released[0][0] == gateway.__version__
    versions = [tuple(map(int, version.split("."))) for version, _, _ in released]
    assert versions == sorted(versions, reverse=True)
    assert date.fromisoformat(released[0][1].removeprefix(" - ")) <= datetime.now(tz=UTC).date(), (
        "a release has its date"
    )


def test_what_a_release_promises_is_written_down_with_it() -> None:
    assert gateway.__version__ in promises.releases(), f"run: python -m tests.wire {gateway.__version__}"


def test_the_migrations_are_those_of_the_release_unless_the_next_one_has_begun() -> None:
    promised = promises.read(gateway.__version__, "database")
    now = {f"migration {name}": checksum for name, checksum in names.migrations()}
    released = {name: value for name, value in promised.items() if name.startswith("migration ")}

    assert {name: now.get(name) for name in released} == released, "a released migration is never edited"
    unreleased = SECTIONS[0][2].strip()
    assert unreleased or now == released, f"run: python -m tests.wire {gateway.__version__}"


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_a_page_names_no_file_of_one_version_only(page: Path) -> None:
    assert re.findall(r"moongate[-_]\d+\.\d+\.\d+", page.read_text()) == []
