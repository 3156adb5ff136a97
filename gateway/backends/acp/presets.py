"""The known agents that speak ACP: how each is started, installed and signed in."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from gateway.domain.ports.backend import Abilities


class AgentPreset(StrEnum):
    """The name of a known agent."""

    OPENCODE = "opencode-acp"
    CLAUDE = "claude"
    CODEX = "codex"
    GEMINI = "gemini"


class KnownAgent(NamedTuple):
    """How to start a known agent, and what its users need."""

    command: tuple[str, ...]
    install: str
    #: variables of the gateway's environment that may hold its credential
    keys: tuple[str, ...]
    #: files in the home directory that may hold its credential after a sign-in
    files: tuple[str, ...]
    sign_in: str
    #: what it can tell about its turns
    abilities: Abilities = Abilities()


KNOWN_AGENTS = {
    AgentPreset.OPENCODE: KnownAgent(
        ("opencode", "acp"), "Install opencode: npm install -g opencode-ai", (), (), "Sign in: opencode auth login"
    ),
    AgentPreset.CLAUDE: KnownAgent(
        ("claude-agent-acp",),
        "Install it: npm install -g @agentclientprotocol/claude-agent-acp",
        ("ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"),
        (".claude/.credentials.json",),
        "Sign in with `claude`, or set ANTHROPIC_API_KEY.",
    ),
    AgentPreset.CODEX: KnownAgent(
        ("codex-acp",),
        "Install it: npm install -g @zed-industries/codex-acp",
        ("OPENAI_API_KEY", "CODEX_API_KEY", "CODEX_HOME"),
        (".codex/auth.json", ".codex/config.toml"),
        "Sign in with `codex login`, or set OPENAI_API_KEY.",
    ),
    AgentPreset.GEMINI: KnownAgent(
        ("gemini", "--acp"),
        "Install it: npm install -g @google/gemini-cli",
        ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        (".gemini/oauth_creds.json",),
        "Sign in with `gemini`, or set GEMINI_API_KEY.",
    ),
}
