"""The opencode backend against the real program, offline, with a scripted model behind it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import msgspec
import psutil
import pytest
import pytest_asyncio
from aiohttp import web
from pytest_aiohttp import AiohttpServer

from gateway import app, config
from gateway.backends import BackendResources
from gateway.backends.opencode import backend, connection, server, wire
from gateway.backends.opencode import turn as opencode_turn
from gateway.backends.opencode.backend import OpencodeBackend
from gateway.backends.opencode.connection import ServerConnection
from gateway.backends.opencode.events import EventInbox, EventsLost
from gateway.backends.opencode.options import Options
from gateway.backends.opencode.server import SharedServer
from gateway.domain.agent import Agent, PermissionPolicy
from gateway.domain.event import Log, Notice, Permission, Text, Thinking, Tool, ToolEnd, Usage
from gateway.domain.permission import PERMISSION_CHOICES, Answer
from gateway.domain.ports.backend import AgentHealth, FullReply, SessionRef, Turn, TurnOutput
from gateway.domain.question import FieldType
from gateway.domain.run import FinishReason
from gateway.domain.session import Message
from gateway.errors import AgentError
from gateway.process import orphans
from gateway.process.child import Children
from gateway.process.scratch import ScratchSpace
from harness.scripted_model import ScriptedModel, serve_model
from harness.waiting import PATIENCE, until
from tests.support import installed
from tests.support import opencode as real
from tests.support.ledger import MemoryLedger
from tests.support.people import People
from tests.support.turns import exchange

pytestmark = [
    pytest.mark.agents("opencode"),
    pytest.mark.asyncio(loop_scope="module"),
]

module_fixture = pytest_asyncio.fixture(scope="module", loop_scope="module")

GATEWAY_SECRET = "token-of-the-gateway"
GATEWAY_ENVIRON = {
    "PATH": os.environ["PATH"],
    "MOONGATE_TOKEN": GATEWAY_SECRET,
    "OPENCODE_TEST_PASSWORD": "of a server",
}


@dataclass
class Answered:
    """What a turn yielded."""

    said: list[TurnOutput] = field(default_factory=list)
    #: how it failed, if it did
    error: AgentError | None = None

    def of(self, kind: type[Any]) -> list[Any]:
        return [one for one in self.said if isinstance(one, kind)]

    @property
    def text(self) -> str:
        return "".join(one.delta for one in self.of(Text))

    @property
    def reply(self) -> str:
        [reply] = self.of(FullReply)
        assert isinstance(reply, FullReply)
        return reply.text

    @property
    def ref(self) -> str:
        [ref] = self.of(SessionRef)
        assert isinstance(ref, SessionRef)
        return ref.ref


@dataclass
class Rig:
    """A backend, the model behind it, and an agent of it."""

    backend: OpencodeBackend
    model: ScriptedModel
    agent: Agent
    ledger: MemoryLedger
    directory: Path
    count: int = 0
    people: People = field(default_factory=People)
    history: Sequence[Message] = ()

    async def read_history(self) -> Sequence[Message]:
        return self.history

    def but(self, *, options: dict[str, Any] | None = None, **changes: Any) -> Rig:
        """Return the same with another agent."""
        given = self.agent.options
        new = msgspec.structs.replace(given, **options) if options else given
        agent = msgspec.structs.replace(self.agent, options=new, **changes)
        return Rig(self.backend, self.model, agent, self.ledger, self.directory / f"but{time.monotonic_ns()}")

    def workspace(self) -> Path:
        self.count += 1
        path = self.directory / f"work{self.count}"
        path.mkdir(parents=True)
        return path

    def turn(
        self, prompt: str, workspace: Path, ref: str | None = None, model: str | None = None
    ) -> AsyncGenerator[TurnOutput, None]:
        turn = Turn(
            run="run",
            attempt=1,
            agent=self.agent,
            input=prompt,
            model=model,
            session="main:test:one",
            session_ref=ref,
            workspace=str(workspace),
            read_history=self.read_history,
            ask_permission=self.people.ask,
            ask_question=self.people.ask_question,
        )
        return self.backend.stream_turn(turn)

    async def ask(
        self, prompt: str, workspace: Path | None = None, ref: str | None = None, model: str | None = None
    ) -> Answered:
        """Take a whole turn."""
        answered = Answered()
        turn = self.turn(prompt, workspace or self.workspace(), ref, model)
        try:
            async with asyncio.timeout(2 * PATIENCE), aclosing(turn) as said:
                async for one in said:
                    answered.said.append(one)
        except AgentError as error:
            answered.error = error
        return answered


@asynccontextmanager
async def rigged(directory: Path, model: ScriptedModel, **options: Any) -> AsyncIterator[Rig]:
    """Open a backend with an agent for a scripted model."""
    entry = real.agent(model.base_url, directory / "home")
    given = {"command": entry.pop("command"), "config": entry.pop("config")}
    agent = msgspec.convert(entry, Agent)
    agent = msgspec.structs.replace(agent, options=msgspec.convert(given | options, Options))
    ledger = MemoryLedger()
    children = Children(ledger, GATEWAY_ENVIRON, ScratchSpace(directory / "scratch"))
    async with OpencodeBackend(
        BackendResources(children=children, environ=GATEWAY_ENVIRON, directory=directory / "own")
    ) as backend:
        yield Rig(backend, model, agent, ledger, directory)
    assert not ledger.alive(), "nothing outlives the backend"
    assert not list((directory / "scratch").glob("*")), "what a server unpacked goes with it"


@module_fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with serve_model() as model:
        yield model


@module_fixture
async def rig(model: ScriptedModel, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    """One backend for the module: a server takes seconds to start."""
    async with rigged(tmp_path_factory.mktemp("opencode"), model) as rig:
        yield rig


@module_fixture
async def stranger(model: ScriptedModel, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The URL of a server that somebody else started; its password is in OPENCODE_TEST_PASSWORD."""
    home = tmp_path_factory.mktemp("stranger")
    env = real.environment(home) | {
        "PATH": GATEWAY_ENVIRON["PATH"],
        "BUN_TMPDIR": str(home),
        "OPENCODE_CONFIG_CONTENT": json.dumps(real.config(model.base_url)),
        "OPENCODE_SERVER_PASSWORD": GATEWAY_ENVIRON["OPENCODE_TEST_PASSWORD"],
    }
    process = await asyncio.create_subprocess_exec(
        installed.program("opencode"),
        "serve",
        "--port",
        "0",
        env=env,
        cwd=home,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        while b"listening on" not in (line := await process.stdout.readline()):
            assert line, "the server has ended"
    yield line.split()[-1].decode()
    process.kill()
    await process.communicate()


def commands(word: str) -> list[psutil.Process]:
    """Return the processes that have this word in their command line."""
    return [p for p in psutil.process_iter(["cmdline"]) if word in " ".join(p.info["cmdline"] or [])]


def pid_of_server(rig: Rig) -> int:
    [who] = rig.ledger.recorded
    return who.pid


# --- a turn -----------------------------------------------------------------------------------


async def test_a_turn_yields_its_session_then_text_then_usage_and_the_reply(rig: Rig) -> None:
    answered = await rig.ask("[[say hello you]]")

    assert answered.error is None
    assert isinstance(answered.said[0], SessionRef)
    assert answered.text == answered.reply == "hello you"
    [usage] = answered.of(Usage)
    assert usage.input > 100
    assert usage.output == 2


async def test_text_comes_as_it_is_written(rig: Rig) -> None:
    came = 0
    async with aclosing(rig.turn("[[slow 5000 100]]", rig.workspace())) as said:
        async for one in said:
            came += isinstance(one, Text)
            if came == 4:
                break
        assert rig.model.counters.active == 1


async def test_a_session_remembers_its_turns(rig: Rig) -> None:
    workspace = rig.workspace()
    first = await rig.ask("[[say noted]] the word is heliotrope", workspace)

    second = await rig.ask("[[history]]", workspace, first.ref)
    third = await rig.ask("[[recall]]", workspace, second.ref)

    assert first.ref == second.ref == third.ref
    assert second.reply.endswith("user,assistant,user")
    assert "heliotrope" in third.reply


async def test_a_tool_has_a_start_and_an_end_and_all_steps_are_counted(rig: Rig) -> None:
    answered = await rig.ask('[[tool bash {"command": "echo out of the shell", "description": "x"}]]')

    [tool], [end], [usage] = answered.of(Tool), answered.of(ToolEnd), answered.of(Usage)
    assert (tool.name, tool.args["command"]) == ("bash", "echo out of the shell")
    assert (end.id, end.name, end.is_error, end.output) == (tool.id, "bash", False, "out of the shell\n")
    assert answered.reply == "tool result: out of the shell\n"
    alone = await rig.ask("[[say x]]")
    assert usage.input > 1.5 * alone.of(Usage)[0].input, "two calls of the model"


async def test_a_tool_works_in_the_workspace(rig: Rig) -> None:
    workspace = rig.workspace()

    await rig.ask(f'[[tool write {{"filePath": "{workspace}/made.txt", "content": "by an agent"}}]]', workspace)

    assert (workspace / "made.txt").read_text() == "by an agent"


async def test_reasoning_is_separate_from_the_answer(rig: Rig) -> None:
    answered = await rig.ask("[[think let me see]]")

    assert "".join(one.delta for one in answered.of(Thinking)) == "let me see"
    assert answered.reply == answered.text == "done thinking"


async def test_a_prompt_is_data_whatever_it_looks_like(rig: Rig) -> None:
    prompt = "--help $(touch /tmp/x) `id` \x00 é 😀 @README.md /init " + "0123456789 " * 20_000

    answered = await rig.ask(prompt)

    assert answered.error is None
    [body] = [r["body"] for r in rig.model.requests if "--help $(touch" in json.dumps(r["body"])]
    sent = [message["content"] for message in body["messages"] if message["role"] == "user"][-1]
    assert (sent if isinstance(sent, str) else sent[0]["text"]) == prompt


async def test_half_a_character_breaks_neither_the_turn_nor_the_session(rig: Rig) -> None:
    workspace = rig.workspace()

    first = await rig.ask("[[say half \ud83d of it]]", workspace)
    second = await rig.ask("[[say more]]", workspace, first.ref)

    assert (first.error, first.reply) == (None, "half \N{REPLACEMENT CHARACTER} of it")
    assert (second.error, second.reply, second.ref) == (None, "more", first.ref)


async def test_the_model_and_the_system_prompt_are_passed_on(rig: Rig) -> None:
    answered = await rig.but(system_prompt="You are a lighthouse.").ask(
        "[[say beam]] far out", model="scripted/scripted-b"
    )

    assert answered.reply == "beam"
    [body] = [r["body"] for r in rig.model.requests if "far out" in json.dumps(r["body"])]
    assert body["model"] == "scripted-b"
    assert "You are a lighthouse." in json.dumps(body["messages"])


async def test_sessions_at_the_same_time_do_not_mix(rig: Rig) -> None:
    workspace = rig.workspace()
    alone = [rig.ask(f"[[say {name} {name} {name}]]", rig.workspace()) for name in ("ash", "elm", "fir")]
    together = [rig.ask("[[slow 10 30]]", workspace), rig.ask("[[say oak]]", workspace)]

    answers = await asyncio.gather(*alone, *together)

    replies = [(answered.text, answered.reply) for answered in answers]
    expected = ["ash ash ash", "elm elm elm", "fir fir fir", "".join(f"w{n} " for n in range(10)), "oak"]
    # opencode cuts white space off the end of a finished text
    assert [(text.rstrip(), reply.rstrip()) for text, reply in replies] == [(e.rstrip(),) * 2 for e in expected]
    assert len({answered.ref for answered in answers}) == 5


async def test_agents_with_the_same_options_share_one_server(rig: Rig) -> None:
    await rig.ask("[[say x]]")
    await rig.but(id="other", system_prompt="Be another.").ask("[[say y]]")

    assert len(rig.ledger.recorded) == 1


async def test_an_unknown_session_is_replaced_with_a_warning(rig: Rig) -> None:
    answers = [await rig.ask("[[history]]", ref=ref) for ref in ("ses_000000000000AAAAAAAAAAAAAA", "../nonsense")]

    for answered in answers:
        [log] = answered.of(Log)
        assert "does not know the conversation any more: the agent begins a new conversation" in log.message
        assert log.notice is Notice.SESSION_RESTARTED
        assert answered.ref.startswith("ses_")
        assert answered.reply.endswith(": system,user")


@pytest.mark.parametrize("lost", [None, "ses_000000000000AAAAAAAAAAAAAA"])
async def test_opencode_without_the_conversation_of_a_session_is_given_the_transcript(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, lost: str | None
) -> None:
    monkeypatch.setattr(rig, "history", exchange("I am Ada", "Hello Ada", "r1"))
    workspace = rig.workspace()

    told = await rig.ask("What is my name?", workspace, lost)
    again = await rig.ask("And now?", workspace, told.ref)

    assert "User: I am Ada" in json.dumps([request["body"] for request in rig.model.requests])
    assert [log.notice for log in told.of(Log)] == [Notice.SESSION_RESTARTED]
    assert again.of(Log) == []


async def test_a_session_does_not_follow_the_agent_into_another_workspace(rig: Rig) -> None:
    first = await rig.ask("[[say x]]")

    moved = await rig.ask('[[tool bash {"command": "pwd", "description": "x"}]]', ref=first.ref)

    assert moved.ref != first.ref
    assert "workspace has changed" in moved.of(Log)[0].message
    assert f"work{rig.count}" in moved.reply


async def test_unused_directories_are_disposed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_IDLE_DIRECTORIES", 1)
    workspace = rig.workspace()
    first = await rig.ask("[[say x]]", workspace)
    process = psutil.Process(pid_of_server(rig))
    threads = process.num_threads()

    await rig.ask("[[say y]]")
    await rig.ask("[[say z]]")

    # Each prepared directory has three threads or more; the pool of the rest comes and goes.
    await until(lambda: process.num_threads() < threads + 6, "the directories are let go")
    again = await rig.ask("[[history]]", workspace, first.ref)
    assert again.reply.endswith("user,assistant,user")


# --- what goes wrong --------------------------------------------------------------------------


async def test_an_error_of_the_model_is_the_agents_error(rig: Rig) -> None:
    workspace = rig.workspace()
    answered = await rig.ask("[[error 401]]", workspace)

    assert answered.error is not None
    assert "scripted error 401" in answered.error.message
    assert (await rig.ask("[[say better]]", workspace, answered.ref)).reply == "better"


@pytest.mark.parametrize(
    ("change", "name", "message"),
    [
        ({}, "just-a-name", "provider/model"),
        ({}, "scripted/unknown", "Model not found: scripted/unknown"),
        ({"options": {"agent": "nobody"}}, None, 'Agent not found: "nobody"'),
    ],
)
async def test_a_wrong_model_name_is_explained(
    rig: Rig, change: dict[str, Any], name: str | None, message: str
) -> None:
    answered = await rig.but(**change).ask("hi", model=name)

    assert answered.error is not None
    assert message in str(answered.error)


async def test_a_workspace_must_exist(rig: Rig) -> None:
    answered = await rig.ask("hi", rig.directory / "nowhere")

    assert answered.error is not None
    assert "nowhere does not exist" in answered.error.message


async def test_a_temporary_failure_of_the_model_is_logged_and_survived(rig: Rig) -> None:
    answered = await rig.ask("[[error 503 1 0]]")

    assert answered.reply == "recovered"
    assert "scripted error 503" in answered.of(Log)[0].message


async def test_a_model_that_only_fails_ends_the_turn_after_a_while(rig: Rig) -> None:
    workspace = rig.workspace()
    answered = await rig.but(options={"retry_timeout": 3.0}).ask("[[error 429]]", workspace)

    assert answered.error is not None
    assert answered.error.message.startswith("opencode cannot reach the model: scripted error 429 (")
    assert answered.of(Log)
    assert (await rig.ask("[[say on we go]]", workspace, answered.ref)).reply == "on we go"


async def test_a_next_try_that_is_too_late_is_not_waited_for(rig: Rig) -> None:
    answered = await rig.ask("[[error 429 9 3600]]")

    assert answered.error is not None
    assert "scripted error 429 (the next try is in 36" in answered.error.message
    assert answered.error.remedy == "The agent's `retry_timeout` lets it try longer."


async def test_a_turn_that_was_cut_says_why(rig: Rig) -> None:
    answered = await rig.ask("[[cut half of it]]")

    assert (answered.reply, answered.of(FinishReason)) == ("half of it", [FinishReason.LENGTH])


async def test_a_turn_without_an_answer_is_a_failure(rig: Rig) -> None:
    answered = await rig.ask("[[cut]]")

    assert answered.error is not None
    assert answered.error.message == "opencode ended the turn without an answer: length."


async def test_endless_retries_end_with_the_turn(rig: Rig) -> None:
    workspace = rig.workspace()
    turn = rig.turn("[[error 500]]", workspace)
    ref = None
    async for one in turn:
        if isinstance(one, SessionRef):
            ref = one.ref
        if isinstance(one, Log):
            break

    async with asyncio.timeout(PATIENCE):
        await turn.aclose()

    assert (await rig.ask("[[say on we go]]", workspace, ref)).reply == "on we go"


# --- cancelling -------------------------------------------------------------------------------


async def test_closing_a_turn_stops_the_work_and_the_session_goes_on(rig: Rig) -> None:
    workspace = rig.workspace()
    turn = rig.turn("[[slow 5000 100]]", workspace)
    ref = None
    async for one in turn:
        if isinstance(one, SessionRef):
            ref = one.ref
        if isinstance(one, Text):
            break
    assert rig.model.counters.active == 1

    async with asyncio.timeout(PATIENCE):
        await turn.aclose()
    await until(lambda: rig.model.counters.active == 0, "the model is left alone")

    after = await rig.ask("[[say still here]]", workspace, ref)
    assert after.reply == after.text == "still here"


async def test_closing_a_turn_ends_the_command_that_it_runs(rig: Rig) -> None:
    turn = rig.turn('[[tool bash {"command": "sleep 4711.5; echo x", "description": "x"}]]', rig.workspace())
    async for one in turn:
        if isinstance(one, Tool):
            break
    await until(lambda: commands("sleep 4711.5"), "the command runs")

    async with asyncio.timeout(PATIENCE):
        await turn.aclose()
    await until(lambda: not commands("sleep 4711.5"), "the command has ended")


@pytest.mark.parametrize("pause", [0.02, 0.1, 0.3, 0.6])
async def test_a_turn_that_is_closed_before_it_has_begun_does_not_begin(rig: Rig, pause: float) -> None:
    """opencode takes a prompt at once but begins later, and does not hear an abort in between."""
    workspace = rig.workspace()
    refs: list[str] = []

    async def take() -> None:
        async with aclosing(rig.turn("[[slow 5000 100]]", workspace)) as said:
            async for one in said:
                refs.extend([one.ref] if isinstance(one, SessionRef) else [])

    task = asyncio.create_task(take())
    await until(lambda: refs or task.done(), "the turn has a session")
    await asyncio.sleep(pause)
    task.cancel()
    await asyncio.wait([task])

    after = await rig.ask("[[say next]]", workspace, refs[0])
    assert after.reply == after.text == "next"
    await until(lambda: rig.model.counters.active == 0, "the model is left alone")


# --- permissions ------------------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file outside of any workspace: opencode asks before it reads that."""
    path = tmp_path / "outside.txt"
    path.write_text("kept outside")
    return path


async def test_a_request_for_permission_is_denied_by_policy_and_the_agent_is_told(rig: Rig, outside: Path) -> None:
    answered = await rig.ask(f'[[tool read {{"filePath": "{outside}"}}]]')

    [permission] = answered.of(Permission)
    assert permission.action.startswith("external_directory: ")
    assert permission.answer == "deny"
    assert answered.of(ToolEnd)[0].is_error
    assert "Denied by policy" in answered.reply
    assert "kept outside" not in answered.reply


async def test_a_request_for_permission_is_granted_by_policy(rig: Rig, outside: Path) -> None:
    answered = await rig.but(permissions=PermissionPolicy.ALLOW).ask(f'[[tool read {{"filePath": "{outside}"}}]]')

    assert answered.of(Permission)[0].answer == "allow"
    assert "kept outside" in answered.reply


@pytest.fixture
def asking(rig: Rig) -> Rig:
    """The same with people who are asked."""
    return rig.but(permissions=PermissionPolicy.ASK)


async def test_people_are_asked_and_allow_it(asking: Rig, outside: Path) -> None:
    asking.people.says = Answer.ALLOW

    answered = await asking.ask(f'[[tool read {{"filePath": "{outside}"}}]]')

    [asked] = asking.people.asked
    assert (asked.action.split(": ")[0], asked.choices) == ("external_directory", PERMISSION_CHOICES)
    assert "kept outside" in answered.reply
    assert answered.of(Permission) == []


async def test_people_are_asked_and_deny_it(asking: Rig, outside: Path) -> None:
    asking.people.says = Answer.DENY

    answered = await asking.ask(f'[[tool read {{"filePath": "{outside}"}}]]')

    assert answered.of(ToolEnd)[0].is_error
    assert "Denied by the user" in answered.reply
    assert "kept outside" not in answered.reply


async def test_what_people_always_allow_they_are_not_asked_again(asking: Rig, outside: Path) -> None:
    asking.people.says = Answer.ALLOW_ALWAYS
    workspace = asking.workspace()

    first = await asking.ask(f'[[tool read {{"filePath": "{outside}"}}]]', workspace)
    second = await asking.ask(f'[[tool read {{"filePath": "{outside}"}}]]', workspace, first.ref)

    assert "kept outside" in second.reply
    assert len(asking.people.asked) == 1


async def test_people_may_take_long(asking: Rig, outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opencode_turn, "POLL_INTERVAL_SECONDS", 0.05)
    turn = asyncio.create_task(asking.ask(f'[[tool read {{"filePath": "{outside}"}}]]'))
    await until(lambda: asking.people.asked, "people are asked")
    monkeypatch.setattr(opencode_turn, "STALL_TIMEOUT_SECONDS", 0.0)
    api = present(asking).api
    looks, look = [], api.list_permission_requests

    async def looked(session: wire.Session, sessions: Collection[str]) -> Sequence[wire.PermissionAsked]:
        looks.append(await look(session, sessions))
        return looks[-1]

    monkeypatch.setattr(api, "list_permission_requests", looked)
    await until(lambda: len(looks) >= 3, "how things stand was looked at again and again")
    assert (turn.done(), asking.people.given_up) == (False, 0)

    turn.cancel()
    await asyncio.wait({turn})
    assert asking.people.given_up == 1
    monkeypatch.undo()
    assert (await asking.ask("[[say next]]")).reply == "next"


async def test_people_are_no_longer_asked_what_was_answered_elsewhere(asking: Rig, outside: Path) -> None:
    workspace = asking.workspace()
    turn = asyncio.create_task(asking.ask(f'[[tool read {{"filePath": "{outside}"}}]]', workspace))
    await until(lambda: asking.people.asked, "people are asked")
    api = present(asking).api
    here = wire.Session("", str(workspace))
    [asked] = await api.list_permission_requests(here, ())
    await api.answer_permission(asked, here, {"reply": "once"})

    assert "kept outside" in (await turn).reply
    assert asking.people.given_up == 1


async def test_a_server_that_dies_while_people_are_asked_is_an_error_at_once(asking: Rig, outside: Path) -> None:
    turn = asyncio.create_task(asking.ask(f'[[tool read {{"filePath": "{outside}"}}]]'))
    await until(lambda: asking.people.asked, "people are asked")
    os.kill(pid_of_server(asking), signal.SIGKILL)

    answered = await turn
    assert "opencode is gone" in str(answered.error)
    assert asking.people.given_up == 1


def present(rig: Rig) -> ServerConnection:
    """Return the connection to the server that is there."""
    here = rig.backend._find_server(rig.agent).live_connection()
    assert here is not None
    return here


# --- questions --------------------------------------------------------------------------------


def call_question_tool(*questions: dict[str, Any]) -> str:
    """Return a prompt that makes the model ask these questions."""
    return f"[[tool question {json.dumps({'questions': questions})} ]]".replace("]}", "] }")


def one_question(text: str, *labels: str, **more: Any) -> dict[str, Any]:
    options = [{"label": label, "description": f"it is {label}"} for label in labels]
    return {"question": text, "header": f"About {text}", "options": options, **more}


WHICH = one_question("Which?", "Red", "Green")


async def test_people_are_asked_a_question_and_the_agent_goes_on_with_the_answer(asking: Rig) -> None:
    asking.people.content = {"1": "Green"}

    answered = await asking.ask(call_question_tool(WHICH))

    [asked] = asking.people.questions
    [field] = asked.fields
    assert (asked.message, field.title, field.type, field.required, field.custom) == (
        "Which?",
        "About Which?",
        FieldType.CHOICE,
        True,
        True,
    )
    assert [(one.value, one.description) for one in field.options] == [("Red", "it is Red"), ("Green", "it is Green")]
    assert 'answered your questions: "Which?"="Green"' in answered.reply
    assert asking.people.asked == []


async def test_several_questions_are_asked_at_once(asking: Rig) -> None:
    asking.people.content = {"1": "as you like", "2": ["x", "y"]}
    many = [WHICH, one_question("How?", "x", "y", "z", multiple=True), one_question("Why?", "a", multiple=True)]

    answered = await asking.ask(call_question_tool(*many))

    [asked] = asking.people.questions
    assert asked.message == "1. Which?\n2. How?\n3. Why?"
    assert [(one.name, one.multiple, one.required) for one in asked.fields] == [
        ("1", False, True),
        ("2", True, False),
        ("3", True, False),
    ]
    assert '"Which?"="as you like", "How?"="x, y", "Why?"="Unanswered"' in answered.reply


async def test_an_agent_whose_question_nobody_answers_is_told_so_and_goes_on(asking: Rig) -> None:
    asking.people.says = Answer.DENY

    answered = await asking.ask(call_question_tool(WHICH))

    assert '"Which?"="Unanswered"' in answered.reply


async def test_an_agent_that_may_not_ask_people_has_no_tool_for_questions(rig: Rig) -> None:
    answered = await rig.ask(call_question_tool(WHICH))

    assert "unavailable tool 'question'" in answered.reply
    assert rig.people.questions == []


async def test_an_earlier_conversation_follows_a_change_of_the_policy(rig: Rig) -> None:
    workspace, prompt = rig.workspace(), call_question_tool(WHICH)
    before = await rig.ask("[[say hello]]", workspace)
    asking = rig.but(permissions=PermissionPolicy.ASK)
    asking.people.content = {"1": "Red"}
    asked = await asking.ask(prompt, workspace, before.ref)
    again = await rig.ask(prompt, workspace, before.ref)

    assert '"Which?"="Red"' in asked.reply
    assert "unavailable tool 'question'" in again.reply


async def test_a_question_that_another_client_answers_is_withdrawn(asking: Rig) -> None:
    workspace = asking.workspace()
    turn = asyncio.create_task(asking.ask(call_question_tool(WHICH), workspace))
    await until(lambda: asking.people.questions, "people are asked")
    api = present(asking).api
    here = wire.Session("", str(workspace))
    [asked] = await api.list_questions(here, ())
    await api.answer_question(asked, here, {"1": "Red"})

    assert '"Which?"="Red"' in (await turn).reply
    assert asking.people.given_up == 1


async def test_people_may_take_long_for_a_question(asking: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opencode_turn, "POLL_INTERVAL_SECONDS", 0.05)
    turn = asyncio.create_task(asking.ask(call_question_tool(WHICH)))
    await until(lambda: asking.people.questions, "people are asked")
    monkeypatch.setattr(opencode_turn, "STALL_TIMEOUT_SECONDS", 0.0)
    api = present(asking).api
    looks, look = [], api.list_questions

    async def looked(session: wire.Session, sessions: Collection[str]) -> Sequence[wire.QuestionAsked]:
        looks.append(await look(session, sessions))
        return looks[-1]

    monkeypatch.setattr(api, "list_questions", looked)
    await until(lambda: len(looks) >= 3, "how things stand was looked at again and again")
    assert (turn.done(), asking.people.given_up, len(asking.people.questions)) == (False, 0, 1)

    turn.cancel()
    await asyncio.wait({turn})
    assert asking.people.given_up == 1
    monkeypatch.undo()
    assert (await asking.ask("[[say next]]")).reply == "next"


#: a text, or tools and their arguments
Decided = str | list[tuple[str, dict[str, Any]]]
Decide = Callable[[list[dict[str, Any]]], Decided]


def improvised(decide: Decide) -> web.Application:
    """Return a model that answers what `decide` says."""

    async def chat(request: web.Request) -> web.StreamResponse:
        decided = decide((await request.json())["messages"])
        delta: dict[str, Any] = {"role": "assistant", "content": decided}
        if not isinstance(decided, str):
            delta["content"] = None
            delta["tool_calls"] = [
                {"index": index, "id": f"call_{time.monotonic_ns()}", "type": "function"}
                | {"function": {"name": name, "arguments": json.dumps(arguments)}}
                for index, (name, arguments) in enumerate(decided)
            ]
        reason = "stop" if isinstance(decided, str) else "tool_calls"
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for piece, finish in ((delta, None), ({}, reason)):
            choice = {"index": 0, "delta": piece, "finish_reason": finish}
            chunk = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m"}
            await response.write(f"data: {json.dumps(chunk | {'choices': [choice]})}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    app = web.Application(client_max_size=1 << 24)
    app.router.add_post("/v1/chat/completions", chat)
    return app


async def test_helpers_ask_by_policy_too_and_a_model_that_repeats_itself_is_cut_off(
    model: ScriptedModel, tmp_path: Path, outside: Path, aiohttp_server: AiohttpServer
) -> None:
    def decide(messages: list[dict[str, Any]]) -> Decided:
        asked = [json.dumps(message["content"]) for message in messages if message["role"] == "user"][-1]
        results = [message for message in messages if message["role"] == "tool"]
        if "go round in circles" in asked:
            return [("bash", {"command": "true", "description": "nothing"})] * 4
        if "peek" in asked:
            return "the helper is done" if results else [("read", {"filePath": str(outside)})]
        if results:
            return "delegated"
        return [("task", {"description": "d", "prompt": "peek", "subagent_type": "general"})]

    server = await aiohttp_server(improvised(decide), shutdown_timeout=0.1)
    async with rigged(tmp_path, model, config=real.config(str(server.make_url("/v1")))) as rig:
        helped = await rig.ask("delegate")
        looped = await rig.ask("go round in circles")

    assert helped.reply == "delegated"
    assert [one.answer for one in helped.of(Permission)] == ["deny"]
    assert "peek" not in helped.text
    assert "the helper is done" not in helped.text
    assert looped.error is not None
    assert "denied by policy (doom_loop" in looped.error.message
    assert looped.error.remedy is not None


# --- the server -------------------------------------------------------------------------------


async def test_a_server_that_is_killed_fails_its_turns_at_once_and_the_next_one_remembers(rig: Rig) -> None:
    workspace = rig.workspace()
    first = await rig.ask("[[say noted]] the word is heliotrope", workspace)
    sleeping = asyncio.create_task(
        rig.ask('[[tool bash {"command": "sleep 4712.5; echo x", "description": "x"}]]', workspace, first.ref)
    )
    await until(lambda: commands("sleep 4712.5"), "the command runs")

    os.kill(pid_of_server(rig), signal.SIGKILL)
    cut = await sleeping

    assert cut.error is not None
    assert "ended by signal 9" in cut.error.message
    assert not commands("sleep 4712.5"), "what it ran has ended before the turn could be tried again"
    second = await rig.ask("[[recall]]", workspace, first.ref)
    assert second.ref == first.ref
    assert "heliotrope" in second.reply


async def test_an_idle_server_is_stopped_and_started_again(model: ScriptedModel, tmp_path: Path) -> None:
    async with rigged(tmp_path, model, idle_stop=0.3) as rig:
        assert await rig.backend.check_health(rig.agent) == AgentHealth(
            ok=True, version=real.OPENCODE_VERSION, detail="its server is started when it is needed"
        )
        workspace = rig.workspace()
        first = await rig.ask("[[say noted]] the word is heliotrope", workspace)
        unpacked = list((tmp_path / "scratch").glob("*/.*.so"))
        await until(lambda: not rig.ledger.recorded, "the server is stopped")
        assert unpacked, "it unpacks there what it would leave in the temporary directory"
        assert not unpacked[0].exists()

        second = await rig.ask("[[recall]]", workspace, first.ref)

        assert "heliotrope" in second.reply
        assert len(rig.ledger.seen) == 3, "the server twice, and once for its version"


async def test_two_servers_do_not_prepare_the_same_home_at_once(model: ScriptedModel, tmp_path: Path) -> None:
    async with rigged(tmp_path, model) as rig:
        other = rig.but(options={"idle_stop": 600.0})

        answers = await asyncio.gather(rig.ask("[[say one]]"), other.ask("[[say two]]"))

        assert [answered.reply for answered in answers] == ["one", "two"]
        assert len(rig.ledger.recorded) == 2


async def test_a_server_that_ends_before_it_listens_is_started_once_more(model: ScriptedModel, tmp_path: Path) -> None:
    once = f'cd {tmp_path}; [ -f died ] && exec "$0" "$@"; touch died; echo CREATE TABLE workspace failed >&2; exit 1'
    async with rigged(tmp_path, model, command=["sh", "-c", once, installed.program("opencode")]) as rig:
        answered = await rig.ask("[[say noted]]")

    assert answered.reply == "noted"


async def test_a_server_needs_a_password_and_gets_no_secret_of_the_gateway(rig: Rig) -> None:
    answered = await rig.ask('[[tool bash {"command": "env", "description": "x"}]]')
    environ = psutil.Process(pid_of_server(rig)).environ()
    health = await rig.backend.check_health(rig.agent)

    assert health.ok
    assert health.version == real.OPENCODE_VERSION
    assert GATEWAY_SECRET not in answered.reply + str(environ)
    assert len(environ["OPENCODE_SERVER_PASSWORD"]) >= 32
    stranger = rig.but(options={"url": health.detail, "password": "guessed"})
    refused = await stranger.ask("hi")
    assert refused.error is not None
    assert "refused the password" in refused.error.message


async def test_the_models_of_a_server_are_offered_after_a_turn(rig: Rig) -> None:
    await rig.ask("[[say noted]]")
    offer = rig.backend.find_offer(rig.agent)

    assert offer is not None
    assert [model.id for model in offer.models or ()] == ["scripted/scripted", "scripted/scripted-b"]
    assert not offer.takes_model("scripted/scripted-c")


async def test_a_running_server_can_be_used(rig: Rig, stranger: str) -> None:
    guest = rig.but(options={"url": stranger + "/", "password_env": "OPENCODE_TEST_PASSWORD"})
    before = len(rig.ledger.seen)

    answered = await guest.ask("[[say from afar]]")

    assert answered.reply == "from afar"
    assert (await guest.backend.check_health(guest.agent)).version == real.OPENCODE_VERSION
    assert len(rig.ledger.seen) == before, "nothing was started"


async def test_a_connection_that_is_cut_during_a_turn_is_restored(rig: Rig, stranger: str) -> None:
    async with relay(stranger) as (url, cut):
        guest = rig.but(options={"url": url, "password_env": "OPENCODE_TEST_PASSWORD"})
        workspace = guest.workspace()
        turn = asyncio.create_task(guest.ask("[[slow 30 60]]", workspace))
        await until(lambda: rig.model.counters.active, "the answer comes in")
        for _ in range(3):
            await asyncio.sleep(0.4)
            cut()
        answered = await turn

    expected = "".join(f"w{number} " for number in range(30)).rstrip()
    assert answered.error is None
    assert answered.reply.rstrip() == expected
    assert answered.text.rstrip() == expected, "nothing is missing and nothing comes twice"


async def test_an_unreachable_server_comes_with_a_remedy(rig: Rig, closed_port: int) -> None:
    guest = rig.but(options={"url": f"http://127.0.0.1:{closed_port}"})

    answered = await guest.ask("hi")
    health = await guest.backend.check_health(guest.agent)

    assert answered.error is not None
    assert "does not answer" in answered.error.message
    assert not health.ok


async def test_a_missing_password_variable_is_explained(rig: Rig, stranger: str) -> None:
    answered = await rig.but(options={"url": stranger, "password_env": "NOT_SET"}).ask("hi")

    assert answered.error is not None
    assert "NOT_SET is not set" in answered.error.message


async def test_a_missing_program_comes_with_a_remedy(rig: Rig) -> None:
    lost = rig.but(options={"command": ["opencode-that-is-nowhere"]})

    answered = await lost.ask("hi")
    health = await lost.backend.check_health(lost.agent)

    assert answered.error is not None
    assert "no such program" in answered.error.message
    assert not health.ok
    assert "Install it" in health.detail


async def test_a_program_that_is_no_opencode_fails_with_what_it_said(rig: Rig) -> None:
    for script, seconds, message in [
        ("echo not today >&2; exit 3", PATIENCE, "status 3: not today"),
        ("sleep 60", 0.3, "within 0.3 s"),
    ]:
        other = rig.but(options={"command": ["sh", "-c", script], "start_timeout": seconds})
        answered = await other.ask("hi")
        assert answered.error is not None
        assert message in answered.error.message


async def test_what_a_dead_gateway_left_behind_is_ended_and_nothing_else() -> None:
    mine = orphans.make_mark()
    started, boot = mine.split("/")[1:3]
    marks = {"mine": mine, "abandoned": f"999999999/{started}/{boot}/abc", "odd": "x", "none": ""}
    sleepers = {
        name: await asyncio.create_subprocess_exec(
            "sleep", "600", env={"PATH": GATEWAY_ENVIRON["PATH"], orphans.MARK_VARIABLE: mark}
        )
        for name, mark in marks.items()
    }
    await until(lambda: len(commands("sleep 600")) >= len(marks), "they run")

    await asyncio.to_thread(orphans.end_abandoned)
    assert await sleepers["abandoned"].wait() == -signal.SIGKILL
    assert [name for name, sleeper in sleepers.items() if sleeper.returncode is None] == ["mine", "odd", "none"]

    await asyncio.to_thread(orphans.end_marked, mine)
    assert await sleepers["mine"].wait() == -signal.SIGKILL
    for name in ("odd", "none"):
        sleepers[name].kill()
        await sleepers[name].wait()


async def test_a_server_that_fails_again_and_again_is_not_started_without_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []

    async def connect() -> NoReturn:
        raise AgentError("no luck")

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(server, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep}))
    failing = SharedServer(connect, idle_stop=60, backoff=(0.0, 0.0, 300.0))
    for _ in range(3):
        with pytest.raises(AgentError, match="no luck"):
            async with failing.use_connection():
                pass
    await failing.close()

    assert pauses[:2] == [0.0, 0.0]
    assert 200 < pauses[2] <= 300


