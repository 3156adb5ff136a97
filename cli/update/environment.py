"""Makes the environment of the other version next to the present one, and exchanges the two.

The other version is built in a whole copy: what else is installed there, such as plugins, stays.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

import msgspec

from cli.update import clone
from cli.update.exchange import exchange_directories, restore_after_kill
from cli.update.installation import Installation, Kind
from cli.update.journal import Journal
from cli.update.origin import DIRECT_URL_FILE, DISTRIBUTION, Origin
from cli.update.tools import PROGRAM_TIMEOUT_SECONDS, Done, Installer, interpreter_of, run_program
from gateway.errors import Conflict, GatewayError
from gateway.process.own_environment import identify_directory, is_same_directory
from gateway.updates.versions import version_key

#: bytes of a script of an environment; programs in machine code are larger, or not text
_MAX_SCRIPT_BYTES = 256 * 1024
_EXTRA = re.compile(r"""extra\s*==\s*["'](?P<extra>[\w-]+)["']""")
_REQUIREMENT_NAME = re.compile(r"[\w.-]+")
#: prints the number of the newest migration that a version knows
_SCHEMA_CODE = "from gateway.store.sqlite.opening import read_migrations; print(len(read_migrations()))"
#: the same of a PostgreSQL database
_SERVER_SCHEMA_CODE = (
    "from gateway.store.sql.migrations import read_package as read;"
    " print(len(read('gateway.store.postgres.migrations')))"
)
#: files that Python writes just now, and renames
UNFINISHED = shutil.ignore_patterns("*.pyc.*")


def copy_environment(site: Installation) -> None:
    """Copy the present environment to the place where the other version is built.

    Raises:
        OSError: the disk is full, or the directory cannot be written to.
    """
    remove_directory(site.candidate)
    shutil.copytree(site.environment, site.candidate, symlinks=True, ignore=UNFINISHED)


def list_extras() -> list[str]:
    """Return our extras whose packages are all installed."""
    wanted: dict[str, list[str]] = {}
    for requirement in metadata.requires(DISTRIBUTION) or []:
        if (extra := _EXTRA.search(requirement)) and (name := _REQUIREMENT_NAME.match(requirement)):
            wanted.setdefault(extra["extra"], []).append(name[0])
    return sorted(extra for extra, names in wanted.items() if extra != "dev" and all(map(_is_installed, names)))


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def install_version(site: Installation, version: str, installer: Installer, origin: Origin) -> None:
    """Install a version of Moongate into the copy, and make it ready for its final place.

    Args:
        origin: where it comes from; what it needs comes from the index of pip or uv.

    Raises:
        GatewayError: it cannot be installed, or its packages do not fit together.
    """
    extras = f"[{','.join(found)}]" if (found := list_extras()) else ""
    done = installer.install_from(origin, f"{DISTRIBUTION}=={version}")
    if done.code != 0:
        raise GatewayError(f"version {version} cannot be installed: {done.last_words}", remedy=_explain(done))
    wrong = _complaints(installer.check())
    if extras or wrong:
        _install_needed(site, f"{DISTRIBUTION}{extras}=={version}", installer)
        wrong = _complaints(installer.check())
    if wrong and (wrong := wrong - _complaints(_check_present(site, installer))):
        raise Conflict(
            f"the packages of version {version} do not fit together: {'; '.join(sorted(wrong))}.",
            remedy="Update or remove the packages that it names.",
        )
    _note_origin(site, origin)
    settle_paths(site)
    write_tool_records(site, version)


def _install_needed(site: Installation, requirement: str, installer: Installer) -> None:
    """Install what Moongate needs, from the index of pip or uv, and leave Moongate itself as it is.

    Raises:
        GatewayError: that is impossible, or Moongate was replaced.
    """
    ours = _list_installed(site)
    done = installer.install(requirement)
    if done.code != 0:
        raise GatewayError(f"what {requirement} needs cannot be installed: {done.last_words}", remedy=_explain(done))
    if _list_installed(site) != ours:
        raise GatewayError(
            f"pip has replaced {requirement} by another package of the same name.",
            remedy="Nothing has changed. See which index it is configured for: pip config list",
        )


def _check_present(site: Installation, installer: Installer) -> Done:
    """Check the packages of the present environment, which may not fit together either."""
    names = {str(interpreter_of(site.candidate)): str(interpreter_of(site.environment))}
    words, target = (tuple(names.get(word, word) for word in said) for said in (installer.words, installer.target))
    return installer._replace(words=words, target=target).check()


def _list_installed(site: Installation) -> dict[str, bytes]:
    """Return the lists of the files of Moongate that the copy has."""
    return {file.parent.name: file.read_bytes() for file in _find_records(site)}


def _find_records(site: Installation) -> Iterator[Path]:
    return site.candidate.glob(f"lib/python3*/site-packages/{DISTRIBUTION}-*.dist-info/RECORD")


def _note_origin(site: Installation, origin: Origin) -> None:
    """Note the place of a file that was installed, as pip does, if nobody else remembers it.

    Raises:
        OSError: it cannot be written.
    """
    for record in _find_records(site):
        note = record.with_name(DIRECT_URL_FILE)
        if note.exists() or origin.named_by != DIRECT_URL_FILE:
            continue
        place = origin.place if "://" in origin.place else Path(origin.place).as_uri()
        name = f"{record.parent.name.removesuffix('.dist-info')}-py3-none-any.whl"
        note.write_text(json.dumps({"archive_info": {}, "url": f"{place.rstrip('/')}/{name}"}))
        with record.open("a") as lines:
            lines.write(f"{record.parent.name}/{note.name},,\n")


def _complaints(done: Done) -> set[str]:
    return set() if done.code == 0 else {line.strip() for line in done.out.splitlines() if line.strip()}


def _explain(done: Done) -> str:
    if "No space left" in done.out + done.err:
        return "Free space on that disk. Nothing has changed."
    return "Nothing has changed."


def settle_paths(site: Installation) -> None:
    """Let the scripts of the copy name its final place.

    Raises:
        OSError: one cannot be written.
    """
    here, final = os.fsencode(site.candidate), os.fsencode(site.environment)
    for file in [*(site.candidate / "bin").iterdir(), site.candidate / "pyvenv.cfg"]:
        if file.is_symlink() or not file.is_file() or file.stat().st_size > _MAX_SCRIPT_BYTES:
            continue
        content = file.read_bytes()
        if here in content and b"\0" not in content:
            draft = file.with_name(file.name + ".draft")
            draft.write_bytes(content.replace(here, final))
            shutil.copymode(file, draft)
            draft.replace(file)


def write_tool_records(site: Installation, version: str) -> None:
    """Note the version in the file in which pipx keeps it.

    Raises:
        OSError: it cannot be written.
    """
    file = site.candidate / "pipx_metadata.json"
    if site.kind is not Kind.PIPX or not file.exists():
        return
    found = msgspec.json.decode(file.read_bytes())
    main = found.get("main_package") if isinstance(found, dict) else None
    if isinstance(main, dict):
        main["package_version"] = version
        file.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=4))


