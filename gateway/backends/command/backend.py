"""Any program as an agent: the prompt on its standard input, the answer on its standard output.

    {"id": "main", "backend": "command", "command": ["my-agent", "--quiet"]}

With `output: "text"` all that the program writes is the answer, as it comes, without the line feeds
at its end. With `output: "jsonl"` it writes JSON lines, and the rules of `map` say what they mean:
a rule fits a line that has the values in `when`, and its other fields are the dotted paths of what
the line says. A line may fit several rules; one that fits none, or is not a JSON object, is passed
over. `opencode run` for example:

    {"id": "main", "backend": "command", "output": "jsonl",
     "command": ["opencode", "run", "--format", "json"],
     "model_args": ["--model", "{model}"], "resume_args": ["--session", "{session}"],
     "map": [
       {"session": "sessionID"},
       {"when": {"type": "text"}, "paragraph": "part.text"},
       {"when": {"type": "tool_use"},
        "tool": {"id": "part.callID", "name": "part.tool",
                 "args": "part.state.input", "output": "part.state.output"}},
       {"when": {"type": "step_finish"},
        "usage": {"input": "part.tokens.input", "output": "part.tokens.output",
                  "cached": "part.tokens.cache.read", "cost": "part.cost"}},
       {"when": {"type": "error"}, "error": "error.data.message"}]}

Exit status 0 is success; with any other the last of standard error says why the turn failed. An
agent's `system_prompt` goes where `system_args` says, or else before the conversation's first prompt.
"""

from __future__ import annotations

import asyncio
import codecs
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import aclosing
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct, field

from gateway.backends import BackendType, Tools
from gateway.backends.command.rules import Reader, Rule, is_value
from gateway.domain.agent import Agent
from gateway.domain.event import Log, Said, Text
from gateway.domain.ports import Health, Reply, SessionRef, Turn
from gateway.errors import AgentError, GatewayError
from gateway.process import BUFFER, Child, find_program, lines

#: bytes of one JSON line
LINE = 8 * 1024 * 1024
#: characters of standard error that an error message shows
SHOWN = 500


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
    """Options of a command agent."""

    #: the program and its arguments
    command: Annotated[list[Argument], Meta(min_length=1)]
    #: `stdin`, or `argument`: after `--`, as the last one (the system takes at most 128 KiB, and no NUL)
    prompt: Prompt = Prompt.STDIN
    #: arguments that are added where a model is asked for, with `{model}` in them
    model_args: list[Argument] = field(default_factory=list)
    #: arguments that are added where the agent has a system prompt, with `{system_prompt}` in them
    system_args: list[Argument] = field(default_factory=list)
    #: arguments that are added in a session that the program has named, with `{session}` in them
    resume_args: list[Argument] = field(default_factory=list)
    #: `text`, or `jsonl` with a `map`
    output: Output = Output.TEXT
    #: what the JSON lines mean
    map: list[Rule] = field(default_factory=list)
    #: bytes of output after which the program is stopped, and the turn has failed
    max_output: Annotated[int, Meta(ge=1, le=1 << 40)] = 8 * 1024 * 1024

    def __post_init__(self) -> None:
        if not self.command[0]:
            raise ValueError("`command` must begin with a program")
        if (self.output is Output.JSONL) != bool(self.map):
            raise ValueError("`map` goes with `output: jsonl`, and that with a `map`")
        for name in ("model", "system", "resume"):
            arguments = getattr(self, f"{name}_args")
            wanted = {"model": "{model}", "system": "{system_prompt}", "resume": "{session}"}[name]
            if arguments and not any(wanted in argument for argument in arguments):
                raise ValueError(f"`{name}_args` must have {wanted} in them")
        if self.resume_args and not any(rule.session for rule in self.map):
            raise ValueError("`resume_args` need a rule in `map` that finds the `session`")


