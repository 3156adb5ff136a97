"""Goal mode: round after round in one session, until the agent says that the goal is reached."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from gateway.domain import goal
from gateway.domain.event import Text, Usage
from gateway.domain.ports.backend import Turn
from gateway.domain.run import GoalRound, Mode, Outcome, Status
from gateway.errors import AgentError
from gateway.store.sql.store import SqlStore
from tests.contracts.stores import LIMITS, spec
from tests.engine.stage import Act, Anything, dead, staged
from tests.support.hurrying import Hurry

pytestmark = pytest.mark.both_stores


def reaching(rounds: int) -> Act:
    """Return an agent that reaches its goal in that round."""

    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        number = len(await turn.read_history()) // 2 + 1
        yield Text(delta=f"part {number}")
        yield Usage(input=10, output=1)
        if number == rounds:
            yield Text(delta=f"\n{goal.GOAL_MARKER}\n")

    return act


async def test_rounds_go_on_until_the_goal_is_reached(tmp_path: Path) -> None:
    async with staged(tmp_path, reaching(3)) as stage:
        run = await stage.do("clean up", mode=Mode.GOAL)
        told = [turn.input for turn in stage.backend.turns]
        numbers = [turn.round for turn in stage.backend.turns]

    assert numbers == [1, 2, 3]
    assert (run.status, run.rounds, run.done) == (Status.SUCCEEDED, 3, True)
    assert run.result == f"part 3\n{goal.GOAL_MARKER}\n"
    assert told == [goal.build_round_prompt("clean up", number, 10) for number in (1, 2, 3)]


async def test_the_usage_of_all_rounds_is_summed(tmp_path: Path) -> None:
    async with staged(tmp_path, reaching(3)) as stage:
        assert (await stage.do(mode=Mode.GOAL)).usage == Usage(input=30, output=3)


async def test_the_transcript_has_each_round(tmp_path: Path) -> None:
    async with staged(tmp_path, reaching(2)) as stage:
        run = await stage.do("clean up", mode=Mode.GOAL)
        messages = await stage.store.sessions.read_history(run.spec.session, 10)

    said = [message.content for message in messages]
    assert said == [run.spec.build_prompt(1), "part 1", run.spec.build_prompt(2), f"part 2\n{goal.GOAL_MARKER}\n"]


async def test_a_goal_that_is_not_reached_ends_with_its_last_round(tmp_path: Path) -> None:
    async with staged(tmp_path, reaching(9)) as stage:
        run = await stage.do(mode=Mode.GOAL, max_rounds=2)

    assert (run.status, run.outcome, run.rounds, run.done) == (Status.SUCCEEDED, Outcome.COMPLETED, 2, False)
    assert run.result == "part 2"


async def test_the_deadline_is_for_all_rounds_together(tmp_path: Path, hurry: Hurry) -> None:
    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        hurry(12)
        await asyncio.sleep(0.01)
        yield Text(delta="not yet")

    async with staged(tmp_path, act) as stage:
        run = await stage.do(mode=Mode.GOAL, max_rounds=100, timeout=30)

    assert (run.status, run.outcome, run.done) == (Status.FAILED, Outcome.TIMEOUT, False)
    assert run.rounds is not None
    assert 1 < run.rounds < 10


async def test_an_agent_that_fails_in_a_round_fails_the_run(tmp_path: Path) -> None:
    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        if await turn.read_history():
            raise AgentError("no credit")
        yield Text(delta="begun")

    async with staged(tmp_path, act) as stage:
        run = await stage.do(mode=Mode.GOAL)

    assert (run.status, run.error, run.rounds, run.done) == (Status.FAILED, "no credit", 2, False)


async def test_a_goal_continues_after_a_crash_with_the_interrupted_round(tmp_path: Path) -> None:
    """The process dies in the second round; the next one begins with the second round."""
    ids = []

    async def prepare(store: SqlStore) -> None:
        ids.append((await store.runs.accept(spec(text="clean up", mode=Mode.GOAL))).run.id)
        (run,) = await store.runs.claim(str(dead()), LIMITS)
        await store.runs.end_round(run.id, run.epoch, GoalRound(number=1, reply="part 1", usage=Usage(input=10)), [])

    async with staged(tmp_path, reaching(2), prepare=prepare) as stage:
        run = await stage.ended(ids[0])
        told = [turn.input for turn in stage.backend.turns]

    assert (run.attempt, run.rounds, run.done, run.usage) == (2, 2, True, Usage(input=20, output=1))
    assert told == [goal.build_round_prompt("clean up", 2, 10)]


@pytest.mark.parametrize(
    ("reply", "reached"),
    [
        ("done\nGOAL_COMPLETE", True),
        ("GOAL_COMPLETE\n\n", True),
        ("done\n**GOAL_COMPLETE**", True),
        ("GOAL_COMPLETE\nbut one thing is left", False),
        ("I will say GOAL_COMPLETE", False),
        ("", False),
    ],
)
def test_a_goal_is_reached_when_the_last_line_says_so(reply: str, reached: bool) -> None:
    assert goal.is_reached(reply) is reached


def test_the_prompt_of_a_round_does_not_look_like_a_reached_goal() -> None:
    assert not goal.is_reached(f"echo: {goal.build_round_prompt('x', 1, 2)}")
