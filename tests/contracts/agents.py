"""The contract of the agents that people have: what every backend guarantees, and in addition tools, permissions,
models, usage, and the errors of a model.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from gateway.backends import describe_agent
from gateway.domain.agent import PermissionPolicy
from gateway.domain.event import Permission, Tool, ToolEnd
from gateway.domain.permission import Answer, PermissionQuestion
from gateway.domain.ports.backend import Offering
from gateway.errors import AgentError
from gateway.process import identity
from harness.waiting import PATIENCE, until
from tests.contracts.backends import BackendContract, Stage
from tests.contracts.real_agents import Ability, RealAgent
from tests.support.turns import Heard, listen

#: seconds that the end of a cancelled turn may take
MAX_CANCEL_SECONDS = 2.0


class People:
    """People who give one answer to each permission request."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        #: the actions that they were asked about
        self.asked: list[str] = []

    async def ask_permission(self, question: PermissionQuestion) -> Answer:
        self.asked.append(question.action)
        return self._answer


def workspace(stage: Stage, session: str) -> Path:
    return stage.directory / session


async def run_shell(
    stage: Stage, session: str, policy: PermissionPolicy, command: str, people: People | None = None
) -> Heard:
    """Have the agent run a command under a policy; a turn that ends as an error counts as well."""
    assert isinstance(stage.subject, RealAgent)
    given = stage.turn(stage.subject.shell(command), session)
    given = msgspec.structs.replace(given, agent=msgspec.structs.replace(given.agent, permissions=policy))
    if people is not None:
        given = msgspec.structs.replace(given, ask_permission=people.ask_permission)
    heard = Heard()
    with contextlib.suppress(AgentError):
        async with asyncio.timeout(stage.subject.patience):
            await listen(stage.backend, given, heard)
    return heard


@contextlib.asynccontextmanager
async def background(turn: Coroutine[Any, Any, Heard]) -> AsyncIterator[None]:
    """Let a turn run, and cancel it in the end, as a person or the deadline of a run does."""
    running = asyncio.create_task(turn)
    try:
        yield
        assert not running.done(), "the turn has ended too early"
    finally:
        running.cancel()
        await asyncio.wait({running}, timeout=PATIENCE)
    assert running.cancelled()