class Command:
    """Starts the program once a turn."""

    def __init__(self, tools: Tools) -> None:
        self._children = tools.children
        self._directory = str(tools.directory)

    async def __aenter__(self) -> Command:
        return self

    async def __aexit__(self, *exc: object) -> None: ...

    async def health(self, agent: Agent) -> Health:
        try:
            return Health(ok=True, detail=self._find(agent))
        except GatewayError as error:
            return Health(ok=False, detail=str(error))

    def _find(self, agent: Agent) -> str:
        options: Options = agent.options
        place = os.path.expanduser(agent.workspace) if agent.workspace else self._directory
        return find_program(options.command[0], self._children.environment(agent.env), place)

    async def prompt(self, turn: Turn) -> AsyncGenerator[Said | SessionRef | Reply, None]:
        options: Options = turn.agent.options
        given = prompt_text(turn).encode("utf-8", "replace") if options.prompt is Prompt.STDIN else b""
        child = await self._children.spawn(
            arguments(turn), cwd=turn.workspace, env=self._children.environment(turn.agent.env), run=turn.run
        )
        feeding = asyncio.create_task(_feed(child, given), name="child-feed")
        read = _read_lines if options.output is Output.JSONL else _read_text
        try:
            async with aclosing(read(child, options)) as saying:
                async for said in saying:
                    yield said
            _judge(await child.wait(), child.stderr_tail())
        finally:
            feeding.cancel()
            await child.stop()


def arguments(turn: Turn) -> list[str]:
    """Return the program and its arguments for a turn.

    Raises:
        AgentError: the model or the session has a name that could pass for an option.
    """
    options: Options = turn.agent.options
    model = turn.model or turn.agent.model
    values = (
        (options.model_args, "{model}", _checked("model", model)),
        (options.system_args, "{system_prompt}", turn.agent.system_prompt),
        (options.resume_args, "{session}", _checked("session", turn.session_ref)),
    )
    argv = list(options.command)
    for added, placeholder, value in values:
        if value:
            argv += [argument.replace(placeholder, value) for argument in added]
    if options.prompt is Prompt.ARGUMENT:
        argv += ["--", prompt_text(turn)]
    return argv


def _checked(what: str, value: str | None) -> str | None:
    if value and not is_value(value):
        raise AgentError(f"the {what} {value[:64]!r} cannot be handed to the command: it has odd characters.")
    return value


def prompt_text(turn: Turn) -> str:
    """Return what the program is given as the prompt."""
    options: Options = turn.agent.options
    if turn.agent.system_prompt and not options.system_args and turn.session_ref is None:
        return f"{turn.agent.system_prompt}\n\n{turn.input}"
    return turn.input


async def _feed(child: Child, data: bytes) -> None:
    """Write the prompt beside the reading: a program may write a lot before it has read it all."""
    await child.say(data)
    child.close_stdin()


async def _read_text(child: Child, options: Options) -> AsyncGenerator[Text, None]:
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    held = ""
    size = 0
    while data := await child.stdout.read(BUFFER):
        size += len(data)
        text = held + decode(data)
        piece = text.rstrip("\n")
        held = text[len(piece) :]
        if piece:
            yield Text(delta=piece)
        _within(size, options)
    if last := decode(b"", final=True):
        yield Text(delta=held + last)


async def _read_lines(child: Child, options: Options) -> AsyncGenerator[Said | SessionRef | Reply, None]:
    reader = Reader(options.map)
    size = 0
    async with aclosing(lines(child.stdout, min(LINE, options.max_output))) as written:
        async for line in written:
            size += len(line) + 1
            _within(size, options)
            for said in reader.read(line):
                yield said
    if reader.strange:
        yield Log(level="warning", message=f"passed over {reader.strange} lines that were not JSON objects.")
    if reader.error:
        raise AgentError(reader.error)


def _within(size: int, options: Options) -> None:
    if size > options.max_output:
        raise AgentError(
            f"the command wrote more than {options.max_output} bytes and was stopped.",
            remedy="Raise `max_output` if it may write so much.",
        )


def _judge(status: int, stderr: str) -> None:
    """Raise `AgentError` unless the program succeeded."""
    if status == 0:
        return
    how = f"exited with status {status}" if status > 0 else f"was killed by {_signal_name(-status)}"
    # Colours and other control characters have no place in a message that goes to chats and logs.
    shown = "".join(c for c in stderr[-SHOWN:] if c.isprintable() or c == "\n").strip()
    raise AgentError(f"the command {how}: {shown}" if shown else f"the command {how}.")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


BACKEND = BackendType(options=Options, open=Command)
