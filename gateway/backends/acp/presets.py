"""The known agents that speak ACP: how each is started, installed and signed in, and how it is made to ask."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from gateway.domain.offer import OtherModels
from gateway.domain.ports.backend import Abilities


class AgentPreset(StrEnum):
    """The name of a known agent."""

    OPENCODE = "opencode-acp"
    CLAUDE = "claude"
    CODEX = "codex"
    GEMINI = "gemini"
    QWEN = "qwen"


class Asking(NamedTuple):
    """How an agent is made to ask before it runs a command or changes a file, as tests found it."""

    #: the mode that is set; None if the agent asks by its variables, whatever its mode is
    mode: str | None = None
    #: other modes in which nothing runs unasked
    other_modes: tuple[str, ...] = ()
    #: modes for an agent that is allowed everything, the best one first; without them, `mode` is set here too
    allowed_modes: tuple[str, ...] = ()
    #: variables for its process, unless it is allowed everything
    env: Mapping[str, str] = MappingProxyType({})

    def is_safe(self, mode: str) -> bool:
        """Return whether nothing runs unasked in a mode."""
        return self.mode is None or mode == self.mode or mode in self.other_modes


class KnownAgent(NamedTuple):
    """How to start a known agent, and what its users need."""

    command: tuple[str, ...]
    install: str
    #: variables of the gateway's environment that may hold its credential
    keys: tuple[str, ...]
    #: files in the home directory that may hold its credential after a sign-in
    files: tuple[str, ...]
    sign_in: str
    #: how it is made to ask; None if that is not known
    asking: Asking | None = None
    #: its names in the answer to `initialize`
    told_names: tuple[str, ...] = ()
    #: which models it takes that it does not list, as tests found it
    other_models: OtherModels = OtherModels.ANY
    #: what it can tell about its turns
    abilities: Abilities = Abilities()
    #: variables that it gets unless the agent's `env` sets them: it tells failed tries of its model on standard error
    environment: tuple[tuple[str, str], ...] = ()
    #: whether its model gets a PDF that is embedded in a prompt; others drop it, or give it as letters, as tests found
    reads_pdf: bool = False
    #: whether pictures and audio must be embedded resources, too: Gemini CLI 0.61 drops all others next to a resource
    wants_resources: bool = False


#: opencode's `permission` with which it asks for everything but reading; without it, it does everything unasked in its
#: directory. It is merged into the user's: a rule for `*` does not replace one for a tool, so those that act are named
OPENCODE_ASKING_RULES: Mapping[str, str | Mapping[str, str]] = {
    "*": "ask",
    **dict.fromkeys(("bash", "shell", "edit", "external_directory", "task", "doom_loop"), "ask"),
    **dict.fromkeys(("webfetch", "websearch", "codesearch"), "ask"),
    "read": {"*": "allow", "*.env": "ask", "*.env.*": "ask", "*.env.example": "allow"},
    **dict.fromkeys(("glob", "grep", "list", "lsp", "skill", "todoread", "todowrite"), "allow"),
    **dict.fromkeys(("question", "plan_enter", "plan_exit"), "deny"),
}

KNOWN_AGENTS = {
    AgentPreset.OPENCODE: KnownAgent(
        ("opencode", "acp"),
        "Install opencode: npm install -g opencode-ai",
        (),
        (),
        "Sign in: opencode auth login",
        Asking(env=MappingProxyType({"OPENCODE_PERMISSION": json.dumps(OPENCODE_ASKING_RULES)})),
        ("OpenCode",),
        other_models=OtherModels.NONE,
        environment=(("OPENCODE_PRINT_LOGS", "1"), ("OPENCODE_LOG_LEVEL", "ERROR")),
        reads_pdf=True,
    ),
    AgentPreset.CLAUDE: KnownAgent(
        ("claude-agent-acp",),
        "Install it: npm install -g @agentclientprotocol/claude-agent-acp",
        ("ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"),
        (".claude/.credentials.json",),
        "Sign in with `claude`, or set ANTHROPIC_API_KEY.",
        Asking("default", ("plan", "dontAsk")),  # `dontAsk` denies what it would ask for
        ("@agentclientprotocol/claude-agent-acp",),
        abilities=Abilities(tells_tokens=True, tells_cost=True),
        other_models=OtherModels.SIMILAR,
        reads_pdf=True,
    ),
    AgentPreset.CODEX: KnownAgent(
        ("codex-acp",),
        "Install it: npm install -g @agentclientprotocol/codex-acp",
        ("OPENAI_API_KEY", "CODEX_API_KEY", "CODEX_HOME"),
        (".codex/auth.json", ".codex/config.toml"),
        "Sign in with `codex login`, or set OPENAI_API_KEY.",
        # A command runs in a sandbox that cannot write; codex asks before it runs one outside of it. The allowed
        # modes write in the workspace, and codex asks before it does more: `workspace-write` is 2.x, `auto` is 0.x.
        Asking("read-only", (), ("workspace-write", "auto")),
        ("@agentclientprotocol/codex-acp", "codex-acp"),
        abilities=Abilities(tells_cost=False),  # of codex-acp 0.x, the tokens are not known either
    ),
    AgentPreset.GEMINI: KnownAgent(
        ("gemini", "--acp"),
        "Install it: npm install -g @google/gemini-cli",
        ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        (".gemini/oauth_creds.json",),
        "Sign in with `gemini`, or set GEMINI_API_KEY.",
        Asking("default", ("plan",)),
        ("gemini-cli",),
        abilities=Abilities(tells_tokens=True, tells_cost=False),
        environment=() if sys.platform == "win32" else (("GEMINI_DEBUG_LOG_FILE", "/dev/stderr"),),
        reads_pdf=True,
        wants_resources=True,
    ),
    AgentPreset.QWEN: KnownAgent(
        ("qwen", "--acp"),
        "Install it: npm install -g @qwen-code/qwen-code",
        ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL"),
        (".qwen/oauth_creds.json", ".qwen/settings.json"),
        "Sign in with `qwen`, or set OPENAI_API_KEY, OPENAI_BASE_URL and OPENAI_MODEL.",
        Asking("default", ("plan",)),
        ("qwen-code",),
        abilities=Abilities(tells_tokens=True, tells_cost=False),
        other_models=OtherModels.NONE,
    ),
}

#: modes of the known agents in which something runs unasked; of another agent, nothing else is known
AUTOMATIC_MODES = frozenset(
    (
        "acceptEdits",
        "agent-full-access",
        "auto",
        "auto-edit",
        "autoEdit",
        "bypassPermissions",
        "full-access",
        "workspace-write",
        "yolo",
    )
)


def recognise_command(command: Sequence[str]) -> KnownAgent | None:
    """Return the known agent that a command of the user starts, by the program's name."""
    program = os.path.basename(command[0])
    return next((known for known in KNOWN_AGENTS.values() if known.command[0] == program), None)


def recognise_name(told: str) -> KnownAgent | None:
    """Return the known agent that calls itself so in its answer to `initialize`."""
    return next((known for known in KNOWN_AGENTS.values() if told in known.told_names), None)
