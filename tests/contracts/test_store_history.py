"""Every store keeps the contract: samples are downsampled when they are read, and generations are closed once."""

from __future__ import annotations

import msgspec

from gateway.domain.generation import GenerationRecord
from gateway.domain.ports.store import Store
from gateway.domain.sample import SAMPLE_LIFETIME_MILLISECONDS, Sample
from tests.contracts.stores import START, SteppedClock

MINUTE = 60_000
#: a multiple of all steps that are asked for here
BEGIN = START // (60 * MINUTE) * 60 * MINUTE


def sample(minute: int, **values: float) -> Sample:
    usual = {
        "running": 0,
        "queued": 0,
        "ended": 0,
        "failed": 0,
        "accept_ms": 1.0,
        "memory_bytes": 100,
        "cpu_percent": 1.0,
        "loop_lag_ms": 1.0,
        "database_bytes": 100,
    }
    return msgspec.convert({"at": BEGIN + minute * MINUTE, **usual, **values}, Sample)


def generation(number: int, owner: str = "a@1/1/b") -> GenerationRecord:
    return GenerationRecord(owner=owner, generation=number, version="1", started=START, ready=START + 5)


async def test_a_point_has_the_mean_of_its_samples_and_their_highest_lag(store: Store) -> None:
    await store.samples.add(sample(0, running=1, memory_bytes=100, loop_lag_ms=3.0))
    await store.samples.add(sample(1, running=2, memory_bytes=201, loop_lag_ms=250.0))
    await store.samples.add(sample(2, running=7))

    first, second = await store.samples.list(BEGIN, BEGIN + 4 * MINUTE, 2 * MINUTE)
    assert (first.at, first.running, first.memory_bytes, first.loop_lag_ms) == (BEGIN, 1.5, 150, 250.0)
    assert (second.at, second.running) == (BEGIN + 2 * MINUTE, 7)


async def test_a_time_without_samples_is_left_out(store: Store) -> None:
    for minute in (0, 1, 40):
        await store.samples.add(sample(minute))

    found = await store.samples.list(BEGIN, BEGIN + 60 * MINUTE, 10 * MINUTE)
    assert [(one.at - BEGIN) // MINUTE for one in found] == [0, 40]


async def test_only_samples_of_the_range_are_read(store: Store) -> None:
    for minute in range(4):
        await store.samples.add(sample(minute))

    found = await store.samples.list(BEGIN + MINUTE, BEGIN + 3 * MINUTE, MINUTE)
    assert [one.at for one in found] == [BEGIN + MINUTE, BEGIN + 2 * MINUTE]


async def test_a_sample_replaces_one_of_the_same_moment(store: Store) -> None:
    """The clock of the machine may be set back."""
    await store.samples.add(sample(0, running=1))
    await store.samples.add(sample(0, running=2))

    assert [one.running for one in await store.samples.list(0, 1 << 50, MINUTE)] == [2]


async def test_samples_are_kept_for_eight_days(store: Store, clock: SteppedClock) -> None:
    await store.samples.add(sample(0))
    await store.samples.add(sample(1))
    clock.now = BEGIN + MINUTE + SAMPLE_LIFETIME_MILLISECONDS
    await store.retention.prune_expired()

    assert [one.at for one in await store.samples.list(0, 1 << 50, MINUTE)] == [BEGIN + MINUTE]


async def test_generations_are_listed_newest_first(store: Store) -> None:
    for number in (1, 2, 3):
        await store.generations.add(generation(number))

    assert [one.generation for one in await store.generations.list(2)] == [3, 2]


async def test_a_generation_is_closed_once(store: Store, clock: SteppedClock) -> None:
    await store.generations.add(generation(1))
    await store.generations.add(generation(2))
    clock.forward(10)
    await store.generations.close("a@1/1/b", 1, "the gateway stops")
    clock.forward(10)
    await store.generations.close("a@1/1/b", 1, "crashed")
    await store.generations.close("nobody@1/1/b", 1, "crashed")

    (second, first) = await store.generations.list(10)
    assert (first.ended, first.reason) == (START + 10, "the gateway stops")
    assert await store.generations.list_open() == [second] == [generation(2)]


async def test_a_generation_is_added_once(store: Store) -> None:
    await store.generations.add(generation(1))
    await store.generations.add(generation(1))

    assert len(await store.generations.list(10)) == 1


async def test_the_last_generations_are_kept(store: Store) -> None:
    for number in range(1, 504):
        await store.generations.add(generation(number))
    await store.retention.prune_expired()

    found = await store.generations.list(1000)
    assert (len(found), found[0].generation, found[-1].generation) == (500, 503, 4)
