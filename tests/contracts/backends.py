"""The contract of every backend, as one test suite.

To test another backend with it, describe it as a `Subject` in `subjects.py`, and add to `test_backends.py`:

    class TestParrot(BackendContract):
        subject = Parrot()

A test that does not apply to a subject is skipped, with the reason. All tests of a class share one open
backend, so each test is also the turn after the failure of another.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
import pytest_asyncio

from gateway.backends import BackendResources, find_backends
from gateway.domain.agent import Agent
from gateway.domain.event import Text
from gateway.domain.file import File
from gateway.domain.ports.backend import Backend, FileKind, TakesFiles, Turn
from gateway.domain.session import Message
from gateway.errors import AgentError
from gateway.process.child import Children
from gateway.process.scratch import ScratchSpace
from harness.waiting import PATIENCE, until
from tests.support.attachments import Attached, FileDesk, Handed, make_one_of_each, read_answer
from tests.support.ledger import MemoryLedger
from tests.support.turns import Heard, exchange, listen, turn

#: how many bytes of memory hostile output may cost
MAX_MEMORY_GROWTH_BYTES = 30_000_000

#: text of 190 kB in one word; agents take a repeated letter for a model that has lost its way
LONG_TEXT = "".join(map(str, range(40_000)))

PROJECT_ROOT = Path(__file__).parents[2]


class Subject:
    """A backend under test: how to set up an agent of it, and how to tell that agent what to do.

    A prompt of None means that the agent cannot do this.
    """

    #: whether it reports usage
    counts: bool = True
    #: whether it streams its answer in pieces
    streams: bool = True
    #: whether it remembers earlier messages of a session
    remembers: bool = True
    #: number of simultaneous turns
    together: int = 4
    #: longest time in seconds for a turn, including the start of its processes
    patience: float = PATIENCE
    #: whether closing an agent ends its whole process group
    stubborn: str | None = None
    #: prompt that ends the agent in the middle of the answer, like a crash
    dies: str | None = None
    #: whether it works in a process of ours that can be killed during a turn
    killable: bool = False
    #: prompts for hostile output, by a name for it; both an answer and an error are fine
    hostile: ClassVar[Mapping[str, str]] = {}

    def agent(self, directory: Path) -> AbstractAsyncContextManager[Agent]:
        """Set up an agent and start what it needs; `directory` is private and exists."""
        raise NotImplementedError

    def environ(self) -> Mapping[str, str]:
        """Return the environment variables that the gateway has for the backend."""
        return {"PATH": "/usr/local/bin:/usr/bin:/bin"}

    def say(self, text: str) -> str:
        return f"[[say {text}]]"

    def slow(self, count: int, milliseconds: int) -> str:
        """Return a prompt whose answer is the words `w0 w1 ...`, with a pause before each."""
        return f"[[slow {count} {milliseconds}]]"

    def hang(self) -> str:
        return "[[hang]]"

    def fail(self) -> str:
        return "[[fail told to fail]]"

    def recall(self) -> str:
        """Return a prompt that asks how many messages, or prompts, came before in the session."""
        return "[[history]]"

    def recalled(self, answer: str) -> int:
        return int(answer.split()[0])

    def look(self) -> str:
        """Return the prompt that comes with files."""
        return "What is this?"

    def handed(self, heard: Heard) -> Handed:
        """Return what the agent was given in the turn of that answer."""
        return read_answer(heard.answer)

    def working(self) -> bool | None:
        """Return whether an agent is working; None if that cannot be found out."""
        return None


@dataclass
class Stage:
    """An open backend and its sessions."""

    subject: Subject
    backend: Backend
    agent: Agent
    ledger: MemoryLedger
    directory: Path
    desk: FileDesk
    transcripts: dict[str, list[Message]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def turn(self, prompt: str, session: str) -> Turn:
        workspace = self.directory / session
        workspace.mkdir(exist_ok=True)
        return turn(
            self.agent,
            prompt,
            workspace=workspace,
            history=self.transcripts.get(session, ()),
            session_ref=self.refs.get(session),
            run=f"{session}-{time.monotonic_ns()}",
        )

    async def ask(self, prompt: str, session: str, heard: Heard | None = None) -> Heard:
        """Run a turn to its end, and keep the data that the gateway would store."""
        given = self.turn(prompt, session)
        async with asyncio.timeout(self.subject.patience):
            heard = await listen(self.backend, given, heard)
        self.transcripts.setdefault(session, []).extend(exchange(prompt, heard.answer, given.run))
        if heard.session_ref is not None:
            self.refs[session] = heard.session_ref
        return heard

    async def ask_about(self, attached: Sequence[Attached], session: str) -> Heard:
        """Run a turn with files, and hand them over as the engine does."""
        self.desk.keep(attached)
        given = self.turn(self.subject.look(), session)
        has_workspace = find_backends()[self.agent.backend].uses_workspace

        async def place_files(files: Sequence[File]) -> Sequence[str]:
            place = Path(given.workspace)
            return await self.desk.place_files(place, given.run, files) if has_workspace else ()

        given = msgspec.structs.replace(
            given,
            attachments=[file for file, _ in attached],
            read_file=self.desk.read_file,
            place_files=place_files,
        )
        if not isinstance(self.backend, TakesFiles):
            given = msgspec.structs.replace(await given.put_aside(given.attachments), attachments=())
        async with asyncio.timeout(self.subject.patience):
            return await listen(self.backend, given)

    async def at_rest(self) -> None:
        """Wait until no agent works for this test any more."""
        await until(lambda: not self.subject.working(), "the agent is not at work")


@asynccontextmanager
async def on_stage(subject: Subject, directory: Path) -> AsyncIterator[Stage]:
    ledger = MemoryLedger()
    environ = subject.environ()
    async with AsyncExitStack() as stack:
        agent = await stack.enter_async_context(subject.agent(directory))
        children = Children(ledger, environ, ScratchSpace(directory / "scratch"))
        tools = BackendResources(children=children, environ=environ, directory=directory / "backend")
        backend = await stack.enter_async_context(find_backends()[agent.backend].open(tools))
        yield Stage(subject, backend, agent, ledger, directory, FileDesk(directory / "files"))
    assert not ledger.recorded, "a closed backend has no process left in the ledger"
    assert not ledger.alive(), "a closed backend has no process left"


@pytest_asyncio.fixture(scope="class", loop_scope="class")
async def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """The backend of a contract's class, opened once for all of its tests."""
    async with on_stage(request.cls.subject, tmp_path_factory.mktemp(request.cls.__name__)) as opened:
        yield opened


