"""The leader of a fleet goes away: another one leads soon, and each time of a schedule becomes one run."""

from __future__ import annotations

import random
import time
from itertools import pairwise
from pathlib import Path

from drills import Figures, fleet_checks
from drills.fleet_members import KINDS, Member, Members, disturb, running_fleet, wait_all_ready
from harness.postgres_server import PostgresServer
from harness.waiting import until_sync

#: seconds after which another member must lead, by what happened to the leader. The documentation says 2 s after a
#: kill, which the machine of a drill need not reach, and 20 to 25 s else
TAKEOVER_SECONDS = {"kill": 15.0, "stop": 40.0, "cut": 40.0}
#: seconds for which a leader is away after another one has taken over
AWAY_SECONDS = 3.0
#: how often the leader is killed, at least
MIN_KILLS = 3
#: schedules that fire each second
SCHEDULES = 10
#: seconds around the time of a schedule at which the leader is killed
AROUND_SECONDS = (-0.05, 0.15)


def leader_fails(directory: Path, rounds: int = 1) -> Figures:
    """Kill, stop and cut off the leader; measure when another member leads."""
    took: dict[str, list[float]] = {}
    with running_fleet(directory, workers=0) as members:
        kinds = [kind for kind in KINDS if kind != "cut" or members.are_hosted]
        for _ in range(rounds):
            for kind in kinds:
                took.setdefault(kind, []).append(_replace_leader(members, kind))
    worst = {f"another leads after a {kind}, worst s": round(max(times), 1) for kind, times in took.items()}
    assert all(max(times) <= TAKEOVER_SECONDS[kind] for kind, times in took.items()), worst
    return worst


def _replace_leader(members: Members, kind: str) -> float:
    """Disturb the leader until another member leads; return the seconds until then."""
    before = _wait_leader(members)
    began = time.monotonic()
    after: list[float] = []

    def wait_for_another() -> None:
        until_sync(lambda: find_leader(members) not in (None, before), f"another leads after a {kind}")
        after.append(time.monotonic() - began)
        time.sleep(AWAY_SECONDS)

    disturb(before, kind, wait_for_another)
    wait_all_ready(members.all)
    until_sync(lambda: _count_locks(members.server) == 1, "one member holds the lock")
    return after[0]


def _wait_leader(members: Members) -> Member:
    until_sync(lambda: find_leader(members) is not None, "a member leads")
    found = find_leader(members)
    assert found is not None
    return found


def find_leader(members: Members) -> Member | None:
    """Return the member that says that it leads, and has a lease."""
    found = fleet_checks.rows(
        members.server,
        "SELECT host FROM nodes WHERE leads = 1 AND lease > extract(epoch FROM clock_timestamp()) * 1000",
    )
    return next((one for one in members.all if (one.name,) in found), None)


def _count_locks(server: PostgresServer) -> int:
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = 3 AND objsubid = 2"
    return int(fleet_checks.rows(server, query)[0][0])


def each_time_fires_once(directory: Path, fires: int = 30, seed: str = "moon") -> Figures:
    """Let schedules fire each second, while the leader is killed around these times."""
    dice = random.Random(seed)  # noqa: S311 no secret
    with running_fleet(directory, workers=1) as members:
        for number in range(SCHEDULES):
            body = {"name": f"each{number}", "schedule": "every 1s", "prompt": "Hello", "misfire": "all"}
            body["agentId"] = "echo"
            assert members.gateways[0].call("POST", "/api/cron/create", body).status == 200
        kills = 0
        while _count_fires(members.server) < fires or kills < MIN_KILLS:
            leader = _wait_leader(members)
            last = _find_last_time(members.server) / 1000
            due = last + max(int(time.time() - last), 0) + 1
            time.sleep(max(due + dice.uniform(*AROUND_SECONDS) - time.time(), 0.0))
            leader.kill()
            kills += 1
            leader.start()
        for job in members.gateways[0].call("GET", "/api/cron").body["jobs"]:
            assert members.gateways[0].call("POST", f"/api/cron/{job['id']}/toggle", {}).status == 200
        until_sync(lambda: fleet_checks.count_open(members.server) == 0, "all runs have ended")
        return {"leader killed": kills, **_judge_fires(members.server)}


def _count_fires(server: PostgresServer) -> int:
    return int(fleet_checks.rows(server, "SELECT count(*) FROM fires")[0][0])


def _find_last_time(server: PostgresServer) -> int:
    """Return the last time at which a schedule has fired, in milliseconds since 1970."""
    return int(fleet_checks.rows(server, "SELECT coalesce(max(scheduled_for), 0) FROM fires")[0][0])


def _judge_fires(server: PostgresServer) -> Figures:
    """Check that each time has one run and each run one time, and that no time is left out."""
    fires = fleet_checks.rows(server, "SELECT schedule, scheduled_for, run, outcome FROM fires ORDER BY 1, 2")
    runs = {run for (run,) in fleet_checks.rows(server, "SELECT id FROM runs WHERE source = 'cron'")}
    fired = [run for _, _, run, _ in fires if run is not None]
    assert sorted(fired) == sorted(runs), f"{len(fired)} times with runs, {len(runs)} runs"
    assert len(fired) == len(set(fired)), "two times have the same run"
    gaps = {after - before for (one, before, *_), (other, after, *_) in pairwise(fires) if one == other}
    assert gaps == {1000}, f"milliseconds between times: {sorted(gaps)}"
    missed = [outcome for _, _, run, outcome in fires if run is None]
    assert missed == [], f"{len(missed)} times without a run: {missed[:5]}"
    return {"times": len(fires), "runs": len(runs), "missed": len(missed), "twice": 0}
