"""The options of an ACP agent, and the known agents."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct, field

Argument = Annotated[str, Meta(pattern=r"^[^\x00]*$(?!\n)")]


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


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of an agent that speaks ACP. Either `preset` or `command` says what to start."""

    #: a known agent: opencode-acp, claude, codex or gemini
    preset: AgentPreset | None = None
    #: the program and its arguments; goes before the preset's
    command: list[Argument] = field(default_factory=list)
    #: how the agent works, in its own words: a mode such as `plan`
    mode: str | None = None
    #: names of more variables of the gateway's environment to pass on
    pass_env: list[str] = field(default_factory=list)
    #: seconds for the agent to be ready
    start_timeout: Annotated[float, Meta(gt=0, le=600)] = 60.0
    #: seconds without a turn until a process is ended
    idle_stop: Annotated[float, Meta(gt=0)] = 600.0
    #: idle processes that are kept, at most; each may take about 500 MB
    idle_processes: Annotated[int, Meta(ge=0, le=100)] = 1

    def __post_init__(self) -> None:
        if self.preset is None and not (self.command and self.command[0]):
            raise ValueError(f"`preset` or `command` must say what to start; presets: {', '.join(AgentPreset)}")

    @property
    def known_agent(self) -> KnownAgent:
        """The entry of the preset; for the user's own command, an entry with that command."""
        if self.preset is None:
            return KnownAgent(
                tuple(self.command), "Install it, or correct `command`.", (), (), "Sign in with its own program."
            )
        known = KNOWN_AGENTS[self.preset]
        return known._replace(command=tuple(self.command)) if self.command else known

    @property
    def passed_variables(self) -> tuple[str, ...]:
        return (*self.known_agent.keys, *self.pass_env)
