"""`python -m bench.simulation`: what a fleet on one PostgreSQL server carries, and what gives way first.

A discrete-event simulation of the write lock, which all members share, from measured times: each member writes what
waits at it in one transaction, and the lock serves members in the order in which they ask. What else runs out (the
server's processors and connections, the places of workers) is calculated from the same numbers. Each row is the busiest
hour of its day. The same seed gives the same table.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from bench.measure import percentile

# --- what was measured: on 2026-11-30, with a server on a socket of the same machine; medians in a quiet minute ---


class WriteCost(NamedTuple):
    """What a kind of operation costs while the lock is held."""

    #: milliseconds of a transaction with one of them, its commit included
    alone: float
    #: milliseconds of each further one in the same transaction
    further: float
    #: round trips of the first one, with the answer that grants the lock, and of each further one
    trips: int
    further_trips: int


#: a run is accepted, and dispatched at once; a worker claims it; it ends, and nothing waits for that; its agent says
#: something; a lease is renewed
ACCEPT = WriteCost(2.42, 0.50, 9, 1)
CLAIM = WriteCost(1.10, 0.28, 4, 1)
END = WriteCost(1.66, 0.48, 5, 1)
APPEND = WriteCost(0.49, 0.15, 3, 1)
LEASE = WriteCost(0.34, 0.20, 3, 1)
#: milliseconds of Procrastinate's statements: a job is fetched, none is found, a job is ended, a worker's heartbeat
FETCH_MS, EMPTY_FETCH_MS, JOB_END_MS, HEARTBEAT_MS = 0.38, 0.13, 0.26, 0.23
#: milliseconds of the server's processors for each listening connection that is told of a commit: to signal it, and for
#: it to tell its client
SIGNAL_MS, LISTENER_MS = 0.005, 0.023
#: connections of a gateway that leads, and of a busy worker (`pg_stat_activity`)
GATEWAY_CONNECTIONS, WORKER_CONNECTIONS = 7, 10

# --- what the code says ---------------------------------------------------------------------------------------------

#: seconds between renewals of a lease, between a worker's heartbeats, and between its looks at the queues
LEASE_PERIOD_SECONDS, HEARTBEAT_PERIOD_SECONDS, LOOK_PERIOD_SECONDS = 15.0, 10.0, 2.0
#: operations in one transaction
BATCH_OPERATIONS = 512

# --- what is assumed ------------------------------------------------------------------------------------------------

#: the busiest hour has so many times the runs of a mean hour
PEAK = 5.0
#: seconds of an agent's turn, spread evenly over their logarithm
SHORTEST_TURN_SECONDS, SLOWEST_TURN_SECONDS = 1.0, 600.0
#: milliseconds of a round trip to the server, in addition to those within one machine
NETWORK_MS = 0.3
#: processors of the server, and connections that it takes
SERVER_CORES, SERVER_CONNECTIONS = 8, 1000
#: seconds before a row's figures count
SETTLING_SECONDS = 20.0
PROCESSORS = "server's processors"
#: what is used above this part of it cannot keep up
SATURATED = 0.98
DAY_SECONDS = 86_400


# --- the parts --------------------------------------------------------------------------------


class Timeline:
    """What happens next."""

    def __init__(self) -> None:
        self.now = 0.0
        self._numbers = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    def call_after(self, seconds: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._numbers), happen))

    def run_until(self, end: float) -> None:
        while self._events and self._events[0][0] <= end:
            self.now, _, happen = heapq.heappop(self._events)
            happen()
        self.now = end


class WriteLock:
    """One transaction after the other, in the order in which they were asked for."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()
        self._is_held = False
        #: seconds for which it was held, or is going to be, and how often it was asked for
        self.asked_seconds = 0.0
        self.commits = 0

    def take(self, seconds: float, done: Callable[[], None]) -> None:
        """Hold it for so long as soon as it is free, then call `done`."""
        self._waiting.append((seconds, done))
        self.asked_seconds += seconds
        self.commits += 1
        if not self._is_held:
            self._hold_next()

    def _hold_next(self) -> None:
        self._is_held = bool(self._waiting)
        if self._waiting:
            seconds, done = self._waiting.popleft()
            self._timeline.call_after(seconds, lambda: self._release(done))

    def _release(self, done: Callable[[], None]) -> None:
        self._hold_next()
        done()


