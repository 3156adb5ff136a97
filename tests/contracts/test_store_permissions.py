"""Every store keeps the contract: permission requests are answered once, and withdrawn with their attempt."""

from __future__ import annotations

import pytest

from gateway.domain.event import Permission, Text, Usage
from gateway.domain.page import Page
from gateway.domain.permission import QUESTION_CHOICES, Answer, DenialReason, PermissionQuestion, PermissionRequest
from gateway.domain.ports.run_store import Fenced
from gateway.domain.ports.store import Store
from gateway.domain.question import AnswerContent, FieldType, Option, Question, QuestionField
from gateway.domain.run import GoalRound, Run, Status
from gateway.errors import Conflict, PermissionNotFound
from tests.contracts.stores import ALL, PAGE, START, SteppedClock, Told, claim_one, finish, key, kinds_of, running

WANTED = PermissionQuestion(action="rm -rf", choices=(Answer.ALLOW, Answer.DENY))

COLOUR = QuestionField(name="colour", type=FieldType.CHOICE, options=(Option(value="red", label="Red"),), multiple=True)
QUESTION = PermissionQuestion(
    action="Which?",
    choices=QUESTION_CHOICES,
    question=Question(message="Which?", fields=(COLOUR, QuestionField(name="n", type=FieldType.INTEGER))),
)


async def ask(store: Store, run: Run, wanted: PermissionQuestion = WANTED) -> PermissionRequest:
    return await store.permissions.ask(run.id, run.epoch, wanted, START + 1000)


async def events(store: Store, run: Run) -> list[Permission]:
    return [one.data for one in await store.events.read_after(run.id, 0, 100) if isinstance(one.data, Permission)]


async def test_a_permission_request_and_its_answer_are_stored_and_published(store: Store, clock: SteppedClock) -> None:
    run = await running(store)
    told = Told(store)
    asked = await ask(store, run)
    clock.forward(5)
    answered = await store.permissions.answer(run.id, asked.number, Answer.ALLOW, "anna")

    assert await store.permissions.get(run.id, 1) == answered
    assert (asked.id, asked.action, asked.asked, asked.expires, asked.answer) == (
        "p1",
        "rm -rf",
        START,
        START + 1000,
        None,
    )
    assert (answered.answer, answered.answered_by, answered.answered, answered.denial_reason) == (
        Answer.ALLOW,
        "anna",
        START + 5,
        None,
    )
    expires = "2023-11-14T22:13:21.000Z"
    assert [one.data for one in told.events] == await events(store, run)
    assert await events(store, run) == [
        Permission(id="p1", action="rm -rf", choices=("allow", "deny"), expires_at=expires),
        Permission(id="p1", action="rm -rf", answer="allow", by="anna"),
    ]
    assert told.events[0].number == asked.event_number
    assert [(one.topic, one.ref, one.state, one.session) for one in told.changes] == [
        ("permission", f"{run.id}/p1", "asked", run.spec.session),
        ("permission", f"{run.id}/p1", "allow", run.spec.session),
    ]


async def test_the_first_answer_counts(store: Store) -> None:
    run = await running(store)
    asked = await ask(store, run)
    await store.permissions.answer(run.id, asked.number, Answer.ALLOW, "anna")

    with pytest.raises(Conflict, match="p1 was answered already: allow, by anna"):
        await store.permissions.answer(run.id, asked.number, Answer.DENY, "otto")
    assert (await store.permissions.close(run.id, asked.number, DenialReason.DEADLINE)).answer is Answer.ALLOW
    assert len(await events(store, run)) == 2


async def test_the_same_answer_with_the_same_key_counts_once(store: Store) -> None:
    run = await running(store)
    asked = await ask(store, run)
    first = await store.permissions.answer(run.id, asked.number, Answer.ALLOW, "anna", key())

    assert await store.permissions.answer(run.id, asked.number, Answer.ALLOW, "anna", key()) == first
    assert len(await events(store, run)) == 2


@pytest.mark.parametrize(
    ("lapse", "said"),
    [(DenialReason.DEADLINE, "nobody answered p1 in time"), (DenialReason.WITHDRAWN, "no longer waits")],
)
async def test_a_request_that_expired_or_was_withdrawn_is_denied_and_cannot_be_answered(
    store: Store, lapse: DenialReason, said: str
) -> None:
    run = await running(store)
    asked = await ask(store, run)
    closed = await store.permissions.close(run.id, asked.number, lapse)

    assert (closed.answer, closed.denial_reason, closed.answered_by) == (Answer.DENY, lapse, "")
    assert (await events(store, run))[-1] == Permission(id="p1", action="rm -rf", answer="deny", reason=lapse)
    with pytest.raises(Conflict, match=said):
        await store.permissions.answer(run.id, asked.number, Answer.ALLOW, "anna")


async def test_the_end_of_a_run_withdraws_its_requests(store: Store) -> None:
    run = await running(store)
    for _ in range(2):
        await ask(store, run)
    await finish(store, run, said=[Text(delta="done")])

    found = await store.permissions.list(run.id, PAGE)
    assert [(one.id, one.denial_reason) for one in found] == [
        ("p2", DenialReason.WITHDRAWN),
        ("p1", DenialReason.WITHDRAWN),
    ]
    kinds = await kinds_of(store, run.id)
    assert kinds[-6:] == ["permission", "permission", "text", "permission", "permission", "end"]
    assert [one.id for one in (await events(store, run))[2:]] == ["p1", "p2"]


async def test_a_rescue_withdraws_requests_and_the_next_attempt_asks_again(store: Store) -> None:
    run = await running(store)
    await ask(store, run)
    await store.owners.rescue_runs("owner")
    again = await claim_one(store)
    asked = await ask(store, again)

    assert (asked.id, (await store.permissions.get(run.id, 1)).denial_reason) == ("p2", DenialReason.WITHDRAWN)
    with pytest.raises(Fenced):
        await ask(store, run)


