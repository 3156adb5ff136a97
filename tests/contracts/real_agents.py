"""The agents that people have, each with a scripted model: how tests set them up, and what tests found they cannot do.

`docs/agents.md` has a table of them, which a test compares with this list.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

from gateway.agent_setup.entries import parse_entry
from gateway.domain.agent import Agent
from harness.scripted_anthropic import serve_anthropic
from harness.scripted_gemini import serve_gemini
from harness.waiting import PATIENCE
from tests.contracts.subjects import Modelled
from tests.support import claude, codex, gemini, opencode, qwen


class Ability(StrEnum):
    """What users want an agent to do, as the table names it."""

    MEMORY = "memory"
    PERMISSION = "permissions"
    TOOLS = "output of tools"
    TOKENS = "tokens"
    COST = "cost"
    MODEL = "model"
    CANCEL = "cancel"
    FILES = "files"


class RealAgent(Modelled):
    """A real program, with a scripted model."""

    #: its name for users
    title: ClassVar[str]
    #: how users install it
    install: ClassVar[str]
    #: programs that it needs, by their names in `tests.support.installed`
    needs: ClassVar[tuple[str, ...]]
    #: a model beside the first one, and the name that the model's server gets
    other_model: ClassVar[tuple[str, str]]
    #: a model that it certainly does not take; None if it may take any
    unknown_model: ClassVar[str | None] = None
    #: what it cannot do, and why; the tests check that it really cannot
    cannot: ClassVar[Mapping[Ability, str]] = {}
    #: what it can, but not always
    limits: ClassVar[Mapping[Ability, str]] = {}
    #: statuses of the model's server after which it asks again by itself, for a minute or longer
    repeats: ClassVar[frozenset[int]] = frozenset()
    #: how the log tells, with the status, that it asks again; None if it tells nothing
    failed_try: ClassVar[str | None] = "the model's server answers {}: "
    #: what the error of a turn and its remedy say if the model's server refuses the credential: a pattern
    refused_credential: ClassVar[str] = "the agent wants its user to sign in: .* Sign in"

    killable = True
    together = 2  # each one has a process of its own, which takes seconds to start
    patience = 3 * PATIENCE  # the first one in a new home directory starts alone
    hostile: ClassVar[Mapping[str, str]] = {"a line of 4 MB": "[[line 4]]"}

    @property
    def counts(self) -> bool:  # type: ignore[override]
        return Ability.TOKENS not in self.cannot

    def entry(self, url: str, home: Path) -> dict[str, Any]:
        """Return its entry of `agents.list`, with the model at that URL."""
        raise NotImplementedError

    def shell(self, command: str) -> str:
        """Return a prompt to run a command of the shell, for which it asks permission."""
        raise NotImplementedError

    def remember(self) -> str:
        """Return a prompt that asks for the first message of the session."""
        return "[[recall]]"

    def made(self, url: str, directory: Path) -> Agent:
        return parse_entry("agents", self.entry(url, directory / "home"))

    def asked_model(self) -> str:
        """Return the name of the model in the last request to its server."""
        return str(self.model.last_prompt["body"]["model"])


def _tool(name: str, **arguments: Any) -> str:
    return f"[[tool {name} {json.dumps(arguments)}]]"


class Opencode(RealAgent):
    title = "opencode"
    install = "`npm install -g opencode-ai`"
    needs = ("opencode",)
    other_model = ("scripted/scripted-b", "scripted-b")
    unknown_model = "scripted/scripted-c"
    failed_try = "opencode tries again (1): scripted error {}"
    refused_credential = "scripted error 401"
    preface = 1  # the system prompt
    repeats = frozenset({429, 529})
    together = 4  # one server for all
    # When a model's stream breaks or ends without a reason, opencode repeats the request forever.
    hostile: ClassVar[Mapping[str, str]] = {"a line of 4 MB": "[[line 4]]", "a flood of 40 MB": "[[flood 40]]"}

    def entry(self, url: str, home: Path) -> dict[str, Any]:
        return opencode.agent(url, home)

    def shell(self, command: str) -> str:
        return _tool("bash", command=command, description="x")


class OpencodeOverAcp(Opencode):
    title = "opencode, over ACP"
    limits: ClassVar[Mapping[Ability, str]] = {
        Ability.TOKENS: "of a turn, only those of the last call of its model, so a budget lets more through"
    }
    failed_try = RealAgent.failed_try
    refused_credential = RealAgent.refused_credential
    together = 2
    hostile: ClassVar[Mapping[str, str]] = {"a line of 4 MB": "[[line 4]]"}

    def entry(self, url: str, home: Path) -> dict[str, Any]:
        return opencode.agent_over_acp(url, home)


class Claude(RealAgent):
    title = "Claude Code"
    install = "`npm install -g @agentclientprotocol/claude-agent-acp`, with Node.js 22 or newer"
    needs = ("claude-agent-acp",)
    serve = staticmethod(serve_anthropic)
    other_model = ("haiku", "claude-haiku-5-5")
    unknown_model = "gpt-5"
    repeats = frozenset({429})  # after 401, too, but three refusals end the turn

    def entry(self, url: str, home: Path) -> dict[str, Any]:
        return claude.agent(url, home)

    def shell(self, command: str) -> str:
        return _tool("Bash", command=command, description="x")


class CodexZed(RealAgent):
    title = "Codex, the adapter of Zed"
    install = "`npm install -g @zed-industries/codex-acp`"
    needs = ("codex-acp-zed",)
    other_model = ("gpt-5.4-mini", "gpt-5.4-mini")
    cannot: ClassVar[Mapping[Ability, str]] = {
        Ability.TOKENS: "it tells how full its context is, not what a turn used",
        Ability.COST: "it tells none",
    }
    dies = "[[midfail]]"
    hostile: ClassVar[Mapping[str, str]] = {
        "not UTF-8": "[[bytes]]",
        "not JSON": "[[garbage]]",
        "a line of 4 MB": "[[line 4]]",
        "a flood of 20 MB": "[[flood 20]]",
        "an end without an end": "[[stop]]",
    }

    def entry(self, url: str, home: Path) -> dict[str, Any]:
        return codex.agent(url, home, "codex-acp-zed")

    def shell(self, command: str) -> str:
        return _tool("exec_command", cmd=command, sandbox_permissions="require_escalated", justification="May I?")


class Codex(CodexZed):
    title = "Codex"
    install = "`npm install -g @agentclientprotocol/codex-acp`"
    needs = ("codex-acp",)
    other_model = ("gpt-6-sol[low]", "gpt-6-sol")
    cannot: ClassVar[Mapping[Ability, str]] = {Ability.COST: "it tells none"}
    hostile: ClassVar[Mapping[str, str]] = {"a line of 4 MB": "[[line 4]]"}

    def entry(self, url: str, home: Path) -> dict[str, Any]:
        return codex.agent(url, home)


class Gemini(RealAgent):
    title = "Gemini CLI"
    install = "`npm install -g @google/gemini-cli`"
    needs = ("gemini",)
    serve = staticmethod(serve_gemini)
    other_model = ("gemini-2.5-pro", "gemini-2.5-pro")
    limits: ClassVar[Mapping[Ability, str]] = {
        Ability.MEMORY: "a restart soon after the first turn may lose it: the agent is then given the transcript"
    }
    cannot: ClassVar[Mapping[Ability, str]] = {Ability.TOOLS: "it tells none", Ability.COST: "it tells none"}
    repeats = frozenset({429, 529})

    def entry(self, url: str, home: Path) -> dict[str, Any]:
        return gemini.agent(url, home)

    def shell(self, command: str) -> str:
        return _tool("run_shell_command", command=command, description="x")

    def asked_model(self) -> str:
        """Return the name of the model in the path of the last request."""
        return str(self.model.last_prompt["path"]).rpartition("/")[2].partition(":")[0]


class Qwen(RealAgent):
    title = "Qwen Code"
    install = "`npm install -g @qwen-code/qwen-code`, with Node.js 22 or newer"
    needs = ("qwen",)
    other_model = ("scripted-b", "scripted-b")
    unknown_model = "scripted-c"
    preface = 1  # the system prompt
    cannot: ClassVar[Mapping[Ability, str]] = {Ability.COST: "it tells none"}
    repeats = frozenset({429, 529})
    failed_try = None

    def entry(self, url: str, home: Path) -> dict[str, Any]:
        return qwen.agent(url, home)

    def shell(self, command: str) -> str:
        return _tool("run_shell_command", command=command, description="x", is_background=False)


REAL_AGENTS = (Opencode(), OpencodeOverAcp(), Claude(), Codex(), CodexZed(), Gemini(), Qwen())


def table() -> list[str]:
    """Return the lines of the table in `docs/agents.md`."""
    head = ["agent", "how to install it", *Ability]
    rows = [[one.title, one.install, *(_describe(one, each) for each in Ability)] for one in REAL_AGENTS]
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _describe(agent: RealAgent, ability: Ability) -> str:
    if ability in agent.cannot:
        return f"no: {agent.cannot[ability]}"
    return f"yes, but {agent.limits[ability]}" if ability in agent.limits else "yes"
