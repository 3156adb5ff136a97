"""The parts of an update that are different in a clone of the repository: tags, lock files and a work tree."""

from __future__ import annotations

import contextlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from cli.update import release
from cli.update.installation import Installation, Kind
from cli.update.tools import INDEX_TIMEOUT_SECONDS, Done, Installer, run_program
from gateway.errors import Conflict, GatewayError

#: the packages of an installation, in a clone
LOCK_FILE = "requirements.lock"


def read_commits(site: Installation, version: str, env: Mapping[str, str]) -> tuple[str, str]:
    """Return the present commit and that of a version.

    Raises:
        Conflict: the work tree has changes.
        NotFound: there is no such version.
    """
    changes = _git(site, "status", "--porcelain", "--untracked-files=no").out.strip()
    if changes:
        raise Conflict(
            f"{site.source} has changes that are not committed: {', '.join(changes.split()[1::2][:5])}.",
            remedy="Commit them, or undo them, and run it again.",
        )
    tag = release.find_tag(site.source, version, env)
    return _git(site, "rev-parse", "HEAD").out.strip(), _git(site, "rev-parse", f"{tag}^{{commit}}").out.strip()


def check_out(site: Installation, commit: str) -> None:
    """Put a commit into the work tree; a checkout that was killed is begun again.

    Raises:
        GatewayError: that is impossible.
    """
    (site.source / ".git" / "index.lock").unlink(missing_ok=True)  # of the checkout that was killed
    done = _git(site, "checkout", "--quiet", "--force", "--detach", commit)
    if done.code != 0:
        raise GatewayError(f"git checkout {commit} failed in {site.source}: {done.last_words}")


def _git(site: Installation, *words: str) -> Done:
    return run_program(["git", "-C", site.source, *words], os.environ, INDEX_TIMEOUT_SECONDS)


def install_packages(site: Installation, commit: str, installer: Installer) -> None:
    """Install into the copied environment what the lock file of a commit names.

    Raises:
        GatewayError: that is impossible.
    """
    lock = _git(site, "show", f"{commit}:{LOCK_FILE}")
    if lock.code != 0:
        raise GatewayError(f"{LOCK_FILE} of {commit} cannot be read: {lock.last_words}")
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / LOCK_FILE
        file.write_text(lock.out)
        done = installer.install("--require-hashes", "-r", str(file))
    if done.code != 0:
        raise GatewayError(f"the packages of {commit} cannot be installed: {done.last_words}")


@contextlib.contextmanager
def find_packages(site: Installation, commit: str | None, env: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """Return the environment in which the Python of the other version finds its packages.

    Elsewhere than in a clone they are in its environment.
    """
    if site.kind is not Kind.CLONE or commit is None:
        yield env
        return
    with tempfile.TemporaryDirectory() as directory:
        archive = Path(directory) / "packages.tar"
        made = _git(site, "archive", "--format=tar", f"--output={archive}", commit)
        if made.code != 0:
            raise GatewayError(f"the files of {commit} cannot be read: {made.last_words}")
        with tarfile.open(archive) as packed:
            packed.extractall(directory, filter="data")
        yield {**env, "PYTHONPATH": directory}
        shutil.rmtree(directory, ignore_errors=True)