class Operation(NamedTuple):
    cost: WriteCost
    done: Callable[[], None]


class Member:
    """A process that writes: what waits at it goes into its next transaction."""

    def __init__(self, timeline: Timeline, lock: WriteLock, *, trip_ms: float = 0.0, pause: float = 0.0) -> None:
        """Args:
        trip_ms: milliseconds of a round trip.
        pause: seconds between a commit and its answer, in which the lock is free again.
        """
        self._timeline = timeline
        self._lock = lock
        self._trip_ms = trip_ms
        self._pause = pause
        self._waiting: deque[Operation] = deque()
        self._is_writing = False

    def write(self, cost: WriteCost, done: Callable[[], None]) -> None:
        self._waiting.append(Operation(cost, done))
        if not self._is_writing:
            self._write_next()

    def _write_next(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH_OPERATIONS))]
        self._is_writing = bool(batch)
        if batch:
            seconds = sum_costs((operation.cost for operation in batch), self._trip_ms) / 1000
            self._lock.take(seconds, lambda: self._timeline.call_after(self._pause, lambda: self._end(batch)))

    def _end(self, batch: list[Operation]) -> None:
        for operation in batch:
            operation.done()
        self._write_next()


def sum_costs(costs: Iterable[WriteCost], trip_ms: float) -> float:
    """Return the milliseconds for which a transaction with these operations holds the lock."""
    several = list(costs)
    first = max(several, key=lambda cost: cost.alone + cost.trips * trip_ms - cost.further)
    total = sum(cost.further + cost.further_trips * trip_ms for cost in several)
    return total + first.alone - first.further + (first.trips - first.further_trips) * trip_ms


# --- a fleet ----------------------------------------------------------------------------------


class Load(NamedTuple):
    """A fleet and what it has to do."""

    workers: int
    runs_a_day: int
    #: writes of an agent in a second of its turn: what it says and does
    says: float
    #: turns that one worker works on at the same time
    places: int = 16
    gateways: int = 2


class Outcome(NamedTuple):
    """What a simulated fleet does in its busiest hour."""

    load: Load
    #: milliseconds from a request to the start of its turn
    p50: float
    p99: float
    #: which part of each resource is used; above 1, work piles up
    use: dict[str, float]
    #: the part of the server's processors, by what uses it
    processors: dict[str, float]
    connections: int

    @property
    def bottlenecks(self) -> list[str]:
        """The resources, the one that is used most first."""
        return sorted(self.use, key=lambda name: -self.use[name])


