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
        Conflict: the work tree has changes.
        NotFound: there is no such version.
    """
    changes = _git(site, "status", "--porcelain", "--untracked-files=no").out.strip()
    if changes:
        raise Conflict(
            f"{site.source} has changes that are not committed: {', '.join(changes.split()[1::2][:5])}.",
            remedy="Commit them, or undo them, and run it again.",
        )
    other = former or f"{release.find_tag(site.source, version, env)}^{{commit}}"
    return _git(site, "rev-parse", "HEAD").out.strip(), _git(site, "rev-parse", other).out.strip()


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