@pytest.mark.asyncio(loop_scope="class")
class BackendContract:
    """The suite. Each subclass names its subject."""

    subject: ClassVar[Subject]

    @pytest.fixture
    def session(self, request: pytest.FixtureRequest) -> str:
        """The name of a session that only this test uses."""
        return f"chat-{abs(hash(request.node.nodeid))}"

    # --- answers --------------------------------------------------------------------------

    async def test_the_answer_is_what_the_agent_said(self, stage: Stage, session: str) -> None:
        heard = await stage.ask(stage.subject.say("one two → three"), session)

        assert heard.answer == "one two → three"

    async def test_the_answer_comes_while_the_agent_works(self, stage: Stage, session: str) -> None:
        if not stage.subject.streams:
            pytest.skip("this agent does not stream its answer")
        async with aclosing(stage.backend.stream_turn(stage.turn(stage.subject.slow(10_000, 20), session))) as stream:  # type: ignore[type-var]
            async with asyncio.timeout(PATIENCE):
                pieces = [await _next_text(stream) for _ in range(3)]

        assert "".join(pieces).split()[:2] == ["w0", "w1"]

    async def test_the_pieces_make_up_the_answer(self, stage: Stage, session: str) -> None:
        if not stage.subject.streams:
            pytest.skip("this agent does not stream its answer")
        heard = await stage.ask(stage.subject.slow(20, 2), session)

        assert heard.answer.split() == [f"w{number}" for number in range(20)]

    async def test_usage_is_reported(self, stage: Stage, session: str) -> None:
        heard = await stage.ask(stage.subject.say("hello"), session)

        assert (heard.usage.input > 0) == (heard.usage.output > 0) == stage.subject.counts

    @pytest.mark.parametrize("text", ["-x --help $(touch hacked) `touch hacked` a\0b", "--", LONG_TEXT])
    async def test_a_prompt_is_data(self, stage: Stage, session: str, text: str) -> None:
        heard = await stage.ask(text, session)

        # A program's text has no control characters; in JSON, the engine removes them.
        assert heard.answer.replace("\0", "").endswith(text[-100:].replace("\0", ""))
        assert not list(stage.directory.rglob("hacked"))

    async def test_turns_at_the_same_time_do_not_mix(self, stage: Stage, session: str) -> None:
        said = [f"answer {number}" for number in range(stage.subject.together)]

        heard = await asyncio.gather(*(stage.ask(stage.subject.say(text), f"{session}-{text[-1]}") for text in said))

        assert [one.answer for one in heard] == said

    async def test_a_session_remembers_what_was_said_in_it(self, stage: Stage, session: str) -> None:
        if not stage.subject.remembers:
            pytest.skip("this backend has no memory")

        before = stage.subject.recalled((await stage.ask(stage.subject.recall(), session)).answer)
        after = stage.subject.recalled((await stage.ask(stage.subject.recall(), session)).answer)
        other = stage.subject.recalled((await stage.ask(stage.subject.recall(), f"{session}-other")).answer)

        assert before == other < after

    async def test_a_working_backend_is_healthy(self, stage: Stage) -> None:
        async with asyncio.timeout(PATIENCE):
            health = await stage.backend.check_health(stage.agent)

        assert health.ok, health.detail

    # --- files ----------------------------------------------------------------------------

    async def test_every_attachment_reaches_the_agent_or_is_named_to_it(
        self, stage: Stage, session: str, subtests: pytest.Subtests
    ) -> None:
        attached = make_one_of_each(session)

        handed = stage.subject.handed(await stage.ask_about(attached, session))

        # What only the first turn shows is known after it, or each file may have gone either way.
        taken = stage.backend.accepts(stage.agent) if isinstance(stage.backend, TakesFiles) else frozenset()
        for one in attached:
            with subtests.test(one.file.name):
                is_taken = taken is not None and FileKind.classify(one.file) in taken
                assert handed.has_content(one) or (not is_taken and _is_named(stage, handed, one))

    # --- ends -----------------------------------------------------------------------------

    async def test_closing_an_answer_stops_the_work(self, stage: Stage, session: str) -> None:
        if not stage.subject.streams:
            pytest.skip("this agent does not stream its answer")
        stream = stage.backend.stream_turn(stage.turn(stage.subject.slow(10_000, 20), session))
        await _next_text(stream)

        async with asyncio.timeout(PATIENCE):
            await stream.aclose()  # type: ignore[attr-defined]
            await stage.at_rest()

        assert (await stage.ask(stage.subject.say("next"), session)).answer == "next"

    async def test_cancelling_a_hung_turn_stops_the_work(self, stage: Stage, session: str) -> None:
        hung = asyncio.create_task(listen(stage.backend, stage.turn(stage.subject.hang(), session)))
        await until(lambda: stage.subject.working() is not False, "the agent is at work")
        await asyncio.sleep(0)
        hung.cancel()

        async with asyncio.timeout(PATIENCE):
            await asyncio.wait({hung})
            await stage.at_rest()

        assert hung.cancelled()
        assert (await stage.ask(stage.subject.say("next"), session)).answer == "next"

    @pytest.mark.slow
    async def test_a_stubborn_agent_is_stopped_with_its_children(self, stage: Stage, session: str) -> None:
        if stage.subject.stubborn is None:
            pytest.skip("this agent has no process of its own")
        stream = stage.backend.stream_turn(stage.turn(stage.subject.stubborn, session))
        await _next_text(stream)

        async with asyncio.timeout(PATIENCE):
            await stream.aclose()  # type: ignore[attr-defined]
            await stage.at_rest()

        assert (await stage.ask(stage.subject.say("next"), session)).answer == "next"

    async def test_a_failed_agent_is_an_agent_error(self, stage: Stage, session: str) -> None:
        with pytest.raises(AgentError) as failure:
            await stage.ask(stage.subject.fail(), session)

        assert str(failure.value)
        assert (await stage.ask(stage.subject.say("next"), session)).answer == "next"

    async def test_a_dead_agent_is_an_error_and_not_a_hang(self, stage: Stage, session: str) -> None:
        if stage.subject.dies is None:
            pytest.skip("this agent cannot die before the gateway does")

        with pytest.raises(AgentError):
            await stage.ask(stage.subject.dies, session)

        await stage.at_rest()
        assert (await stage.ask(stage.subject.say("next"), session)).answer == "next"

    async def test_an_agent_that_is_killed_is_an_error_and_not_a_hang(self, stage: Stage, session: str) -> None:
        if not stage.subject.killable:
            pytest.skip("this agent has no process of its own, or each start of it takes long")
        await stage.ask(stage.subject.say("first"), session)
        hung = asyncio.create_task(stage.ask(stage.subject.hang(), session))
        await until(lambda: stage.ledger.recorded and stage.subject.working(), "the agent is at work")
        for process in tuple(stage.ledger.recorded):
            with contextlib.suppress(ProcessLookupError):  # one of them may just have ended
                os.kill(process.pid, signal.SIGKILL)

        with pytest.raises(AgentError):
            await hung

        await stage.at_rest()
        assert (await stage.ask(stage.subject.say("next"), session)).answer == "next"

    # --- hostile output -------------------------------------------------------------------

    @pytest.mark.slow
    async def test_hostile_output_does_no_harm(self, stage: Stage, session: str, subtests: pytest.Subtests) -> None:
        if not stage.subject.hostile:
            pytest.skip("this agent cannot write hostile output")

        for kind, prompt in stage.subject.hostile.items():
            with subtests.test(kind):
                told = await measure(stage, prompt, session)

                assert told["next"] == "next", told
                assert (told["grown"] or 0) <= MAX_MEMORY_GROWTH_BYTES, told


