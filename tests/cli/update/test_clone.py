"""The work tree of a clone: which commits an update goes between, and what it refuses."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import gateway
from cli import main, output
from cli.commands import update
from cli.instance import Instance
from cli.update import clone, journal, kept_environment, recovery, release
from cli.update.installation import Installation, Kind
from cli.update.journal import Journal, Step
from gateway.errors import Conflict, GatewayError, NotFound, Unavailable
from gateway.process.own_environment import identify_directory


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


@pytest.mark.parametrize("words", [["update", "--check"], ["update"]])
def test_a_clone_without_tags_says_so_and_where_they_come_from(
    site: Installation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
) -> None:
    for place in (site.source.parent / "origin", site.source):
        _git(place, "tag", "--delete", "v0.2.0", "v0.3.0")
    site.environment.mkdir()
    for name, value in (("HOME", tmp_path), ("MOONGATE_HOME", tmp_path / "home")):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(update, "_find_site", lambda _: site)
    monkeypatch.setattr(update, "keep_own_environment", lambda: None)
    assert main.main(words) == 0
    said = capsys.readouterr().out
    assert "this clone has no tags of releases (such as v0.3.0)" in said
    assert f"git -C {site.source} fetch URL --tags" in said


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
    before, after = clone.read_commits(site, "0.3.0", os.environ, None)
    (site.source / "version").write_text("half")
    (site.source / ".git/index.lock").write_text("")
    clone.check_out_again(site, before, after)
    assert (site.source / "version").read_text() == "0.2.0"
    assert clone.list_changes(site, before) == []


def test_a_checkout_that_was_killed_before_its_last_step_is_undone(site: Installation) -> None:
    before, after = clone.read_commits(site, "0.3.0", os.environ, None)
    _git(site.source, "read-tree", "-u", "--reset", after)  # all but the move of HEAD
    clone.check_out_again(site, before, after)
    assert (site.source / "version").read_text() == "0.2.0"


@pytest.mark.parametrize("is_committed", [False, True])
def test_work_in_a_clone_since_the_interruption_is_not_overwritten(site: Installation, is_committed: bool) -> None:
    before, after = clone.read_commits(site, "0.3.0", os.environ, None)
    (site.source / "version").write_text("mine")
    if is_committed:
        _git(site.source, "commit", "--quiet", "--all", "--message", "mine")
    with pytest.raises(Conflict, match="was interrupted, and the clone"):
        clone.check_out_again(site, before, after)
    assert (site.source / "version").read_text() == "mine"


def test_a_change_that_was_made_meanwhile_is_not_overwritten(site: Installation) -> None:
    _, after = clone.read_commits(site, "0.3.0", os.environ, None)
    (site.source / "version").write_text("mine")
    with pytest.raises(GatewayError, match="git checkout"):
        clone.check_out(site, after)
    assert (site.source / "version").read_text() == "mine"


def _interrupt(site: Installation, home: Path, step: Step) -> tuple[Instance, str]:
    """Leave the journal of an update to 0.3.0 at some step; return whose it is, and the commit of that version."""
    before, after = clone.read_commits(site, "0.3.0", os.environ, None)
    site.environment.mkdir()
    home.mkdir()
    found = Journal(
        step=step,
        environment=str(site.environment),
        identity=identify_directory(site.environment),
        from_version="0.2.0",
        to_version="0.3.0",
        began=1,
        from_commit=before,
        to_commit=after,
    )
    journal.write_journal(home, found)
    return Instance(home, home / "config.json", {"MOONGATE_HOME": str(home)}), after


def test_an_update_that_was_interrupted_while_it_built_leaves_the_work_tree_alone(
    site: Installation, tmp_path: Path
) -> None:
    instance, _ = _interrupt(site, tmp_path / "home", Step.BUILD)
    (site.source / "version").write_text("mine")
    with output.show_waiting("") as told:
        assert recovery.recover(instance, site, told, 0.0) is None
    assert (site.source / "version").read_text() == "mine"
    assert journal.read_journal(instance.home) is None


def test_a_checkout_that_is_undone_asks_for_another_run(
    site: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance, after = _interrupt(site, tmp_path / "home", Step.EXCHANGE)
    clone.check_out(site, after)
    monkeypatch.setattr(gateway, "__version__", "0.3.0")  # the process began after the checkout
    with output.show_waiting("") as told, pytest.raises(GatewayError, match=r"is undone: version 0\.2\.0 is in place"):
        recovery.recover(instance, site, told, 0.0)
    assert (site.source / "version").read_text() == "0.2.0"
    assert journal.read_journal(instance.home) is None


def test_a_file_that_git_does_not_know_is_not_overwritten(site: Installation) -> None:
    _git(site.source, "checkout", "--quiet", "v0.3.0")
    (site.source / "more").write_text("theirs")
    _git(site.source, "add", "more")
    _git(site.source, "commit", "--quiet", "--message", "0.4.0")
    _git(site.source, "tag", "v0.4.0")
    _git(site.source, "checkout", "--quiet", "v0.2.0")
    (site.source / "more").write_text("mine")
    with pytest.raises(Conflict, match=r"not in its commits: more\."):
        clone.read_commits(site, "0.4.0", os.environ, None)
    assert (site.source / "more").read_text() == "mine"


def test_git_that_fails_is_said(site: Installation) -> None:
    (site.source / ".git/HEAD").write_text("nonsense")
    with pytest.raises(GatewayError, match="git rev-parse failed"):
        clone.read_commits(site, "0.3.0", os.environ, None)


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
    for package in kept_environment.SOURCE_PACKAGES:
        (site.source / package).mkdir()
        (site.source / package / "module.py").write_text(package)
    place = site.environment / "lib/python3.11/site-packages"
    place.mkdir(parents=True)
    (place / "own.pth").write_text(f"{site.source}\n")
    kept_environment.keep_copy(site)
    kept = kept_environment.kept_copy(site)
    found = Path((kept / "lib/python3.11/site-packages/own.pth").read_text().strip())
    assert (found / "cli/module.py").read_text() == "cli"
    assert (place / "own.pth").read_text() == f"{site.source}\n"


def test_commits_of_ones_own_are_named(site: Installation) -> None:
    before, after = clone.read_commits(site, "0.3.0", os.environ, None)
    assert clone.name_own_commits(site, before, after) == []
    (site.source / "version").write_text("mine")
    _git(site.source, "commit", "--quiet", "--all", "--message", "mine")
    own = _git(site.source, "rev-parse", "HEAD")
    assert f"git log {own[:12]}" in clone.name_own_commits(site, own, after)[0]
