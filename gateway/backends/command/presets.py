"""Programs that are known by name: how each is started, and what its JSON lines mean.

To add one, add its name to `Preset` and its `Known` to `KNOWN`; `tests/contracts` holds it to what
every backend promises.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from gateway.backends.command.rules import Rule, ToolRule, UsageRule


class Preset(StrEnum):
    """A program that is known by name."""

    OPENCODE_RUN = "opencode-run"


class Known(NamedTuple):
    """How a known program is used, and what people need for it."""

    #: the program, which `command` replaces, and its arguments, which go after it
    program: tuple[str, ...]
    arguments: tuple[str, ...]
    model: tuple[str, ...]
    resume: tuple[str, ...]
    #: arguments that are added where the agent's `permissions` are `allow`
    allow: tuple[str, ...]
    map: tuple[Rule, ...]
    #: arguments instead of all these with which it sets up its home, and ends
    prepare: tuple[str, ...]
    #: what it says on standard error when it does not know a session any more
    lost: str
    install: str
    #: what it says when it fails without saying why, and what its user can do then
    unclear: str
    remedy: str


KNOWN = {
    # https://opencode.ai/docs/cli; the prompt goes to its standard input: as an argument it is quoted again.
    Preset.OPENCODE_RUN: Known(
        program=("opencode",),
        # Without a title it asks the model for one.
        arguments=("run", "--format", "json", "--thinking", "--title", "Moongate"),
        model=("--model", "{model}"),
        resume=("--session", "{session}"),
        allow=("--auto",),
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
            ),
            Rule(when={"type": "error"}, error="error.data.message"),
        ),
        prepare=("session", "list"),
        lost="Session not found",
        install="Install opencode: npm install -g opencode-ai",
        unclear="Unexpected server error",
        remedy="`opencode models` lists the models that it can use; `opencode auth login` signs in to more.",
    ),
}
