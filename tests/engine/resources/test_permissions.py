"""Permission requests: people answer in time, or the request is denied. Nothing waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.agent import PermissionPolicy
from gateway.domain.event import Log, Permission, Text
from gateway.domain.permission import Answer, DenialReason, PermissionQuestion
from gateway.domain.ports.backend import Turn
from gateway.domain.question import FieldType, Option, Question, QuestionField
from gateway.domain.run import Outcome, Run, Status
from gateway.engine.resources import permissions
from gateway.errors import Conflict, InvalidRequest, PermissionNotFound
from tests.contracts.stores import PAGE
from tests.engine.stage import Anything, Between, Stage, staged
from tests.support.hurrying import Hurry

pytestmark = pytest.mark.both_stores

ASK: dict[str, Any] = {"main": {"permissions": PermissionPolicy.ASK, "permission_timeout": 600}}
WANTED = PermissionQuestion(action="rm -rf")
COLOUR = QuestionField(
    name="colour", title="Colour", type=FieldType.CHOICE, options=(Option(value="red"), Option(value="green"))
)
QUESTION = Question(message="Which \x1b[31mcolour\x1b[0m?", fields=(COLOUR,))


async def asking(turn: Turn) -> AsyncGenerator[Anything, None]:
    yield Text(delta="may I? ")
    yield Text(delta=await turn.ask_permission(WANTED))


async def asked(stage: Stage, run: Run, count: int = 1) -> None:
    """Wait until there are that many requests."""
    async for event in stage.engine.runs.watch_run(run.id):
        count -= isinstance(event.data, Permission) and not event.data.answer
        if not count:
            return


async def requests(stage: Stage, run: Run) -> list[tuple[str | None, str | None]]:
    return [(one.answer, one.denial_reason) for one in await stage.store.permissions.list(run.id, PAGE)]


@pytest.mark.parametrize("answer", [Answer.ALLOW, Answer.DENY])
async def test_an_agent_continues_with_the_answer(tmp_path: Path, answer: Answer) -> None:
    async with staged(tmp_path, asking, agents=ASK) as stage:
        run = await stage.submit()
        await asked(stage, run)
        await stage.engine.permissions.answer_request(run.id[:20], "p1", answer, "anna")
        ended = await stage.ended(run)

        assert (ended.result, await requests(stage, run)) == (f"may I? {answer}", [(answer, None)])
        kinds = await stage.kinds(run)
    assert kinds == ["status", "status", "text", "permission", "permission", "text", "end"]


@pytest.mark.parametrize(("policy", "answer"), [(PermissionPolicy.ALLOW, "allow"), (PermissionPolicy.DENY, "deny")])
async def test_a_policy_answers_without_people(tmp_path: Path, policy: PermissionPolicy, answer: str) -> None:
    async with staged(tmp_path, asking, agents={"main": {"permissions": policy}}) as stage:
        run = await stage.do()

        assert (run.result, await requests(stage, run)) == (f"may I? {answer}", [])


async def test_a_request_that_nobody_answers_in_time_is_denied(tmp_path: Path) -> None:
    agents = {"main": {"permissions": PermissionPolicy.ASK, "permission_timeout": 0.05}}
    async with staged(tmp_path, asking, agents=agents) as stage:
        run = await stage.do()

        assert (run.result, await requests(stage, run)) == ("may I? deny", [(Answer.DENY, DenialReason.DEADLINE)])
        with pytest.raises(Conflict, match="nobody answered p1 in time"):
            await stage.engine.permissions.answer_request(run.id, "p1", Answer.ALLOW, "anna")


async def test_a_cancelled_run_asks_no_more(tmp_path: Path) -> None:
    async with staged(tmp_path, asking, agents=ASK) as stage:
        run = await stage.submit()
        await asked(stage, run)
        await stage.engine.runs.cancel_run(run.id)
        ended = await stage.ended(run)

        assert ended.status is Status.CANCELLED
        assert await requests(stage, run) == [(Answer.DENY, DenialReason.WITHDRAWN)]
        with pytest.raises(Conflict, match="no longer waits"):
            await stage.engine.permissions.answer_request(run.id, "p1", Answer.ALLOW, "anna")


async def test_the_deadline_of_the_run_ends_the_wait(tmp_path: Path, hurry: Hurry) -> None:
    async with staged(tmp_path, asking, agents=ASK) as stage:
        run = await stage.submit(timeout=300)
        await asked(stage, run)
        hurry(300)
        run = await stage.ended(run)

        assert (run.outcome, await requests(stage, run)) == (Outcome.TIMEOUT, [(Answer.DENY, DenialReason.WITHDRAWN)])


async def test_a_stop_ends_the_wait_and_the_next_attempt_asks_again(tmp_path: Path) -> None:
    async with staged(tmp_path, asking, agents=ASK) as stage:
        run = await stage.submit()
        await asked(stage, run)
        await stage.engine.drain_runs(0)
        assert (await stage.store.runs.get(run.id)).status is Status.QUEUED
        assert await requests(stage, run) == [(Answer.DENY, DenialReason.WITHDRAWN)]

    async with staged(tmp_path, asking, agents=ASK) as stage:
        await asked(stage, run, 2)
        await stage.engine.permissions.answer_request(run.id, "p2", Answer.ALLOW, "anna")
        assert (await stage.ended(run)).result == "may I? allow"


async def test_an_answer_that_another_process_took_reaches_the_agent(tmp_path: Path) -> None:
    async with staged(tmp_path, asking, agents=ASK) as stage:
        run = await stage.submit()
        await asked(stage, run)
        async with staged(tmp_path, asking, agents=ASK) as other:
            await other.engine.permissions.answer_request(run.id, "p1", Answer.ALLOW, "anna")

        assert (await stage.ended(run)).result == "may I? allow"


async def test_a_request_that_needs_no_answer_any_more_is_withdrawn(tmp_path: Path) -> None:
    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        task = asyncio.create_task(_ask(turn))
        yield Text(delta="hello")
        await stop.wait()
        task.cancel()
        await asyncio.wait({task})
        yield Text(delta=" again")

    stop = asyncio.Event()
    async with staged(tmp_path, act, agents=ASK) as stage:
        run = await stage.submit()
        await asked(stage, run)
        stop.set()
        ended = await stage.ended(run)

        assert (ended.status, await requests(stage, run)) == (Status.SUCCEEDED, [(Answer.DENY, DenialReason.WITHDRAWN)])
        assert (await stage.kinds(run))[-2:] == ["text", "end"]


async def test_several_requests_wait_at_once_and_too_many_are_denied(tmp_path: Path) -> None:
    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        tasks = [asyncio.create_task(_ask(turn)) for _ in range(permissions.MAX_OPEN_REQUESTS + 1)]
        yield Text(delta=" ".join(sorted(await asyncio.gather(*tasks))))

    async with staged(tmp_path, act, agents=ASK) as stage:
        run = await stage.submit()
        await asked(stage, run, permissions.MAX_OPEN_REQUESTS)
        for number in range(permissions.MAX_OPEN_REQUESTS, 0, -1):
            await stage.engine.permissions.answer_request(run.id, f"p{number}", Answer.ALLOW, "anna")

        assert (await stage.ended(run)).result == " ".join(["allow"] * permissions.MAX_OPEN_REQUESTS + ["deny"])


async def _ask(turn: Turn) -> Answer:
    return await turn.ask_permission(WANTED)


@pytest.mark.parametrize("name", ["p2", "p0", "1", "p", "p1x", "p٣", "", "p" + "9" * 30])
async def test_an_unknown_request_is_not_found(tmp_path: Path, name: str) -> None:
    async with staged(tmp_path, asking, agents=ASK) as stage:
        run = await stage.submit()
        await asked(stage, run)

        with pytest.raises(PermissionNotFound, match=f"the task {run.id} has no permission request"):
            await stage.engine.permissions.answer_request(run.id, name, Answer.ALLOW, "anna")


async def test_an_answer_that_the_request_does_not_offer_is_refused(tmp_path: Path) -> None:
    async with staged(tmp_path, asking, agents=ASK) as stage:
        run = await stage.submit()
        await asked(stage, run)

        with pytest.raises(InvalidRequest, match="p1 can be answered with allow, deny, not with allow_always"):
            await stage.engine.permissions.answer_request(run.id, "p1", Answer.ALLOW_ALWAYS, "anna")


async def test_the_action_of_a_request_is_shortened_and_made_valid_text(tmp_path: Path) -> None:
    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        yield Text(delta=await turn.ask_permission(PermissionQuestion(action="\ud800" + "x" * 10_000)))

    async with staged(tmp_path, act, agents=ASK) as stage:
        run = await stage.submit()
        await asked(stage, run)

        assert (await stage.store.permissions.get(run.id, 1)).action == "?" + "x" * 499


async def test_a_fenced_attempt_cannot_ask(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        yield Text(delta="hello")
        await gone.wait()
        yield Text(delta=await turn.ask_permission(WANTED))

    async with staged(tmp_path, act, agents=ASK, wrap=Between) as stage:
        run = await stage.begun(await stage.submit(on_interrupt="fail", max_attempts=1))
        await stage.store.owners.rescue_runs(str((await stage.store.runs.get(run.id)).owner))
        gone.set()
        await stage.engine.drain_runs(5)

        assert (await stage.store.runs.get(run.id)).status.is_final
        assert await requests(stage, run) == []


async def test_a_request_that_is_over_makes_room_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permissions, "MAX_OPEN_REQUESTS", 1)

    async def asking_twice(turn: Turn) -> AsyncGenerator[Anything, None]:
        for _ in range(2):
            yield Text(delta=await turn.ask_permission(WANTED))

    agents = {"main": {"permissions": PermissionPolicy.ASK, "permission_timeout": 0.05}}
    async with staged(tmp_path, asking_twice, agents=agents) as stage:
        run = await stage.do()

        assert await requests(stage, run) == [(Answer.DENY, DenialReason.DEADLINE)] * 2
        assert not stage.engine.permissions._waiting


# --- questions --------------------------------------------------------------------------------


async def asking_a_question(turn: Turn) -> AsyncGenerator[Anything, None]:
    yield Text(delta=f"I heard {await turn.ask_question(QUESTION)}")


async def test_an_agent_continues_with_the_answer_to_its_question(tmp_path: Path) -> None:
    async with staged(tmp_path, asking_a_question, agents=ASK) as stage:
        run = await stage.submit()
        await asked(stage, run)
        waiting = await stage.store.permissions.get(run.id, 1)
        answered = await stage.engine.permissions.answer_request(
            run.id, "p1", Answer.ANSWER, "anna", content={"colour": "green"}
        )
        ended = await stage.ended(run)

        assert waiting.question is not None
        assert (waiting.action, waiting.question.message) == ("Which colour?", "Which colour?")
        assert waiting.choices == (Answer.ANSWER, Answer.DENY)
        assert (answered.answer, answered.content) == (Answer.ANSWER, {"colour": "green"})
        assert ended.result == "I heard {'colour': 'green'}"


async def test_a_typed_answer_is_read_by_the_fields_of_the_question(tmp_path: Path) -> None:
    async with staged(tmp_path, asking_a_question, agents=ASK) as stage:
        run = await stage.submit()
        await asked(stage, run)
        await stage.engine.permissions.answer_request(run.id, "p1", Answer.ANSWER, "anna", content="2")

        assert (await stage.ended(run)).result == "I heard {'colour': 'green'}"


async def test_an_agent_is_told_that_its_question_was_denied(tmp_path: Path) -> None:
    async with staged(tmp_path, asking_a_question, agents=ASK) as stage:
        run = await stage.submit()
        await asked(stage, run)
        await stage.engine.permissions.answer_request(run.id, "p1", Answer.DENY, "anna")

        assert (await stage.ended(run)).result == "I heard None"


async def test_an_agent_is_told_that_nobody_answered_its_question_in_time(tmp_path: Path) -> None:
    agents = {"main": {"permissions": PermissionPolicy.ASK, "permission_timeout": 0.05}}
    async with staged(tmp_path, asking_a_question, agents=agents) as stage:
        run = await stage.do()

        assert (run.result, await requests(stage, run)) == ("I heard None", [(Answer.DENY, DenialReason.DEADLINE)])


@pytest.mark.parametrize("policy", [PermissionPolicy.ALLOW, PermissionPolicy.DENY])
async def test_an_agent_that_may_not_ask_people_is_told_at_once_that_nobody_answers(
    tmp_path: Path, policy: PermissionPolicy
) -> None:
    async with staged(tmp_path, asking_a_question, agents={"main": {"permissions": policy}}) as stage:
        run = await stage.do()

        assert (run.result, await requests(stage, run)) == ("I heard None", [])
        assert await _logged(stage, run) == [
            f'nobody is asked what the agent asks, because "permissions" is {policy}: Which colour?'
        ]


async def test_an_agent_is_told_at_once_that_nobody_can_answer_an_impossible_question(tmp_path: Path) -> None:
    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        yield Text(delta=f"I heard {await turn.ask_question(Question(message='?', fields=()))}")

    async with staged(tmp_path, act, agents=ASK) as stage:
        run = await stage.do()

        assert (run.result, await requests(stage, run)) == ("I heard None", [])
        assert await _logged(stage, run) == ["nobody can answer the agent's question: it has 0 fields, not 1 to 16"]


async def _logged(stage: Stage, run: Run) -> list[str]:
    events = await stage.engine.runs.read_events(run.id, 0, 100)
    return [event.data.message for event in events if isinstance(event.data, Log)]


@pytest.mark.parametrize(
    ("answer", "content", "told"),
    [
        (Answer.ANSWER, {"colour": "blue"}, "content.colour: it must be one of red, green"),
        (Answer.ANSWER, None, "content.colour: an answer is required"),
        (Answer.DENY, {"colour": "red"}, "content: the answer deny to p1 has none"),
        (Answer.ALLOW, None, "p1 can be answered with answer, deny, not with allow"),
    ],
)
async def test_an_answer_that_does_not_fit_the_question_is_refused_and_the_question_waits_on(
    tmp_path: Path, answer: Answer, content: Any, told: str
) -> None:
    async with staged(tmp_path, asking_a_question, agents=ASK) as stage:
        run = await stage.submit()
        await asked(stage, run)

        with pytest.raises(InvalidRequest, match=told):
            await stage.engine.permissions.answer_request(run.id, "p1", answer, "anna", content=content)
        assert await requests(stage, run) == [(None, None)]


async def test_an_answer_to_a_permission_request_has_no_content(tmp_path: Path) -> None:
    async with staged(tmp_path, asking, agents=ASK) as stage:
        run = await stage.submit()
        await asked(stage, run)

        with pytest.raises(InvalidRequest, match="the answer allow to p1 has none"):
            await stage.engine.permissions.answer_request(run.id, "p1", Answer.ALLOW, "anna", content={"a": 1})
        with pytest.raises(InvalidRequest, match="p1 can be answered with allow, deny, not with answer"):
            await stage.engine.permissions.answer_request(run.id, "p1", Answer.ANSWER, "anna", content={"a": 1})


async def test_a_stop_withdraws_a_question_and_the_next_attempt_asks_it_again(tmp_path: Path) -> None:
    async with staged(tmp_path, asking_a_question, agents=ASK) as stage:
        run = await stage.submit()
        await asked(stage, run)
        await stage.engine.drain_runs(0)
        assert await requests(stage, run) == [(Answer.DENY, DenialReason.WITHDRAWN)]

    async with staged(tmp_path, asking_a_question, agents=ASK) as stage:
        await asked(stage, run, 2)
        await stage.engine.permissions.answer_request(run.id, "p2", Answer.ANSWER, "anna", content="red")
        assert (await stage.ended(run)).result == "I heard {'colour': 'red'}"
