"""Every store keeps the contract: how the last runs of each agent ended, and what was sent through each channel."""

from __future__ import annotations

import msgspec

from gateway.domain.delivery import ChannelSends, DeliveryAttempt, DeliveryStatus, SendOutcome, Target
from gateway.domain.ports.store import Store
from gateway.domain.run import AttemptResult, EndedRun, Move, Outcome, Status
from tests.contracts.stores import START, SteppedClock, claim_one, done, finish, running, spec

CHAT = Target(kind="telegram", address="7", format="chat")
FAILED = AttemptResult(move=Move.FAIL, outcome=Outcome.AGENT_ERROR, error="no")


async def test_the_last_ends_of_each_agent_are_listed_the_earliest_first(store: Store, clock: SteppedClock) -> None:
    ids = []
    for number in range(3):
        run = await running(store, session=f"main:test:{number}")
        clock.forward(10)
        await finish(store, run, FAILED if number == 1 else done())
        ids.append(run.id)
    await store.runs.accept(spec("main:test:waits"))

    found = await store.runs.list_ended(["main", "idle"], 2)

    assert found == {
        "main": [
            EndedRun(
                id=ids[1],
                status=Status.FAILED,
                outcome=Outcome.AGENT_ERROR,
                started=START + 10,
                finished=START + 20,
            ),
            EndedRun(
                id=ids[2],
                status=Status.SUCCEEDED,
                outcome=Outcome.COMPLETED,
                started=START + 20,
                finished=START + 30,
            ),
        ],
        "idle": [],
    }


async def test_a_run_that_ended_before_it_worked_has_no_start(store: Store) -> None:
    run = (await store.runs.accept(spec())).run
    await store.runs.cancel(run.id)

    [ended] = (await store.runs.list_ended(["main"], 1))["main"]
    assert (ended.id, ended.status, ended.started) == (run.id, Status.CANCELLED, None)


async def try_to_send(store: Store, target: Target, at: int, error: str | None = None) -> None:
    """Record an attempt to send the answer of a new run."""
    await store.runs.accept(spec(f"main:test:{at}", deliver=(target,)))
    await finish(store, await claim_one(store))
    (taken,) = await store.deliveries.take_due(1, 1)
    tried = msgspec.structs.replace(
        taken, status=DeliveryStatus.DEAD if error else DeliveryStatus.DELIVERED, error=error, finished=at
    )
    await store.deliveries.record_attempt(tried, DeliveryAttempt(at=at, took=1, error=error))


async def test_the_last_attempts_of_a_channel_are_listed_the_oldest_first(store: Store) -> None:
    for at, error in ((1, None), (2, "first"), (3, "second"), (4, None)):
        await try_to_send(store, CHAT, at, error)
    await try_to_send(store, msgspec.structs.replace(CHAT, kind="other"), 5, "of another")

    found = await store.deliveries.read_channel_sends(["telegram", "webchat"], 3)

    assert found == {
        "telegram": ChannelSends(
            recent=(SendOutcome(2, ok=False), SendOutcome(3, ok=False), SendOutcome(4, ok=True)),
            last_success=4,
            last_failure=3,
            last_error="second",
        ),
        "webchat": ChannelSends(),
    }


async def test_an_interrupted_attempt_says_nothing_about_its_channel(store: Store) -> None:
    await store.runs.accept(spec(deliver=(CHAT,)))
    await finish(store, await claim_one(store))
    await store.deliveries.take_due(1, 1)
    await store.deliveries.release_in_flight()

    assert await store.deliveries.read_channel_sends(["telegram"], 3) == {"telegram": ChannelSends()}
