"""The parts of an update that are different in a clone of the repository: tags, lock files and a work tree."""

from __future__ import annotations

import contextlib
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from cli.update import release
from cli.update.installation import Installation
from cli.update.tools import INDEX_TIMEOUT_SECONDS, Done, Installer, run_program
from gateway.errors import Conflict, GatewayError

#: the packages of an installation, in a clone
PACKAGES_LOCK_FILE = "requirements.lock"
#: file in the environment of a clone, with the checksum of what was installed
STAMP_FILE = "prepared"


def read_commits(site: Installation, version: str, env: Mapping[str, str], former: str | None) -> tuple[str, str]:
    """Return the present commit and that of a version.

    Args:
        former: the commit from before the last update, to go back to that.

    Raises:
        Conflict: the work tree has changes, or files that are in the way.
        NotFound: there is no such version.
        GatewayError: git fails.
    """
    present = _ask_git(site, "rev-parse", "HEAD").strip()
    if changed := list_changes(site, present):
        raise Conflict(
            f"{site.source} has changes that are not committed: {', '.join(changed[:5])}.",
            remedy="Commit them, or undo them, and run it again.",
        )
    other = former or f"{release.find_tag(site.source, version, env)}^{{commit}}"
    wanted = _ask_git(site, "rev-parse", "--verify", f"{other}^{{commit}}").strip()
    untracked = set(_ask_git(site, "ls-files", "--others", "-z").split("\0"))
    if hidden := sorted(
        untracked & set(_ask_git(site, "ls-tree", "-r", "-z", "--name-only", wanted).split("\0")) - {""}
    ):
        raise Conflict(
            f"version {version} has files that are in {site.source} already, but not in its commits:"
            f" {', '.join(hidden[:5])}.",
            remedy="Move them away, and run it again.",
        )
    return present, wanted


def list_changes(site: Installation, commit: str) -> list[str]:
    """Return the files of the work tree that are not as in a commit, without those that git does not know.

    Raises:
        GatewayError: git fails.
    """
    return [name for name in _ask_git(site, "diff", "--name-only", "-z", commit).split("\0") if name]


def name_own_commits(site: Installation, before: str, after: str) -> list[str]:
    """Return a sentence about commits of the clone that the other version has not; nothing if it has all.

    Raises:
        GatewayError: git fails.
    """
    count = int(_ask_git(site, "rev-list", "--count", f"{after}..{before}"))
    said = f"{count:,} commits of {before[:12]} are not in this version. They are still there: git log {before[:12]}"
    return [said] if count else []


def check_out(site: Installation, commit: str) -> None:
    """Put a commit into the work tree. What somebody has changed there meanwhile is not overwritten.

    Raises:
        GatewayError: that is impossible; the work tree is as it was.
    """
    done = _git(site, "checkout", "--quiet", "--detach", commit)
    if done.code != 0:
        raise GatewayError(f"git checkout {commit} failed in {site.source}: {done.last_words}")


def check_out_again(site: Installation, commit: str, other: str) -> None:
    """Put a commit into the work tree, also after a checkout from one commit to another that was killed.

    Args:
        other: the other one of the two.

    Raises:
        Conflict: the clone was changed since then; nothing is overwritten.
        GatewayError: that is impossible.
    """
    present = _ask_git(site, "rev-parse", "HEAD").strip()
    lock = site.source / _ask_git(site, "rev-parse", "--git-path", "index.lock").strip()
    was_killed = lock.exists()
    if present == commit and not was_killed and not list_changes(site, commit):
        return
    if present not in (commit, other):
        raise _refuse_changed(site, commit, f"is at {present[:12]} now")
    if not was_killed and (changed := _list_foreign_changes(site, commit, other)):
        raise _refuse_changed(site, commit, f"has changes that are not committed: {', '.join(changed[:5])}")
    lock.unlink(missing_ok=True)
    done = _git(site, "checkout", "--quiet", "--force", "--detach", commit)
    if done.code != 0:
        raise GatewayError(f"git checkout {commit} failed in {site.source}: {done.last_words}")


def _list_foreign_changes(site: Installation, one: str, other: str) -> list[str]:
    """Return the files that are as in neither commit: the checkout did not make them."""
    return sorted({*list_changes(site, one)} & {*list_changes(site, other)})


def _refuse_changed(site: Installation, commit: str, what: str) -> Conflict:
    return Conflict(
        f"an update of {site.source} was interrupted, and the clone {what}.",
        remedy=f"Commit your changes to a branch, then: git -C {site.source} checkout {commit[:12]} && gateway update",
    )


def _ask_git(site: Installation, *words: str) -> str:
    """Return what git prints.

    Raises:
        GatewayError: it fails.
    """
    done = _git(site, *words)
    if done.code != 0:
        raise GatewayError(
            f"git {words[0]} failed in {site.source}: {done.last_words}", remedy=f"See: git -C {site.source} status"
        )
    return done.out


def _git(site: Installation, *words: str) -> Done:
    return run_program(["git", "-C", site.source, *words], os.environ, INDEX_TIMEOUT_SECONDS)


def install_packages(site: Installation, source: Path, installer: Installer) -> None:
    """Install into the copied environment what the lock file of the other version names, and that version itself.

    Args:
        source: the files of the other version; the environment will refer to the clone in their place.

    Raises:
        GatewayError: that is impossible.
    """
    for words in (["--require-hashes", "-r", str(source / PACKAGES_LOCK_FILE)], ["--no-deps", "-e", str(source)]):
        done = installer.install(*words)
        if done.code != 0:
            raise GatewayError(f"its packages cannot be installed: {done.last_words}", remedy="Nothing has changed.")
    for place in site.candidate.glob("lib/python3*/site-packages"):
        for file in (*place.glob("*.pth"), *place.glob("moongate-*.dist-info/direct_url.json")):
            file.write_text(file.read_text().replace(str(source), str(site.source)))
    _write_stamp(site, source)


def _write_stamp(site: Installation, source: Path) -> None:
    """Note for `scripts/` which packages are installed, as scripts/environment.sh does."""
    command = f"cat {PACKAGES_LOCK_FILE} pyproject.toml | cksum"
    done = run_program(["/bin/sh", "-c", command], os.environ, INDEX_TIMEOUT_SECONDS, cwd=source)
    if done.code == 0:
        (site.candidate / STAMP_FILE).write_text(f"{PACKAGES_LOCK_FILE} {done.out.strip()}\n")


@contextlib.contextmanager
def unpack_source(site: Installation, commit: str | None) -> Iterator[Path | None]:
    """Yield a directory with the files of a commit, while the block runs; None if this is no clone.

    Raises:
        GatewayError: they cannot be read.
    """
    if commit is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="moongate-") as directory:
        archive = Path(directory) / "packages.tar"
        made = _git(site, "archive", "--format=tar", f"--output={archive}", commit)
        if made.code != 0:
            raise GatewayError(f"the files of {commit} cannot be read: {made.last_words}")
        source = Path(directory) / "source"
        with tarfile.open(archive) as packed:
            packed.extractall(source, filter="data")
        yield source
