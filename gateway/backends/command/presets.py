"""Known programs: how to start each, and what its JSON lines mean.

To add a program, add a name to `ProgramPreset` and an entry to `KNOWN_PROGRAMS`; `tests/contracts` tests that it
keeps the contract of a backend.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from gateway.backends.acp.presets import OPENCODE_ASKING_RULES
from gateway.backends.command.rules import Rule, ToolRule, UsageRule
from gateway.domain.ports.backend import FileKind


class ProgramPreset(StrEnum):
    """The name of a known program."""

    OPENCODE_RUN = "opencode-run"


class KnownProgram(NamedTuple):
    """How to use a known program, and what its users need."""

    #: the program, which `command` may replace, and the arguments after it
    program: tuple[str, ...]
    arguments: tuple[str, ...]
    model: tuple[str, ...]
    resume: tuple[str, ...]
    #: arguments to add when the agent's `permissions` are `allow`
    allow: tuple[str, ...]
    #: arguments to add for each file of these kinds
    files: tuple[str, ...]
    file_kinds: tuple[FileKind, ...]
    #: variables for its process when they are written and not `allow`: nothing may run unasked
    asking: Mapping[str, str]
    map: tuple[Rule, ...]
    #: arguments of a call that only prepares the home directory
    prepare: tuple[str, ...]
    install: str
    #: an error text without a reason, and what the user can do then
    unclear: str
    remedy: str


KNOWN_PROGRAMS = {
    # https://opencode.ai/docs/cli; the prompt goes to its standard input, because opencode quotes an argument again.
    ProgramPreset.OPENCODE_RUN: KnownProgram(
        program=("opencode",),
        # Without a title, opencode asks the model for one.
        arguments=("run", "--format", "json", "--thinking", "--title", "Moongate"),
        model=("--model", "{model}"),
        resume=("--session", "{session}"),
        allow=("--auto",),
        files=("--file", "{file}"),
        file_kinds=(FileKind.IMAGE, FileKind.PDF),  # with any other file but a text, opencode 1.18 fails the turn
        asking=MappingProxyType({"OPENCODE_PERMISSION": json.dumps(OPENCODE_ASKING_RULES)}),
        map=(
            Rule(session="sessionID"),
            Rule(when={"type": "text"}, paragraph="part.text"),
            Rule(when={"type": "reasoning"}, thinking="part.text"),
            Rule(
                when={"type": "tool_use"},
                tool=ToolRule(
                    id="part.callID",
                    name="part.tool",
                    args="part.state.input",
                    output="part.state.output",
                    error="part.state.error",
                ),
            ),
            Rule(
                when={"type": "step_finish"},
                usage=UsageRule(
                    input="part.tokens.input",
                    output="part.tokens.output",
                    cached="part.tokens.cache.read",
                    cost="part.cost",
                ),
                finish="part.reason",
            ),
            Rule(when={"type": "error"}, error="error.data.message"),
        ),
        prepare=("session", "list"),
        install="Install opencode: npm install -g opencode-ai",
        unclear="Unexpected server error",
        remedy="`opencode models` lists the models that it can use; `opencode auth login` signs in to more.",
    ),
}
