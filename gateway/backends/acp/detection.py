"""Finds known agents that speak ACP on PATH."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping

from gateway.backends.acp.options import Options
from gateway.backends.acp.presets import KNOWN_AGENTS
from gateway.config import Config
from gateway.domain.agent import Agent
from gateway.domain.candidate import Candidate

#: programs that people have without the one that speaks ACP, by preset
_COMPANIONS = {"claude": "claude", "codex": "codex"}
#: oldest major versions of Node.js, by preset, as the packages declare them
_OLDEST_NODE = {"claude": 22, "gemini": 20, "qwen": 22}


def detect_agent(environ: Mapping[str, str], config: Config) -> Agent | None:
    """Find the first known agent whose program is on PATH, except opencode: it has a backend of its own."""
    path = environ.get("PATH", os.defpath)
    found = (each.agent for each in list_candidates(environ, config) if shutil.which(each.program, path=path))
    return next(found, None)


def list_candidates(environ: Mapping[str, str], config: Config) -> Iterator[Candidate]:
    """Yield all known agents, except opencode: it has a backend of its own."""
    for preset, known in KNOWN_AGENTS.items():
        if known.command[0] != "opencode":
            yield Candidate(
                name=preset,
                agent=Agent(id="main", backend="acp", options=Options(preset=preset)),
                program=known.command[0],
                install=known.install,
                sign_in=known.sign_in,
                companion=_COMPANIONS.get(preset, ""),
                oldest_node=_OLDEST_NODE.get(preset, 0),
                keys=known.keys,
                files=known.files,
            )
