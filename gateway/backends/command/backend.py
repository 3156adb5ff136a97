"""Any program as an agent: the prompt on its standard input, the answer on its standard output.

    {"id": "main", "backend": "command", "command": ["my-agent", "--quiet"]}

With `output: "text"`, everything that the program writes is the answer, without the line feeds at its
end. With `output: "jsonl"`, the program writes JSON lines, and the rules of `map` give them a meaning. A
rule applies to each line that has the values in `when`; its other fields are the dotted paths of the
values to read. Several rules may apply to one line. A line to which none applies is skipped, and so is
a line that is not a JSON object. For example:

    {"id": "main", "backend": "command", "output": "jsonl",
     "command": ["my-agent", "--json"],
     "model_args": ["--model", "{model}"], "resume_args": ["--session", "{session}"],
     "map": [
       {"session": "id"},
       {"when": {"type": "text"}, "text": "delta"},
       {"when": {"type": "tool"}, "tool": {"id": "call", "name": "tool.name", "args": "tool.input"}},
       {"when": {"type": "result"}, "tool": {"id": "call", "name": "tool.name", "output": "output"}},
       {"when": {"type": "done"}, "finish": "reason",
        "usage": {"input": "tokens.in", "output": "tokens.out", "cost": "usd"}},
       {"when": {"type": "error"}, "error": "message"}]}

A known program needs only the name of its preset; `presets` has the rest:

    {"id": "main", "backend": "command", "preset": "opencode-run"}

Lines on standard error are in the run's log at once. Exit status 0 is success. With another status, the turn fails,
and the end of standard error is the reason. An agent's `system_prompt` goes into `system_args`, or before the first
prompt of a conversation. The prompt names the attached files; their paths are in `MOONGATE_ATTACHMENTS`, one a line,
and in `file_args`. Files that the program writes into the directory `MOONGATE_OUTBOX` are sent to people.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing

from gateway.backends import BackendResources, BackendType
from gateway.backends.command.options import Options, OutputFormat, PromptChannel
from gateway.backends.command.presets import KNOWN_PROGRAMS, KnownProgram
from gateway.backends.command.rules import LineReader, is_safe_argument
from gateway.config import Config
from gateway.domain.agent import Agent, PermissionPolicy
from gateway.domain.candidate import Candidate
from gateway.domain.event import BackendEvent, Log, Text
from gateway.domain.ports.backend import (
    MAX_RECAP_TOKENS,
    Abilities,
    AgentHealth,
    FileKind,
    FullReply,
    NamedTurn,
    RestartedTurn,
    SessionRef,
    Turn,
    TurnOutput,
)
from gateway.domain.run import FinishReason
from gateway.domain.trace import TRACEPARENT_VARIABLE
from gateway.errors import AgentError, GatewayError
from gateway.process.child import OUTPUT_BUFFER_BYTES, Child, find_program, read_lines
from gateway.process.side_output import SideOutput, mix_in
from gateway.process.terminal_text import TerminalDecoder

#: bytes of one JSON line, at most
MAX_JSON_LINE_BYTES = 8 * 1024 * 1024
#: characters of standard error that an error message shows, at most
MAX_SHOWN_STDERR_CHARACTERS = 500
#: bytes of one argument that Linux takes, at most (MAX_ARG_STRLEN), without some room for what frames a transcript
MAX_ARGUMENT_BYTES = 131_072 - 1024
#: seconds for a known program to prepare its home directory
PREPARE_TIMEOUT_SECONDS = 60.0
#: variables with the paths of the attached files, one a line, and with the directory for files that people get
ATTACHMENTS_VARIABLE, OUTBOX_VARIABLE = "MOONGATE_ATTACHMENTS", "MOONGATE_OUTBOX"


#: how programs say that they do not have the session that they were told to continue
_LOST_SESSION_WORDS = re.compile(
    r"\b(session|conversation|thread|chat)s?\b[^\n]{0,120}"
    r"\b(not found|not exist|doesn't exist|no longer exists|expired)"
    r"|\b(no|no such|unknown|invalid|find|found|load|resume)( the| a)? (session|conversation|thread|chat)\b",
    re.IGNORECASE,
)


class _SessionForgotten(AgentError):
    """The program has lost the session."""


class CommandBackend:
    """Runs the program once for each turn."""

    def __init__(self, resources: BackendResources) -> None:
        self._resources = resources
        self._children = resources.children
        self._directory = str(resources.directory)

    async def __aenter__(self) -> CommandBackend:
        return self

    async def __aexit__(self, *exc: object) -> None: ...

    async def check_health(self, agent: Agent) -> AgentHealth:
        known = agent.options.known_program
        try:
            return AgentHealth(ok=True, detail=self._find_program(agent))
        except GatewayError as error:
            return AgentHealth(ok=False, detail=f"{error.message} {known.install}" if known else str(error))

    def _find_program(self, agent: Agent) -> str:
        place = agent.workspace or self._directory
        return find_program(agent.options.expanded_options.command[0], self._build_environment(agent), place)

    def _build_environment(self, agent: Agent, depth: int = 0) -> dict[str, str]:
        given = self._resources.environ
        passed = {name: given[name] for name in agent.options.pass_env if name in given}
        known: KnownProgram | None = agent.options.known_program
        asking = known.asking if known is not None and agent.must_ask else {}
        return self._children.make_environment({**asking, **passed, **agent.env}, depth)

    def accepts(self, agent: Agent) -> frozenset[FileKind]:
        options: Options = agent.options.expanded_options
        return frozenset(options.file_kinds if options.file_args else ())

    async def stream_turn(self, turn: Turn) -> AsyncGenerator[TurnOutput, None]:
        known: KnownProgram | None = turn.agent.options.known_program
        turn, paths = await turn.place_and_name(turn.attachments)
        try:
            if known is not None:
                await self._prepare_home(turn, known)
            if turn.session_ref is None and turn.agent.options.expanded_options.resume_args:
                restarted = await _restart_conversation(turn, "the program has no session for this conversation")
                if restarted is not None:
                    yield restarted.remark
                    turn = restarted.turn
            async with aclosing(self._run_program(NamedTurn(turn, paths), known)) as saying:
                async for said in saying:
                    yield said
        except _SessionForgotten as error:
            restarted = await _restart_conversation(turn, str(error))
            assert restarted is not None, "only a session that there was can be lost"
            yield restarted.remark
            async with aclosing(self._run_program(NamedTurn(restarted.turn, paths), known)) as saying:
                async for said in saying:
                    yield said

    async def _run_program(self, named: NamedTurn, known: KnownProgram | None) -> AsyncGenerator[TurnOutput, None]:
        turn = named.turn
        options = turn.agent.options.expanded_options
        given = build_prompt(turn).encode("utf-8", "replace") if options.prompt is PromptChannel.STDIN else b""
        child = await self._start_program(named, build_arguments(turn, named.paths), known)
        feeding = asyncio.create_task(_write_prompt(child, given), name="child-feed")
        reader = LineReader(options.map)
        read_output = (
            _read_lines(child, options, reader) if options.output is OutputFormat.JSONL else _read_text(child, options)
        )
        side = SideOutput()
        child.follow_stderr(side.feed)
        spoken = False
        try:
            async with aclosing(mix_in(read_output, side, _make_log)) as saying:
                async for said in saying:
                    spoken = spoken or not isinstance(said, SessionRef | Log)
                    yield said
            complaint = child.stderr_tail()[-MAX_SHOWN_STDERR_CHARACTERS:] or reader.skipped_text
            _check_exit(await child.wait_ended(), complaint)
            if options.output is OutputFormat.JSONL and reader.lacks_answer:
                why = f": {complaint}" if complaint else "."
                raise AgentError(f"the command ended without an answer{why}")
            if reader.finish is not FinishReason.STOP:
                yield reader.finish
        except AgentError as error:
            if turn.session_ref is not None and not spoken and _LOST_SESSION_WORDS.search(error.message):
                raise _SessionForgotten("the program has lost its session.") from error
            if known is not None and known.unclear in error.message:
                raise AgentError(error.message, remedy=known.remedy) from error
            raise
        finally:
            feeding.cancel()
            await child.stop_group()

    async def _prepare_home(self, turn: Turn, known: KnownProgram) -> None:
        """Let a known program prepare its home directory once, before several turns use it at the same time."""
        argv = [*(turn.agent.options.command or known.program), *known.prepare]
        async with self._children.first_start(argv[0], self._build_environment(turn.agent)) as first:
            if not first:
                return
            child = await self._start_program(NamedTurn(turn, ()), argv, known)
            try:
                child.close_stdin()
                with contextlib.suppress(TimeoutError):  # the turn itself will fail with the reason
                    async with asyncio.timeout(PREPARE_TIMEOUT_SECONDS):
                        while await child.stdout.read(OUTPUT_BUFFER_BYTES):
                            pass
                        await child.wait_ended()
            finally:
                await child.stop_group()

    async def _start_program(self, named: NamedTurn, argv: list[str], known: KnownProgram | None) -> Child:
        turn = named.turn
        files = {ATTACHMENTS_VARIABLE: "\n".join(named.paths)}
        if turn.outbox:  # a program could take an empty one for the root
            files[OUTBOX_VARIABLE] = turn.outbox
        env = self._build_environment(turn.agent, turn.depth) | files
        if (traceparent := self._resources.find_traceparent(turn)) is not None:
            env.setdefault(TRACEPARENT_VARIABLE, traceparent)
        try:
            return await self._children.spawn_child(argv, cwd=turn.workspace, env=env, run=turn.run)
        except AgentError as error:
            raise AgentError(error.message, remedy=known.install if known else error.remedy) from error


async def _restart_conversation(turn: Turn, why: str) -> RestartedTurn | None:
    """Return the turn with the transcript, as much of it as an argument of the command can hold."""
    if turn.agent.options.expanded_options.prompt is PromptChannel.STDIN:
        return await turn.restart_conversation(why)
    # An estimated token has at most four bytes.
    room = MAX_ARGUMENT_BYTES - len(build_prompt(turn).encode("utf-8", "replace"))
    return await turn.restart_conversation(why, max_tokens=min(MAX_RECAP_TOKENS, max(0, room // 5)))


def build_arguments(turn: Turn, paths: Sequence[str] = ()) -> list[str]:
    """Return the program and its arguments for a turn.

    Args:
        paths: where its attached files are. They are absolute, so that no program can read one as an option.

    Raises:
        AgentError: the program could read the name of the model or the session as an option.
    """
    options: Options = turn.agent.options.expanded_options
    model = turn.model or turn.agent.model
    values = (
        (options.model_args, "{model}", _check_value("model", model)),
        (options.system_args, "{system_prompt}", turn.agent.system_prompt),
        (options.resume_args, "{session}", _check_value("session", turn.session_ref)),
    )
    argv = list(options.command)
    if turn.agent.permission_policy is PermissionPolicy.ALLOW:
        argv += options.allow_args
    for file, path in zip(turn.attachments, paths, strict=False):
        if FileKind.classify(file) in options.file_kinds:
            argv += [argument.replace("{file}", path) for argument in options.file_args]
    for added, placeholder, value in values:
        if value:
            argv += [argument.replace(placeholder, value) for argument in added]
    if options.prompt is PromptChannel.ARGUMENT:
        argv += ["--", build_prompt(turn)]
    return argv


def _check_value(what: str, value: str | None) -> str | None:
    if value and not is_safe_argument(value):
        raise AgentError(f"the {what} {value[:64]!r} cannot be an argument of the command: it has special characters.")
    return value


def build_prompt(turn: Turn) -> str:
    """Return the prompt, with the system prompt before it where `system_args` does not carry that."""
    options: Options = turn.agent.options
    if turn.agent.system_prompt and not options.system_args and turn.session_ref is None:
        return f"{turn.agent.system_prompt}\n\n{turn.input}"
    return turn.input


async def _write_prompt(child: Child, data: bytes) -> None:
    """Write the prompt while the output is read: a program may write a lot before it has read all of it."""
    await child.write_stdin(data)
    child.close_stdin()


async def _read_text(child: Child, options: Options) -> AsyncGenerator[Text | FullReply, None]:
    decoder = TerminalDecoder()
    held = ""
    size = 0
    while data := await child.stdout.read(OUTPUT_BUFFER_BYTES):
        size += len(data)
        text = held + decoder.feed_bytes(data)
        piece = text.rstrip("\n")
        held = text[len(piece) :]
        if piece:
            yield Text(delta=piece)
        _check_size(size, options)
    if last := (held + decoder.feed_bytes(b"", final=True)).rstrip("\n"):
        yield Text(delta=last)
    if decoder.was_redrawn:
        yield FullReply(decoder.whole_text.rstrip("\n"))


async def _read_lines(
    child: Child, options: Options, reader: LineReader
) -> AsyncGenerator[BackendEvent | SessionRef | FullReply, None]:
    size = 0
    async with aclosing(read_lines(child.stdout, min(MAX_JSON_LINE_BYTES, options.max_output))) as written:
        async for line in written:
            size += len(line) + 1
            _check_size(size, options)
            for said in reader.read_line(line):
                yield said
    if reader.skipped_text:
        how_much = f"{reader.skipped_lines} lines that were" if reader.skipped_lines else "text that was"
        yield Log(level="warning", message=f"passed over {how_much} not JSON objects: {reader.skipped_text}")
    if reader.first_error:
        raise AgentError(reader.first_error)


def _check_size(size: int, options: Options) -> None:
    if size > options.max_output:
        raise AgentError(
            f"the command wrote more than {options.max_output} bytes and was stopped.",
            remedy="Raise `max_output` to allow more.",
        )


def _make_log(line: str) -> Log:
    """Return the entry in the run's log for a line of the program's standard error."""
    return Log(level="warning", message=f"the program writes: {line}")


def _check_exit(status: int, complaint: str) -> None:
    """Raise `AgentError` unless the program succeeded."""
    if status == 0:
        return
    how = f"exited with status {status}" if status > 0 else f"was killed by {_signal_name(-status)}"
    raise AgentError(f"the command {how}: {complaint}" if complaint else f"the command {how}.")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def describe_agent(agent: Agent) -> Abilities:
    """Tell whether a rule reads the tokens and the cost from the program's output."""
    used = [rule.usage for rule in agent.options.expanded_options.map if rule.usage is not None]
    return Abilities(
        tells_tokens=None if any(each.input or each.output for each in used) else False,
        tells_cost=None if any(each.cost for each in used) else False,
    )


def list_candidates(environ: Mapping[str, str], config: Config) -> Iterator[Candidate]:
    """Yield the known programs. None is used unless it is chosen: each does less than another backend for it."""
    for preset, known in KNOWN_PROGRAMS.items():
        yield Candidate(
            name=preset,
            agent=Agent(id="main", backend="command", options=Options(preset=preset)),
            program=known.program[0],
            install=known.install,
            is_automatic=False,
        )


BACKEND = BackendType(options=Options, open=CommandBackend, list_candidates=list_candidates, describe=describe_agent)
