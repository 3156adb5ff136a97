"""The options of a command agent: what to start, how to give it the prompt, and how to read its output."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct, field

from gateway.backends.command.presets import KNOWN_PROGRAMS, KnownProgram, ProgramPreset
from gateway.backends.command.rules import Rule
from gateway.domain.ports.backend import FileKind


class PromptChannel(StrEnum):
    """How the program receives the prompt."""

    STDIN = "stdin"
    ARGUMENT = "argument"


class OutputFormat(StrEnum):
    """What the program writes to standard output."""

    TEXT = "text"
    JSONL = "jsonl"


Argument = Annotated[str, Meta(pattern=r"^[^\x00]*$(?!\n)")]


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of a command agent. `preset` or `command` tells which program to start."""

    #: a known program: opencode-run; only `command`, `pass_env` and `max_output` may be set with it
    preset: ProgramPreset | None = None
    #: the program and its arguments; with a preset, it replaces the program of the preset
    command: list[Argument] = field(default_factory=list)
    #: `stdin`, or `argument`: after `--`, as the last one (the system takes at most 128 KiB, and no NUL)
    prompt: PromptChannel = PromptChannel.STDIN
    #: arguments to add when a model is named; must contain `{model}`
    model_args: list[Argument] = field(default_factory=list)
    #: arguments to add when the agent has a system prompt; must contain `{system_prompt}`
    system_args: list[Argument] = field(default_factory=list)
    #: arguments to add when the program has named the session; must contain `{session}`
    resume_args: list[Argument] = field(default_factory=list)
    #: arguments to add when the agent's `permissions` are `allow`
    allow_args: list[Argument] = field(default_factory=list)
    #: arguments to add for each attached file of the `file_kinds`; must contain `{file}`, an absolute path
    file_args: list[Argument] = field(default_factory=list)
    #: the kinds of files that `file_args` are for: `image`, `audio`, `pdf`, `other`
    file_kinds: list[FileKind] = field(default_factory=lambda: list(FileKind))
    #: names of variables of the gateway's environment to pass on, such as `ANTHROPIC_API_KEY`
    pass_env: list[str] = field(default_factory=list)
    #: `text`, or `jsonl` with a `map`
    output: OutputFormat = OutputFormat.TEXT
    #: what the JSON lines mean
    map: list[Rule] = field(default_factory=list)
    #: bytes of output; a program that writes more is stopped, and the turn fails
    max_output: Annotated[int, Meta(ge=1, le=1 << 40)] = 8 * 1024 * 1024

    def __post_init__(self) -> None:
        if self.preset is not None:
            said = [name for name in _OPTIONS_SET_BY_PRESETS if getattr(self, name) != getattr(_DEFAULT_OPTIONS, name)]
            if said:
                raise ValueError(f"the preset {self.preset} says `{said[0]}` itself")
        elif not (self.command and self.command[0]):
            raise ValueError(f"`preset` or `command` must say what to start; presets: {', '.join(ProgramPreset)}")
        elif (self.output is OutputFormat.JSONL) != bool(self.map):
            raise ValueError("`map` goes with `output: jsonl`, and that with a `map`")
        placeholders = {"model": "{model}", "system": "{system_prompt}", "resume": "{session}", "file": "{file}"}
        for name, wanted in placeholders.items():
            arguments = getattr(self, f"{name}_args")
            if arguments and not any(wanted in argument for argument in arguments):
                raise ValueError(f"`{name}_args` must have {wanted} in them")
        if self.resume_args and not any(rule.session for rule in self.map):
            raise ValueError("`resume_args` need a rule in `map` that finds the `session`")

    @property
    def known_program(self) -> KnownProgram | None:
        return None if self.preset is None else KNOWN_PROGRAMS[self.preset]

    @property
    def expanded_options(self) -> Options:
        """The same options, with the preset replaced by the options that it stands for."""
        if (known := self.known_program) is None:
            return self
        return Options(
            command=[*(self.command or known.program), *known.arguments],
            model_args=list(known.model),
            resume_args=list(known.resume),
            allow_args=list(known.allow),
            file_args=list(known.files),
            file_kinds=list(known.file_kinds),
            pass_env=self.pass_env,
            output=OutputFormat.JSONL,
            map=list(known.map),
            max_output=self.max_output,
        )


#: options that a preset sets itself
_OPTIONS_SET_BY_PRESETS = (
    *("prompt", "model_args", "system_args", "resume_args", "allow_args", "file_args", "file_kinds"),
    *("output", "map"),
)
_DEFAULT_OPTIONS = Options(command=["true"])