class FleetSimulation:
    """One fleet in its busiest hour."""

    def __init__(self, load: Load, seed: int) -> None:
        self._load = load
        self._random = random.Random(seed)
        self._timeline = Timeline()
        self._lock = WriteLock(self._timeline)
        self._rate = load.runs_a_day / DAY_SECONDS * PEAK
        members = load.workers + load.gateways
        self._told = members * SIGNAL_MS / 1000
        self._gateways = [self._make_member() for _ in range(load.gateways)]
        self._workers = [self._make_member() for _ in range(load.workers)]
        #: places that are free, one entry for each, and runs that wait for one
        self._free = [worker for worker in self._workers for _ in range(load.places)]
        self._queued: deque[Callable[[], None]] = deque()
        self._latencies: list[float] = []

    def run(self, seconds: float) -> Outcome:
        """Simulate so many seconds after the fleet has settled."""
        for member in (*self._gateways, *self._workers):
            self._renew(member, self._random.random() * LEASE_PERIOD_SECONDS)
        self._random.shuffle(self._free)
        for _ in range(min(round(self._rate * mean_turn()), len(self._free))):
            longest = self._random.uniform(SHORTEST_TURN_SECONDS, SLOWEST_TURN_SECONDS)  # longer ones are met more
            self._begin_turn(self._free.pop(), longest * self._random.random())
        self._arrive()
        self._timeline.run_until(SETTLING_SECONDS)
        self._latencies.clear()
        asked, commits = self._lock.asked_seconds, self._lock.commits
        self._timeline.run_until(SETTLING_SECONDS + seconds)
        processors = self._use_processors((self._lock.commits - commits) / seconds)
        use = {
            "write lock": self._use_lock((self._lock.asked_seconds - asked) / seconds),
            PROCESSORS: sum(processors.values()),
            "connections": self._count_connections() / SERVER_CONNECTIONS,
            "places of workers": self._rate * mean_turn() / (self._load.workers * self._load.places),
        }
        taken = self._latencies or [float("inf")]
        return Outcome(
            self._load, percentile(taken, 0.5), percentile(taken, 0.99), use, processors, self._count_connections()
        )

    def _make_member(self) -> Member:
        return Member(self._timeline, self._lock, trip_ms=NETWORK_MS, pause=self._told)

    # --- what happens -------------------------------------------------------------------------

    def _arrive(self) -> None:
        arrived = self._timeline.now
        gateway = self._random.choice(self._gateways)
        gateway.write(ACCEPT, lambda: self._dispatch(arrived))
        self._timeline.call_after(self._random.expovariate(self._rate), self._arrive)

    def _dispatch(self, arrived: float) -> None:
        if self._free:
            self._claim(self._take_place(), arrived)
        else:
            self._queued.append(lambda: self._claim(self._take_place(), arrived))

    def _take_place(self) -> Member:
        number = self._random.randrange(len(self._free))
        self._free[number], self._free[-1] = self._free[-1], self._free[number]
        return self._free.pop()

    def _claim(self, worker: Member, arrived: float) -> None:
        def begin() -> None:
            self._latencies.append((self._timeline.now - arrived) * 1000)
            turn = SHORTEST_TURN_SECONDS * (SLOWEST_TURN_SECONDS / SHORTEST_TURN_SECONDS) ** self._random.random()
            self._begin_turn(worker, turn)

        fetched = (FETCH_MS + 2 * NETWORK_MS) / 1000  # the notification, and the fetch
        self._timeline.call_after(fetched, lambda: worker.write(CLAIM, begin))

    def _begin_turn(self, worker: Member, seconds: float) -> None:
        ends = self._timeline.now + seconds
        self._timeline.call_after(seconds, lambda: worker.write(END, lambda: self._free_place(worker)))
        if self._load.says:
            self._say(worker, ends)

    def _say(self, worker: Member, ends: float) -> None:
        pause = self._random.expovariate(self._load.says)
        if self._timeline.now + pause < ends:
            self._timeline.call_after(pause, lambda: worker.write(APPEND, lambda: None))
            self._timeline.call_after(pause, lambda: self._say(worker, ends))

    def _free_place(self, worker: Member) -> None:
        self._free.append(worker)
        if self._queued:
            self._queued.popleft()()

    def _renew(self, member: Member, after: float) -> None:
        def renew() -> None:
            member.write(LEASE, lambda: None)
            self._renew(member, LEASE_PERIOD_SECONDS)

        self._timeline.call_after(after, renew)

    # --- what is calculated -------------------------------------------------------------------

    def _use_lock(self, asked: float) -> float:
        """Return which part of the lock's time is asked for. Args: asked: by members that wait for it themselves."""
        if asked < SATURATED:
            return asked
        rates = calculate_rates(self._load)  # work waits at the members, too
        return max(asked, sum(rate * sum_costs([cost], NETWORK_MS) for cost, rate in rates.items()) / 1000)

    def _use_processors(self, commits: float) -> dict[str, float]:
        """Return the used part of the server's processors, by what uses it. Args: commits: in a second."""
        workers, members = self._load.workers, self._load.workers + self._load.gateways
        writes = sum(rate * cost.alone for cost, rate in calculate_rates(self._load).items())
        beats = workers / HEARTBEAT_PERIOD_SECONDS * HEARTBEAT_MS
        # Each job wakes all workers of its queue, and each looks: those that come too late find nothing.
        looks = workers * min(self._rate + 1 / LOOK_PERIOD_SECONDS, 1000 / (EMPTY_FETCH_MS + NETWORK_MS))
        told_jobs = self._rate * workers * (SIGNAL_MS + LISTENER_MS)
        used = {
            "statements": writes + beats + self._rate * (FETCH_MS + JOB_END_MS),
            "looks for jobs": looks * EMPTY_FETCH_MS + told_jobs,
            "news of commits": commits * members * (SIGNAL_MS + LISTENER_MS),
        }
        return {what: milliseconds / 1000 / SERVER_CORES for what, milliseconds in used.items()}

    def _count_connections(self) -> int:
        return self._load.gateways * GATEWAY_CONNECTIONS + self._load.workers * WORKER_CONNECTIONS