async def test_the_end_of_a_round_withdraws_its_requests(store: Store) -> None:
    run = await running(store)
    await ask(store, run)
    await store.runs.end_round(run.id, run.epoch, GoalRound(number=1, reply="more", usage=Usage()), [])

    assert (await store.permissions.get(run.id, 1)).denial_reason is DenialReason.WITHDRAWN


async def test_requests_are_listed_in_pages_and_belong_to_their_run(store: Store) -> None:
    run, other = await running(store), await running(store, session="main:test:b")
    for _ in range(3):
        await ask(store, run)

    assert [one.number for one in await store.permissions.list(run.id, Page(limit=2))] == [3, 2]
    assert [one.number for one in await store.permissions.list(run.id, Page(limit=2, before=2))] == [1]
    assert await store.permissions.list(other.id, PAGE) == []
    with pytest.raises(PermissionNotFound, match="no permission request p1"):
        await store.permissions.answer(other.id, 1, Answer.ALLOW, "anna")


async def test_one_answer_leaves_the_other_requests_open(store: Store) -> None:
    run, other = await running(store), await running(store, session="main:test:b")
    for one in (run, run, other):
        await ask(store, one)
    await store.permissions.answer(run.id, 1, Answer.ALLOW, "anna")

    assert [one.answer for one in await store.permissions.list(run.id, PAGE)] == [None, Answer.ALLOW]
    assert (await store.permissions.get(other.id, 1)).answer is None


async def test_the_end_of_a_run_withdraws_neither_answered_requests_nor_those_of_others(store: Store) -> None:
    run, other = await running(store), await running(store, session="main:test:b")
    for one in (run, run, other):
        await ask(store, one)
    await store.permissions.answer(run.id, 1, Answer.ALLOW, "anna")
    await finish(store, run)

    found = await store.permissions.list(run.id, PAGE)
    assert [(one.answer, one.denial_reason) for one in found] == [
        (Answer.DENY, DenialReason.WITHDRAWN),
        (Answer.ALLOW, None),
    ]
    assert (await store.permissions.get(other.id, 1)).answer is None


async def test_a_question_and_the_content_of_its_answer_are_stored_and_published(store: Store) -> None:
    run = await running(store)
    asked = await ask(store, run, QUESTION)
    content: AnswerContent = {"colour": ["red"], "n": 3}
    answered = await store.permissions.answer(run.id, asked.number, Answer.ANSWER, "anna", content=content)

    assert (await store.permissions.get(run.id, 1)) == answered
    assert (asked.question, asked.content) == (QUESTION.question, None)
    assert (answered.question, answered.content) == (QUESTION.question, content)
    told, heard = await events(store, run)
    assert (told.question, told.content, told.choices) == (QUESTION.question, None, ("answer", "deny"))
    assert (heard.question, heard.content, heard.answer) == (None, content, "answer")


async def test_a_question_that_nobody_answers_has_no_content(store: Store) -> None:
    run = await running(store)
    await ask(store, run, QUESTION)
    closed = await store.permissions.close(run.id, 1, DenialReason.DEADLINE)

    assert (closed.answer, closed.content) == (Answer.DENY, None)


# --- over all runs ----------------------------------------------------------------------------


async def list_all(store: Store, waiting: bool | None, page: Page = PAGE) -> list[tuple[str, str]]:
    return [(one.request.run, one.request.id) for one in await store.permissions.list_all(waiting, page)]


async def test_the_requests_of_all_runs_are_listed_by_the_order_of_asking(store: Store) -> None:
    one = await running(store, session="main:test:a")
    two = await running(store, session="main:test:b")
    for run in (two, one, two):
        await ask(store, run)

    first = await store.permissions.list_all(None, Page(limit=2))
    rest = await store.permissions.list_all(None, Page(limit=2, before=first[-1].seq))

    assert [(asked.request.run, asked.request.id) for asked in [*first, *rest]] == [
        (two.id, "p2"),
        (one.id, "p1"),
        (two.id, "p1"),
    ]
    assert [(asked.agent, asked.session) for asked in first] == [("main", "main:test:b"), ("main", "main:test:a")]
    assert first[0].request == await store.permissions.get(two.id, 2)


async def test_a_request_waits_until_it_is_answered(store: Store) -> None:
    run = await running(store)
    for _ in range(2):
        await ask(store, run)
    await store.permissions.answer(run.id, 1, Answer.ALLOW, "anna")

    assert await list_all(store, waiting=True) == [(run.id, "p2")]
    assert await list_all(store, waiting=False) == [(run.id, "p1")]


async def test_no_request_of_a_run_that_does_not_run_waits(store: Store) -> None:
    ended, requeued = await running(store, session="main:test:a"), await running(store, session="main:test:b")
    for run in (ended, requeued):
        await ask(store, run)
    await finish(store, ended)
    await store.runs.requeue(requeued.id, requeued.epoch, "why")

    assert await list_all(store, waiting=True) == []
    assert await list_all(store, waiting=False) == [(requeued.id, "p1"), (ended.id, "p1")]


async def test_runs_that_wait_for_a_person_are_counted(store: Store) -> None:
    run = await running(store)
    await running(store, session="main:test:b")
    asked = await ask(store, run)
    before = await store.runs.count(ALL)
    await store.permissions.answer(run.id, asked.number, Answer.ALLOW, "anna")
    after = await store.runs.count(ALL)

    assert (before.by_status[Status.RUNNING], before.waiting_for_person) == (2, 1)
    assert (after.by_status[Status.RUNNING], after.waiting_for_person) == (2, 0)
