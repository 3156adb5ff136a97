"""The work tree of a clone: which commits an update goes between, and what it refuses."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cli.update import clone, environment, release
from cli.update.installation import Installation, Kind
from gateway.errors import Conflict, NotFound, Unavailable


def _git(place: Path, *words: str) -> str:
    own = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *own, *words], cwd=place, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def site(tmp_path: Path) -> Installation:
    """A clone at version 0.2.0 of a repository that also has 0.3.0."""
    origin, root = tmp_path / "origin", tmp_path / "clone"
    origin.mkdir()
    _git(origin, "init", "--quiet")
    for version in ("0.2.0", "0.3.0"):
        (origin / "version").write_text(version)
        _git(origin, "add", "version")
        _git(origin, "commit", "--quiet", "--message", version)
        _git(origin, "tag", f"v{version}")
    _git(tmp_path, "clone", "--quiet", str(origin), str(root))
    _git(root, "checkout", "--quiet", "v0.2.0")
    return Installation(Kind.CLONE, root / ".venv", root)


def test_a_clone_knows_the_versions_that_are_tagged(site: Installation) -> None:
    assert sorted(release.list_tags(site.source, os.environ)) == ["0.2.0", "0.3.0"]


def test_a_remote_that_is_gone_is_said(site: Installation) -> None:
    _git(site.source, "remote", "set-url", "origin", str(site.source.parent / "gone"))
    with pytest.raises(Unavailable, match="git fetch failed"):
        release.list_tags(site.source, os.environ)


def test_a_checkout_goes_to_the_tag_and_back(site: Installation) -> None:
    before, after = clone.read_commits(site, "0.3.0", os.environ, None)
    clone.check_out(site, after)
    assert (site.source / "version").read_text() == "0.3.0"
    assert clone.read_commits(site, "0.2.0", os.environ, before) == (after, before)
    clone.check_out(site, before)
    assert (site.source / "version").read_text() == "0.2.0"


def test_a_checkout_that_was_killed_is_begun_again(site: Installation) -> None:
    _, after = clone.read_commits(site, "0.3.0", os.environ, None)
    (site.source / "version").write_text("half")
    (site.source / ".git/index.lock").write_text("")
    clone.check_out(site, after)
    assert (site.source / "version").read_text() == "0.3.0"


def test_changes_that_are_not_committed_are_refused(site: Installation) -> None:
    (site.source / "version").write_text("mine")
    with pytest.raises(Conflict, match=r"changes that are not committed: version\."):
        clone.read_commits(site, "0.3.0", os.environ, None)
    assert (site.source / "version").read_text() == "mine"


def test_a_version_without_a_tag_is_refused(site: Installation) -> None:
    with pytest.raises(NotFound, match=r"no version 9\.9\.9"):
        clone.read_commits(site, "9.9.9", os.environ, None)


def test_the_files_of_a_commit_are_there_for_a_trial_only(site: Installation) -> None:
    _, after = clone.read_commits(site, "0.3.0", os.environ, None)
    with clone.unpack_source(site, after) as source:
        assert source is not None
        assert (source / "version").read_text() == "0.3.0"
    assert not source.exists()
    assert (site.source / "version").read_text() == "0.2.0"


def test_the_copy_of_a_clone_has_its_packages(site: Installation) -> None:
    for package in environment.SOURCE_PACKAGES:
        (site.source / package).mkdir()
        (site.source / package / "module.py").write_text(package)
    place = site.environment / "lib/python3.11/site-packages"
    place.mkdir(parents=True)
    (place / "own.pth").write_text(f"{site.source}\n")
    environment.keep_copy(site)
    kept = environment.kept_copy(site)
    found = Path((kept / "lib/python3.11/site-packages/own.pth").read_text().strip())
    assert (found / "cli/module.py").read_text() == "cli"
    assert (place / "own.pth").read_text() == f"{site.source}\n"