def _is_named(stage: Stage, handed: Handed, attached: Attached) -> bool:
    """Return whether the agent was told the name of a file and, if it has a workspace, where its content is."""
    if not find_backends()[stage.agent.backend].uses_workspace:
        return attached.file.name in handed.text
    placed = stage.desk.placed.get(attached.file.id)
    return placed is not None and str(placed) in handed.text and placed.read_bytes() == attached.content


async def _next_text(stream: AsyncIterator[Any]) -> str:
    async for said in stream:
        if isinstance(said, Text):
            return said.delta
    raise AssertionError("the answer ended without a text")


async def measure(stage: Stage, prompt: str, session: str) -> dict[str, Any]:
    """Run a turn in a separate process, and return what `tests.contracts.measure` prints."""
    wanted = {
        "agent": msgspec.to_builtins(stage.agent),
        "environ": stage.subject.environ(),
        "directory": str(stage.directory / session),
        "prompts": {"first": stage.subject.say("first"), "hostile": prompt, "next": stage.subject.say("next")},
    }
    stage.turn(prompt, session)
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.contracts.measure",
        cwd=PROJECT_ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(3 * PATIENCE):
        told, _ = await program.communicate(json.dumps(wanted).encode())
    result: dict[str, Any] = json.loads(told.splitlines()[-1])  # the lines before are its log
    return result
