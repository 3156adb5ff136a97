"""What can be set of an agent that speaks ACP, and the agents that are known by name."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct, field

Argument = Annotated[str, Meta(pattern=r"^[^\x00]*$(?!\n)")]


class Preset(StrEnum):
    """An agent that is known by name."""

    OPENCODE = "opencode-acp"
    CLAUDE = "claude"
    CODEX = "codex"
    GEMINI = "gemini"


class Known(NamedTuple):
    """How a known agent is started, and what people need for it."""

    command: tuple[str, ...]
    install: str
    #: variables of the gateway's environment that it looks for its credential in
    keys: tuple[str, ...]
    #: files below the home directory that it keeps its credential in, where a sign-in leaves one there
    files: tuple[str, ...]
    sign_in: str


KNOWN = {
    Preset.OPENCODE: Known(
        ("opencode", "acp"), "Install opencode: npm install -g opencode-ai", (), (), "Sign in: opencode auth login"
    ),
    Preset.CLAUDE: Known(
        ("claude-agent-acp",),
        "Install it: npm install -g @agentclientprotocol/claude-agent-acp",
        ("ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"),
        (".claude/.credentials.json",),
        "Sign in with `claude`, or set ANTHROPIC_API_KEY.",
    ),
    Preset.CODEX: Known(
        ("codex-acp",),
        "Install it: npm install -g @zed-industries/codex-acp",
        ("OPENAI_API_KEY", "CODEX_API_KEY", "CODEX_HOME"),
        (".codex/auth.json", ".codex/config.toml"),
        "Sign in with `codex login`, or set OPENAI_API_KEY.",
    ),
    Preset.GEMINI: Known(
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
    preset: Preset | None = None
    #: the program and its arguments; goes before the preset's
    command: list[Argument] = field(default_factory=list)
    #: how the agent works, in its own words: a mode such as `plan`
    mode: str | None = None
    #: further names of variables in the gateway's environment that are handed on
    pass_env: list[str] = field(default_factory=list)
    #: seconds for the agent to be ready
    start_timeout: Annotated[float, Meta(gt=0, le=600)] = 60.0
    #: seconds without a turn after which a process is ended
    idle_stop: Annotated[float, Meta(gt=0)] = 600.0
    #: processes without a turn that are kept; each may take some 500 MB
    idle_processes: Annotated[int, Meta(ge=0, le=100)] = 1

    def __post_init__(self) -> None:
        if self.preset is None and not (self.command and self.command[0]):
            raise ValueError(f"`preset` or `command` must say what to start; presets: {', '.join(Preset)}")

    @property
    def known(self) -> Known:
        """What is known of the agent; of a command of the user's own only that."""
        if self.preset is None:
            return Known(
                tuple(self.command), "Install it, or correct `command`.", (), (), "Sign in with its own program."
            )
        known = KNOWN[self.preset]
        return known._replace(command=tuple(self.command)) if self.command else known

    @property
    def passed(self) -> tuple[str, ...]:
        return (*self.known.keys, *self.pass_env)
