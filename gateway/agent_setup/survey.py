"""Surveys this machine: which known agents are here, in which version, and what keeps each from working."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from gateway import backends, log
from gateway.agent_setup import entries
from gateway.config import Config
from gateway.domain.candidate import Candidate
from gateway.errors import AgentError, TimedOut
from gateway.process.child import Children
from gateway.process.identity import Identity
from gateway.process.scratch import ScratchSpace
from gateway.process.version_probe import NoVersion, ask_version

_log = log.get()


class Sighting(Struct, frozen=True, kw_only=True):
    """A candidate, and what was seen of it."""

    candidate: Candidate
    #: path of its program, or address of its server; empty if it is not here
    place: str = ""
    #: as its program says; empty if not known
    version: str = ""
    #: whether a credential was found; None if that is not known
    signed_in: bool | None = None
    #: why it is not here, or cannot work, and what to do
    problem: str = ""
    #: path of a program of the same maker that is here without it
    companion: str = ""

    @property
    def is_usable(self) -> bool:
        return bool(self.place) and not self.problem

    @property
    def entry(self) -> dict[str, object] | None:
        """The agent as an entry of `agents.list`; None for a server that is not here."""
        return None if self.candidate.agent is None else entries.format_entry(self.candidate.agent)


def find_sighting(seen: Iterable[Sighting], entry: Mapping[str, object]) -> Sighting | None:
    """Return what was seen of an agent, which is an entry of `agents.list`; None if it is no candidate."""
    return next((each for each in seen if each.entry is not None and _key(each.entry) == _key(entry)), None)


def _key(entry: Mapping[str, object]) -> tuple[object, ...]:
    return tuple(entry.get(name) for name in ("backend", "preset", "base_url"))


def choose_best(seen: Iterable[Sighting]) -> Sighting | None:
    """Return the agent to use if nobody chooses: the first that works, else the first that is here."""
    here = [each for each in seen if each.place and (each.candidate.is_automatic or each.candidate.is_named)]
    return next((each for each in here if each.is_usable), here[0] if here else None)


async def survey_machine(config: Config, environ: Mapping[str, str]) -> list[Sighting]:
    """Return all candidates: those that a setting names first, then in the order of detection."""
    found = sorted(_list_candidates(config, environ), key=lambda each: not each.is_named)
    with tempfile.TemporaryDirectory(prefix="moongate-detect-") as directory:
        children = Children(_NoProcessRecords(), environ, ScratchSpace(Path(directory)))
        node = await _ask_node(children, environ)
        return list(await asyncio.gather(*(_look(each, children, environ, node) for each in found)))


def _list_candidates(config: Config, environ: Mapping[str, str]) -> Iterator[Candidate]:
    for name, kind in sorted(backends.find_backends().items(), key=lambda item: item[1].rank):
        if kind.list_candidates is None:
            continue
        try:
            yield from kind.list_candidates(environ, config)
        except Exception as error:  # as in plugins: foreign code may raise anything
            if name not in backends.find_registered_backends().usable:
                raise
            origin = backends.find_registered_backends().origins[name]
            _log.warning("plugin.broken", plugin=name, origin=origin, why=f"its look around raises {error!r}")


async def _look(
    candidate: Candidate, children: Children, environ: Mapping[str, str], node: tuple[int, str] | None
) -> Sighting:
    companion = _find(candidate.companion, environ)
    place = candidate.address or _find(candidate.program, environ)
    if not place:
        return Sighting(candidate=candidate, problem=candidate.install, companion=companion)
    seen = Sighting(candidate=candidate, place=place, signed_in=_find_sign_in(candidate, environ))
    if not candidate.program:
        return seen
    if (problem := _check_node(candidate, place, node)) is not None:
        return msgspec.structs.replace(seen, problem=problem)
    try:
        version = await ask_version(children, [place], children.make_environment({}, 0))
    except (TimedOut, NoVersion):  # on a busy machine, a program may need long, and work all the same
        return seen
    except AgentError as error:
        return msgspec.structs.replace(seen, problem=str(error))
    return msgspec.structs.replace(seen, version=_shorten_version(version))


def _find(program: str, environ: Mapping[str, str]) -> str:
    return (shutil.which(program, path=environ.get("PATH", os.defpath)) or "") if program else ""


def _find_sign_in(candidate: Candidate, environ: Mapping[str, str]) -> bool | None:
    """Return whether a credential was found; None if it may be where nobody can look."""
    home = Path(environ.get("HOME") or Path.home())
    if any(environ.get(name) for name in candidate.keys) or any((home / name).is_file() for name in candidate.files):
        return True
    return False if candidate.files and sys.platform != "darwin" else None  # macOS: in the keychain


async def _ask_node(children: Children, environ: Mapping[str, str]) -> tuple[int, str] | None:
    """Return the major version of the Node.js on PATH, and its version; None if there is none."""
    program = _find("node", environ)
    if not program:
        return None
    try:
        version = await ask_version(children, [program], children.make_environment({}, 0))
    except (AgentError, TimedOut):
        return None
    found = re.match(r"v?(\d+)", version)
    return (int(found[1]), version) if found else None


def _check_node(candidate: Candidate, place: str, node: tuple[int, str] | None) -> str | None:
    """Return why the Node.js on PATH cannot run a program; None if it can, or if the program needs none."""
    if not candidate.oldest_node or not _runs_in_node(place):
        return None
    if node is None:
        return f"it needs Node.js {candidate.oldest_node} or newer, and there is no `node` on PATH."
    if node[0] < candidate.oldest_node:
        return f"it needs Node.js {candidate.oldest_node} or newer; the `node` on PATH is {node[1]}."
    return None


def _runs_in_node(program: str) -> bool:
    """Return whether a program is a script for the `node` on PATH."""
    try:
        with open(program, "rb") as file:
            first = file.readline(256)
    except OSError:
        return False
    return first.startswith(b"#!") and b"node" in first


def _shorten_version(said: str) -> str:
    """Return the number in an answer such as `2.1.332 (Claude Code)`; the first line if there is none."""
    number = re.search(r"\d+(\.\d+)+[\w.+-]*", said)
    return number[0] if number else said.splitlines()[0][:40]


class _NoProcessRecords:
    """Records no processes: those that are started here end with the survey."""

    async def record_process(self, who: Identity, run: str | None) -> None: ...

    async def forget_process(self, who: Identity) -> None: ...
