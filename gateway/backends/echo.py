"""The echo agent answers `echo: <input>`: to try things out, and, with a script, for tests.

With `script` on, it carries out each line `@@ verb argument` of the input instead of echoing it:

    @@ say TEXT      answer TEXT               @@ sleep S      wait S seconds
    @@ fail TEXT     fail with TEXT            @@ hang         never answer
    @@ words N S     stream N words, S seconds apart
    @@ think TEXT    think TEXT, before it answers
    @@ tool NAME T   use a tool of that name, which returns the text T
    @@ finish WHY    end the answer because of WHY: length or content_filter
    @@ history       answer how many messages came before
    @@ goal N        reach a goal in the Nth turn of the session
    @@ ask TEXT      ask for permission to TEXT, and answer what people said
    @@ question JSON ask a question: {"message": ..., "fields": [...]}; answer what people said, as JSON
    @@ refuse TEXT   refuse the prompt with TEXT
    @@ notice WORD   tell that notice of the conversation
    @@ file NAME T   make a file of that name with the text T
    @@ read          answer the SHA-256 of each attached file
    @@ crash         raise an error that is not an `AgentError`
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator

import msgspec
from msgspec import Struct

from gateway.backends import BackendResources, BackendType
from gateway.domain.agent import Agent
from gateway.domain.event import Log, Notice, Text, Thinking, Tool, ToolEnd, Usage
from gateway.domain.file import describe_file
from gateway.domain.permission import PERMISSION_CHOICES, PermissionQuestion
from gateway.domain.ports.backend import Abilities, AgentHealth, FileKind, NewFile, Turn, TurnOutput
from gateway.domain.question import Question
from gateway.domain.run import FinishReason
from gateway.errors import AgentError, PromptRefused


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of an echo agent."""

    #: carry out `@@` lines of the input
    script: bool = False
    #: say below each answer that this is no real agent; so does the one that answers where none was found
    mark: bool = False


#: what stands below an answer that must not pass for that of a real agent
ECHO_MARK = (
    "\n\n(This is Moongate's built-in echo, which only repeats your message: no agent was found on this machine. "
    "To look for one: gateway agents detect)"
)


class Echo:
    """Answers at once, from the input alone."""

    def __init__(self, resources: BackendResources) -> None: ...

    async def __aenter__(self) -> Echo:
        return self

    async def __aexit__(self, *exc: object) -> None: ...

    async def check_health(self, agent: Agent) -> AgentHealth:
        missing = "no agent was found on this machine. To look for one: gateway agents detect"
        detail = "built in: repeats its input"
        return AgentHealth(ok=True, detail=detail, missing=missing if agent.options.mark else "")

    def accepts(self, agent: Agent) -> frozenset[FileKind]:
        return frozenset(FileKind)

    async def stream_turn(self, turn: Turn) -> AsyncGenerator[TurnOutput, None]:
        if turn.agent.options.script and "@@ " in turn.input:
            for line in turn.input.splitlines():
                if line.startswith("@@ "):
                    async for said in _run_directive(turn, line[3:]):
                        yield said
        else:
            names = [f"[{describe_file(file)}]" for file in turn.attachments]
            yield Text(delta=" ".join(filter(None, [f"echo: {turn.input}", *names])))
        if turn.agent.options.mark:
            yield Text(delta=ECHO_MARK)
        yield Usage(input=len(turn.input.split()), output=len(turn.input.split()) + 1)


async def _run_directive(turn: Turn, line: str) -> AsyncGenerator[TurnOutput, None]:
    verb, _, argument = line.partition(" ")
    match verb:
        case "words" | "think" | "tool" | "file" | "read":
            async for said in _STREAMS[verb](turn, argument):
                yield said
        case "say" | "history" | "goal" | "ask" | "question":
            yield Text(delta=await _compose_answer(turn, verb, argument))
        case "sleep":
            await asyncio.sleep(float(argument))
        case "finish":
            yield FinishReason(argument)
        case "fail" | "refuse":
            raise (AgentError if verb == "fail" else PromptRefused)(argument or f"told to {verb}")
        case "notice":
            yield Log(level="warning", message=f"told to notice {argument}.", notice=Notice(argument))
        case "hang":
            await asyncio.Event().wait()
        case "crash":
            raise RuntimeError("told to crash")
        case _:
            raise AgentError(f"no such verb: {verb}")


async def _stream_words(turn: Turn, argument: str) -> AsyncGenerator[TurnOutput, None]:
    count, _, pause = argument.partition(" ")
    for number in range(int(count)):
        await asyncio.sleep(float(pause or 0))
        yield Text(delta=f"w{number} ")


async def _think(turn: Turn, argument: str) -> AsyncGenerator[TurnOutput, None]:
    yield Thinking(delta=argument)


async def _use_tool(turn: Turn, argument: str) -> AsyncGenerator[TurnOutput, None]:
    name, _, output = argument.partition(" ")
    yield Tool(id=name, name=name, args={"text": output})
    yield ToolEnd(id=name, name=name, output=output, seconds=0.0)


async def _make_file(turn: Turn, argument: str) -> AsyncGenerator[TurnOutput, None]:
    name, _, text = argument.partition(" ")
    yield NewFile(name=name, media_type="", content=text.encode())


async def _read_files(turn: Turn, argument: str) -> AsyncGenerator[TurnOutput, None]:
    for file in turn.attachments:
        yield Text(delta=hashlib.sha256(await turn.read_file(file)).hexdigest() + "\n")


_STREAMS = {"words": _stream_words, "think": _think, "tool": _use_tool, "file": _make_file, "read": _read_files}


async def _compose_answer(turn: Turn, verb: str, argument: str) -> str:
    match verb:
        case "history":
            return f"{len(await turn.read_history())} messages"
        case "goal":
            turns = len(await turn.read_history()) // 2 + 1
            return f"turn {turns}" + ("\nGOAL_COMPLETE" if turns >= int(argument) else "")
        case "ask":
            return await turn.ask_permission(PermissionQuestion(action=argument, choices=PERMISSION_CHOICES))
        case "question":
            given = await turn.ask_question(msgspec.json.decode(argument, type=Question))
            return msgspec.json.encode(given).decode()
    return argument


def describe_agent(agent: Agent) -> Abilities:
    """Tell that it counts words as tokens, and costs nothing that it could tell."""
    return Abilities(tells_tokens=True, tells_cost=False)


BACKEND = BackendType(options=Options, open=Echo, describe=describe_agent, uses_workspace=False)