class AgentContract(BackendContract):
    """The suite. Each subclass names its subject."""

    subject: ClassVar[RealAgent]  # type: ignore[misc]

    # --- permissions ----------------------------------------------------------------------

    async def test_deny_means_that_a_command_does_not_run(self, stage: Stage, session: str) -> None:
        heard = await run_shell(stage, session, PermissionPolicy.DENY, "touch made")

        assert not (workspace(stage, session) / "made").exists()
        assert [asked.answer.startswith("allow") for asked in heard.of(Permission)] == [False]
        [begun], [ended] = heard.of(Tool), heard.of(ToolEnd)
        assert (ended.id, ended.is_error) == (begun.id, True)
        assert (await stage.ask(stage.subject.say("next"), session)).answer == "next"

    async def test_allow_means_that_a_command_runs(self, stage: Stage, session: str) -> None:
        await run_shell(stage, session, PermissionPolicy.ALLOW, "touch made")

        assert (workspace(stage, session) / "made").exists()

    async def test_a_command_runs_if_people_allow_it(self, stage: Stage, session: str) -> None:
        people = People(Answer.ALLOW)

        await run_shell(stage, session, PermissionPolicy.ASK, "touch made", people)

        assert (workspace(stage, session) / "made").exists()
        [action] = people.asked
        assert "touch made" in action

    async def test_a_command_does_not_run_if_people_deny_it(self, stage: Stage, session: str) -> None:
        people = People(Answer.DENY)

        await run_shell(stage, session, PermissionPolicy.ASK, "touch made", people)

        assert not (workspace(stage, session) / "made").exists()
        assert len(people.asked) == 1
        assert (await stage.ask(stage.subject.say("next"), session)).answer == "next"

    # --- tools ----------------------------------------------------------------------------

    async def test_a_tool_is_shown_with_its_input_its_output_and_its_end(self, stage: Stage, session: str) -> None:
        heard = await run_shell(stage, session, PermissionPolicy.ALLOW, "expr 4000 + 711 | tee made")

        assert (workspace(stage, session) / "made").read_text() == "4711\n"
        [begun], [ended] = heard.of(Tool), heard.of(ToolEnd)
        assert "4000 + 711" in begun.name + json.dumps(begun.args)  # gemini tells the command as the name only
        assert (ended.id, ended.is_error) == (begun.id, False)
        assert ("4711" in ended.output) == (Ability.TOOLS not in self.subject.cannot)

    # --- usage and models -----------------------------------------------------------------

    async def test_a_cost_is_reported(self, stage: Stage, session: str) -> None:
        heard = await stage.ask(stage.subject.say("hello"), session)

        assert (heard.usage.cost > 0) == (Ability.COST not in self.subject.cannot)

    async def test_what_is_declared_of_its_usage_is_what_it_reports(self, stage: Stage) -> None:
        declared, cannot = describe_agent(stage.agent), self.subject.cannot

        assert declared.tells_tokens in (None, Ability.TOKENS not in cannot)
        assert declared.tells_cost in (None, Ability.COST not in cannot)

    async def test_the_model_that_was_asked_for_answers(self, stage: Stage, session: str) -> None:
        wanted, called = self.subject.other_model
        given = msgspec.structs.replace(stage.turn(stage.subject.say("hello"), session), model=wanted)

        async with asyncio.timeout(stage.subject.patience):
            await listen(stage.backend, given)

        assert (called in self.subject.asked_model()) == (Ability.MODEL not in self.subject.cannot)
        assert isinstance(stage.backend, Offering)
        offer = stage.backend.find_offer(stage.agent)
        assert offer is not None
        assert wanted in {word for model in offer.models or () for word in (model.id, model.name)}
        assert self.subject.unknown_model is None or not offer.takes_model(self.subject.unknown_model)

    # --- ends -----------------------------------------------------------------------------

    async def test_cancelling_ends_a_running_command_in_two_seconds(self, stage: Stage, session: str) -> None:
        command = "echo $$ > number; exec sleep 600"
        number = workspace(stage, session) / "number"
        async with background(run_shell(stage, session, PermissionPolicy.ALLOW, command)):
            await until(lambda: number.exists() and number.read_text().strip(), "the command runs")
            pid = int(number.read_text())
            began = time.monotonic()
        await until(lambda: identity.identify_process(pid) is None, "the command has ended")

        assert time.monotonic() - began < MAX_CANCEL_SECONDS
        assert (await stage.ask(stage.subject.say("next"), session)).answer == "next"

    @pytest.mark.parametrize("status", [401, 429, 529])
    async def test_an_error_of_the_model_ends_the_turn_as_an_error(
        self, stage: Stage, session: str, status: int
    ) -> None:
        prompt, asked = f"[[error {status}]]", self.subject.model.counters
        if status not in self.subject.repeats:
            with pytest.raises(AgentError) as failure:
                await stage.ask(prompt, session)
            assert str(failure.value)
            if status == 401:
                assert re.search(self.subject.refused_credential, f"{failure.value} {failure.value.remedy}", re.DOTALL)
        else:
            before, heard = asked.requests, Heard()
            async with background(listen(stage.backend, stage.turn(prompt, session), heard)):
                await until(lambda: asked.requests >= before + 2, "the agent asks the model again by itself")
                if (told := self.subject.failed_try) is not None:
                    told = told.format(status)
                    await until(lambda: any(log.startswith(told) for log in heard.logs), "the failed try is told")

        assert (await stage.ask(stage.subject.say("next"), session)).answer == "next"
