"""The options of a command agent: what to start, how to give it the prompt, and how to read its output."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct, field

from gateway.backends.command.presets import KNOWN, Known, Preset
from gateway.backends.command.rules import Rule


class Prompt(StrEnum):
    """How the program is given the prompt."""

    STDIN = "stdin"
    ARGUMENT = "argument"


class Output(StrEnum):
    """What the program writes."""

    TEXT = "text"
    JSONL = "jsonl"


Argument = Annotated[str, Meta(pattern=r"^[^\x00]*$(?!\n)")]


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of a command agent. Either `preset` or `command` says what to start."""

    #: a known program: opencode-run; it says all but `command`, `pass_env` and `max_output` itself
    preset: Preset | None = None
    #: the program and its arguments; of a preset, what stands in the place of its program
    command: list[Argument] = field(default_factory=list)
    #: `stdin`, or `argument`: after `--`, as the last one (the system takes at most 128 KiB, and no NUL)
    prompt: Prompt = Prompt.STDIN
    #: arguments that are added where a model is asked for, with `{model}` in them
    model_args: list[Argument] = field(default_factory=list)
    #: arguments that are added where the agent has a system prompt, with `{system_prompt}` in them
    system_args: list[Argument] = field(default_factory=list)
    #: arguments that are added in a session that the program has named, with `{session}` in them
    resume_args: list[Argument] = field(default_factory=list)
    #: arguments that are added where the agent's `permissions` are `allow`
    allow_args: list[Argument] = field(default_factory=list)
    #: names of variables in the gateway's environment that are handed on, such as `ANTHROPIC_API_KEY`
    pass_env: list[str] = field(default_factory=list)
    #: `text`, or `jsonl` with a `map`
    output: Output = Output.TEXT
    #: what the JSON lines mean
    map: list[Rule] = field(default_factory=list)
    #: bytes of output after which the program is stopped, and the turn has failed
    max_output: Annotated[int, Meta(ge=1, le=1 << 40)] = 8 * 1024 * 1024

    def __post_init__(self) -> None:
        if self.preset is not None:
            said = [name for name in _OF_PRESETS if getattr(self, name) != getattr(_PLAIN, name)]
            if said:
                raise ValueError(f"the preset {self.preset} says `{said[0]}` itself")
        elif not (self.command and self.command[0]):
            raise ValueError(f"`preset` or `command` must say what to start; presets: {', '.join(Preset)}")
        elif (self.output is Output.JSONL) != bool(self.map):
            raise ValueError("`map` goes with `output: jsonl`, and that with a `map`")
        for name in ("model", "system", "resume"):
            arguments = getattr(self, f"{name}_args")
            wanted = {"model": "{model}", "system": "{system_prompt}", "resume": "{session}"}[name]
            if arguments and not any(wanted in argument for argument in arguments):
                raise ValueError(f"`{name}_args` must have {wanted} in them")
        if self.resume_args and not any(rule.session for rule in self.map):
            raise ValueError("`resume_args` need a rule in `map` that finds the `session`")

    @property
    def known(self) -> Known | None:
        return None if self.preset is None else KNOWN[self.preset]

    @property
    def whole(self) -> Options:
        """The same options, with what a preset stands for."""
        if (known := self.known) is None:
            return self
        return Options(
            command=[*(self.command or known.program), *known.arguments],
            model_args=list(known.model),
            resume_args=list(known.resume),
            allow_args=list(known.allow),
            pass_env=self.pass_env,
            output=Output.JSONL,
            map=list(known.map),
            max_output=self.max_output,
        )


#: options that a preset says by itself
_OF_PRESETS = ("prompt", "model_args", "system_args", "resume_args", "allow_args", "output", "map")
_PLAIN = Options(command=["true"])