async def test_events_that_a_slow_turn_does_not_read_are_joined_and_at_last_dropped() -> None:
    inbox = EventInbox("ses_1")
    for _ in range(100):
        inbox.put_event(wire.PartDelta("ses_1", "msg_1", "prt_1", "text", "word "))

    first = await inbox.next_event()
    assert isinstance(first, wire.PartDelta)
    assert first.delta == "word " * 100

    for _ in range(50_000):
        inbox.put_event(wire.PartDelta("ses_1", "msg_1", "prt_1", "text", "x" * 100))
    assert await inbox.next_event() == EventsLost()


@asynccontextmanager
async def relay(target: str) -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """Pass connections on to a server; give the URL, and what cuts those that are open."""
    host, _, port = target.removeprefix("http://").rstrip("/").rpartition(":")
    writers: set[asyncio.StreamWriter] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writers.discard(writer)
            writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(port))
        await asyncio.gather(pump(reader, back), pump(there, writer))

    def cut() -> None:
        for writer in writers:
            writer.transport.abort()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", cut
    finally:
        server.close()
        cut()


# --- finding it -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"XCCLAW_OPENCODE_HOST": "10.0.0.7"}, "http://10.0.0.7:4096"),
        ({"XCCLAW_OPENCODE_PORT": "5000"}, "http://127.0.0.1:5000"),
        ({"XCCLAW_OPENCODE_HOST": "box", "XCCLAW_OPENCODE_PORT": "1"}, "http://box:1"),
    ],
)
async def test_a_server_that_the_environment_names_is_found(tmp_path: Path, environ: dict[str, str], url: str) -> None:
    named = environ | {"XCCLAW_OPENCODE_PASSWORD": "p", "MOONGATE_HOME": str(tmp_path)}

    (agent,) = app.check_agents(config.load(named), {"PATH": str(tmp_path)})

    assert (agent.backend, agent.options.url, agent.options.password) == ("opencode", url, "p")


async def test_a_program_on_path_is_found(tmp_path: Path) -> None:
    nothing_set = config.load({"MOONGATE_HOME": str(tmp_path)})
    program = tmp_path / "opencode"
    program.write_text("#!/bin/sh\n")
    assert backend.detect_agent({"PATH": str(tmp_path)}, nothing_set) is None

    program.chmod(0o755)

    assert backend.detect_agent({"PATH": str(tmp_path)}, nothing_set) == Agent(
        id="main", backend="opencode", options=Options()
    )