def mean_turn() -> float:
    """Return the seconds of a mean turn."""
    return (SLOWEST_TURN_SECONDS - SHORTEST_TURN_SECONDS) / math.log(SLOWEST_TURN_SECONDS / SHORTEST_TURN_SECONDS)


def calculate_rates(load: Load) -> dict[WriteCost, float]:
    """Return how many operations of each kind a fleet writes in a second of its busiest hour."""
    runs = load.runs_a_day / DAY_SECONDS * PEAK
    leases = (load.workers + load.gateways) / LEASE_PERIOD_SECONDS
    return {ACCEPT: runs, CLAIM: runs, END: runs, APPEND: runs * mean_turn() * load.says, LEASE: leases}


# --- the table --------------------------------------------------------------------------------

#: writes of an agent in a second of its turn: one that works with tools, and one whose words are read while it speaks
QUIET, TALKING = 0.1, 2.0
LOADS = (
    *(Load(*size, QUIET) for size in ((2, 2_000), (8, 10_000), (32, 40_000), (100, 120_000), (250, 300_000))),
    *(Load(*size, QUIET) for size in ((500, 600_000), (1000, 1_000_000))),
    *(Load(*size, QUIET, 64) for size in ((30, 120_000), (75, 300_000), (100, 600_000), (100, 1_000_000))),
    *(Load(*size, TALKING, 64) for size in ((8, 40_000), (20, 60_000), (30, 120_000))),
    Load(1000, 1_000_000, TALKING),
)
#: runs that a row simulates, and operations that it may take for that
RUNS_A_ROW, MAX_ROW_OPERATIONS = 3000, 100_000


def simulate(load: Load, seed: int = 1) -> Outcome:
    rates = calculate_rates(load)
    seconds = min(RUNS_A_ROW / rates[ACCEPT], MAX_ROW_OPERATIONS / sum(rates.values()))
    return FleetSimulation(load, seed).run(seconds)


def describe(outcome: Outcome) -> list[str]:
    """Return the cells of a row."""
    load, use = outcome.load, outcome.use
    first, second = outcome.bottlenecks[:2]
    grows = max(use["write lock"], use["places of workers"], use[PROCESSORS]) >= SATURATED
    return [
        f"{load.workers:,} x {load.places}",
        f"{load.runs_a_day:,}",
        f"{load.says:g}",
        f"{use['write lock']:.0%}",
        f"{use[PROCESSORS]:.0%}",
        f"{outcome.connections:,}",
        "grows" if grows else f"{outcome.p50:,.0f} ms",
        "grows" if grows else f"{outcome.p99:,.0f} ms",
        _name_bottleneck(outcome, first),
        _name_bottleneck(outcome, second),
    ]


def _name_bottleneck(outcome: Outcome, name: str) -> str:
    by = ""
    if name == PROCESSORS:
        by = f" ({max(outcome.processors, key=lambda what: outcome.processors[what])})"
    return f"{name}{by}: {outcome.use[name]:.0%}"


def main() -> None:
    head = ("workers x places", "runs a day", "says/s", "write lock", "processors", "connections", "start p50", "p99")
    print("| " + " | ".join((*head, "first bottleneck", "next")) + " |")
    print("| " + " | ".join(["---"] * (len(head) + 2)) + " |")
    for load in LOADS:
        print("| " + " | ".join(describe(simulate(load))) + " |", flush=True)


if __name__ == "__main__":
    main()