def try_programs(site: Installation, version: str, env: Mapping[str, str]) -> None:
    """Check that the other version starts, is the one that was wanted, and can use the settings.

    Args:
        env: with the variables that make its Python find the right packages.

    Raises:
        GatewayError: it does not.
    """
    python = interpreter_of(site.candidate)
    said = run_program([python, "-P", "-m", "cli.main", "--version"], env, PROGRAM_TIMEOUT_SECONDS)
    if said.code != 0:
        raise GatewayError(f"version {version} does not start: {said.last_words}", remedy="Nothing has changed.")
    if version_key(" ".join(said.out.split()[-1:])) != version_key(version):
        raise GatewayError(
            f"what was installed says that it is {said.out.strip()!r}, not version {version}.",
            remedy="Nothing has changed. Check where it came from: gateway config get updates.index",
        )
    checked = run_program([python, "-P", "-m", "cli.main", "config", "check"], env, PROGRAM_TIMEOUT_SECONDS)
    if checked.code != 0:
        raise GatewayError(
            f"version {version} cannot use the settings: {checked.last_words}", remedy="Nothing has changed."
        )


def exchange(site: Installation, present: Journal) -> None:
    """Put the other version in place.

    Raises:
        OSError, GatewayError: that is impossible.
    """
    if present.to_commit is not None:
        clone.check_out(site, present.to_commit)
    exchange_directories(site.environment, site.candidate)


def exchange_back(site: Installation, present: Journal) -> None:
    """Put the version from before back. It can be called again after an interruption.

    Raises:
        OSError, GatewayError: that is impossible.
    """
    restore_after_kill(site.environment, site.candidate)
    if present.from_commit is not None and present.to_commit is not None:
        clone.check_out_again(site, present.from_commit, present.to_commit)
    if is_exchanged(site, present):
        exchange_directories(site.environment, site.candidate)


def can_exchange_back(site: Installation, present: Journal) -> bool:
    """Return whether the version from before is in place, or still where the exchange has put it."""
    restore_after_kill(site.environment, site.candidate)
    if not is_exchanged(site, present):
        return True
    return site.candidate.is_dir() and is_same_directory(identify_directory(site.candidate), present.identity)


def is_exchanged(site: Installation, present: Journal) -> bool:
    """Return whether the other version is in place."""
    return not is_same_directory(identify_directory(site.environment), present.identity)


def read_known_schema(environment: Path, env: Mapping[str, str], *, of_server: bool = False) -> int | None:
    """Return the newest schema that the version in an environment can use; None if it does not say.

    Args:
        of_server: whether that of a PostgreSQL database is meant.
    """
    words = [interpreter_of(environment), "-P", "-c", _SERVER_SCHEMA_CODE if of_server else _SCHEMA_CODE]
    said = run_program(words, env, PROGRAM_TIMEOUT_SECONDS)
    return int(said.out) if said.code == 0 and said.out.strip().isdigit() else None


def remove_directory(path: Path) -> None:
    """Remove a directory with all that it has; it may be gone already.

    Raises:
        OSError: something in it cannot be removed.
    """
    if path.exists():
        shutil.rmtree(path)
