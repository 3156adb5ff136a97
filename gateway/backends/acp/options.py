"""The options of an ACP agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct, field

from gateway.backends.acp.presets import KNOWN_AGENTS, AgentPreset, Asking, KnownAgent, recognise_command
from gateway.domain.agent import PermissionPolicy

Argument = Annotated[str, Meta(pattern=r"^[^\x00]*$(?!\n)")]


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of an agent that speaks ACP. Either `preset` or `command` says what to start."""

    #: a known agent: opencode-acp, claude, codex, gemini or qwen
    preset: AgentPreset | None = None
    #: the program and its arguments; goes before the preset's
    command: list[Argument] = field(default_factory=list)
    #: how the agent works, in its own words: a mode such as `plan`
    mode: str | None = None
    #: names of more variables of the gateway's environment to pass on
    pass_env: list[str] = field(default_factory=list)
    #: seconds for the agent to be ready
    start_timeout: Annotated[float, Meta(gt=0, le=600)] = 60.0
    #: seconds in which the model only fails until the turn fails, too, if the agent tells of its tries
    retry_timeout: Annotated[float, Meta(gt=0, le=604_800)] = 300.0
    #: seconds without a turn until a process is ended
    idle_stop: Annotated[float, Meta(gt=0)] = 600.0
    #: idle processes that are kept, at most; each may take about 500 MB
    idle_processes: Annotated[int, Meta(ge=0, le=100)] = 1

    def __post_init__(self) -> None:
        if self.preset is None and not (self.command and self.command[0]):
            raise ValueError(f"`preset` or `command` must say what to start; presets: {', '.join(AgentPreset)}")

    @property
    def known_agent(self) -> KnownAgent:
        """The entry of the preset; for the user's own command, an entry with that command and what its name shows."""
        if self.preset is None:
            known = recognise_command(self.command)
            return KnownAgent(
                tuple(self.command),
                "Install it, or correct `command`.",
                (),
                (),
                "Sign in with its own program." if known is None else known.sign_in,
                environment=() if known is None else known.environment,
            )
        known = KNOWN_AGENTS[self.preset]
        return known._replace(command=tuple(self.command)) if self.command else known

    @property
    def recognised_agent(self) -> KnownAgent | None:
        """The known agent of the preset, or of the program's name; None if there is none."""
        return KNOWN_AGENTS[self.preset] if self.preset is not None else recognise_command(self.command)

    @property
    def asking(self) -> Asking | None:
        """How the agent is made to ask, as far as its preset or the program's name shows; None if that is not known."""
        return None if self.recognised_agent is None else self.recognised_agent.asking

    def list_asking_variables(self, permissions: PermissionPolicy) -> Mapping[str, str]:
        """Return the variables that make the agent ask, unless it is allowed everything."""
        return {} if self.asking is None or permissions is PermissionPolicy.ALLOW else self.asking.env

    @property
    def passed_variables(self) -> tuple[str, ...]:
        return (*self.known_agent.keys, *self.pass_env)
