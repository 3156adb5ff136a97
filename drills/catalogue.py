"""All drills: `scripts/drill` runs them, and each push runs their short forms."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from drills import (
    Drill,
    StoreDrill,
    clock,
    commits,
    configs,
    crash,
    deliveries,
    descriptors,
    disk,
    file_faults,
    file_memory,
    files,
    fleet,
    fleet_database,
    fleet_leader,
    fleet_reach,
    hostile,
    much,
    reads,
    restarts,
    schedules,
    soak,
    streams,
    updates,
    writers,
)


class Row(NamedTuple):
    name: str
    #: runs on each push
    short: Drill
    #: runs with `scripts/drill --long`; None if the short form runs there, too
    long: Drill | None = None
    #: its short form on a given store; None if it is about files, or about what has nothing to do with the store
    on: StoreDrill | None = None


DRILLS = [
    Row(
        "kill -9 at random",
        crash.kill_at_random,
        partial(crash.kill_at_random, kills=500, strict=True),
        on=partial(crash.kill_at_random, kills=4),
    ),
    Row("no orphan beside a retry", crash.no_orphan_beside_a_retry, on=crash.no_orphan_beside_a_retry),
    Row("a stop drains", crash.a_stop_drains),
    Row(
        "a second signal cuts the grace", crash.a_second_signal_cuts_the_grace, on=crash.a_second_signal_cuts_the_grace
    ),
    Row(
        "restarts under load",
        restarts.under_load,
        partial(restarts.under_load, restarts=20, seconds=20.0, clients=32, p99=250.0),
    ),
    Row(
        "updates and rollbacks under load",
        updates.under_load,
        partial(updates.under_load, turns=[*range(6)] * 3 + [0, 1], senders=8),
    ),
    Row(
        "status over starts and stops",
        restarts.status_over_starts,
        partial(restarts.status_over_starts, turns=50, calls=200),
    ),
    Row(
        "kill -9 around fires",
        schedules.kill_around_fires,
        partial(schedules.kill_around_fires, kills=30),
        on=schedules.kill_around_fires,
    ),
    Row("the clock is set forward and back", clock.is_moved, partial(clock.is_moved, more=60)),
    Row("disk full", disk.full),
    Row("disk refuses", disk.refusing),
    Row("disk read-only", disk.read_only),
    Row(
        "kill -9 among files",
        files.kill_at_random,
        partial(files.kill_at_random, kills=30, largest=files.LARGEST),
    ),
    Row("disk full at each step of a file", file_faults.full_at_each_step),
    Row(
        "kill -9 at each step of a file",
        file_faults.killed_at_each_step,
        partial(file_faults.killed_at_each_step, thorough=True),
    ),
    Row(
        "memory of large files",
        file_memory.stays_small,
        partial(file_memory.stays_small, together=file_memory.TOGETHER, strict=True),
    ),
    Row(
        "restarts among uploads",
        files.uploads_over_restarts,
        partial(files.uploads_over_restarts, restarts=10, size=files.LARGEST),
    ),
    Row(
        "a store that has grown",
        much.is_kept,
        partial(
            much.is_kept,
            sessions=1000,
            runs=10_000,
            copies=100,
            calls=100,
            limit=500,
            seconds=15.0,
            accepts=1000,
            strict=True,
        ),
    ),
    Row("hostile agents", hostile.agents, partial(hostile.agents, megabytes=1000, strict=True)),
    Row("work for a long time", soak.goes_on, partial(soak.goes_on, rounds=120, seconds=60.0, pace=0.01, strict=True)),
    Row("no descriptors left", descriptors.none_left),
    Row("two writers on one store", writers.two, partial(writers.two, seconds=20.0, share=0.2)),
    Row("readers who take nothing", streams.stalled_readers, partial(streams.stalled_readers, back=20, strict=True)),
    Row("the config is exchanged", configs.exchanged, partial(configs.exchanged, rounds=5, clients=32)),
    Row("reads that fail under load", reads.fail_under_load, partial(reads.fail_under_load, tasks=1000)),
    Row("undecodable rows in each table", reads.undecodable_rows),
    Row(
        "20 readers that read nothing",
        reads.readers_take_nothing,
        partial(reads.readers_take_nothing, tasks=150, strict=True),
    ),
    Row("search bombs", reads.search_bombs, partial(reads.search_bombs, strict=True)),
    Row(
        "readers over a restart",
        streams.over_a_restart,
        partial(streams.over_a_restart, restarts=5),
        on=streams.over_a_restart,
    ),
    Row("no answer before its sync", commits.no_answer_before_its_sync),
    Row(
        "kill -9 before delivery",
        deliveries.kill_before_delivery,
        partial(deliveries.kill_before_delivery, kills=30),
        on=deliveries.kill_before_delivery,
    ),
    Row("a receiver in every mood", deliveries.every_mood, partial(deliveries.every_mood, tasks=500, down=10.0)),
    Row(
        "a dead receiver delays nobody",
        deliveries.a_dead_receiver_delays_nobody,
        partial(deliveries.a_dead_receiver_delays_nobody, dead=500, well=200, strict=True),
    ),
    Row(
        "fleet: members fail",
        fleet.members_fail,
        partial(fleet.members_fail, runs=5000, sessions=1500, workers=4, to_the_end=True),
    ),
    Row(
        "fleet: the other gateway serves",
        fleet_reach.other_gateway_serves,
        partial(fleet_reach.other_gateway_serves, streams=12, rounds=4),
    ),
    Row(
        "fleet: the database restarts",
        fleet_database.server_restarts,
        partial(fleet_database.server_restarts, runs=500, restarts=6, workers=2),
    ),
    Row(
        "fleet: a synchronous replica takes over",
        fleet_database.replica_takes_over,
        partial(fleet_database.replica_takes_over, runs=1000),
    ),
    Row(
        "fleet: an asynchronous replica takes over",
        partial(fleet_database.replica_takes_over, synchronous=False),
        partial(fleet_database.replica_takes_over, runs=1000, synchronous=False),
    ),
    Row("fleet: the leader fails", fleet_leader.leader_fails, partial(fleet_leader.leader_fails, rounds=3)),
    Row(
        "fleet: each time fires once",
        fleet_leader.each_time_fires_once,
        partial(fleet_leader.each_time_fires_once, fires=1000),
    ),
]
