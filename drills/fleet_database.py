"""The server of a fleet's database is restarted, or replaced by its replica, while clients submit tasks."""

from __future__ import annotations

import contextlib
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from drills import Figures, ProgramMissing, fleet_checks, network
from drills.fleet import Submitter, wait_ended
from drills.fleet_members import AGENT_LIMIT, Members, running_fleet, started_members, wait_all_ready
from harness.postgres_server import PostgresServer, find_programs, running_server
from harness.waiting import until_sync

#: tasks that are acknowledged before something happens to the server
MIN_ACKNOWLEDGED = 20
#: seconds for which the replica hears nothing before it takes over, if it need not confirm commits
LAG_SECONDS = 1.0


def server_restarts(directory: Path, runs: int = 60, restarts: int = 2, workers: int = 1) -> Figures:
    """Stop the server, in turn in good order and as if it crashed, until clients were refused; start it again.

    Args:
        runs: how many tasks are submitted, for each restart; more, until the last restart is over.
    """
    with running_fleet(directory, workers=workers) as members:
        ready: list[float] = []
        submitter = Submitter(members, runs * restarts, runs, may_end=lambda: len(ready) == restarts)
        with submitter.running():
            for number in range(restarts):
                _wait_acknowledged(submitter, max(number * runs, len(submitter.acknowledged)) + MIN_ACKNOWLEDGED)
                refused = submitter.refused
                members.server.stop(signal.SIGQUIT if number % 2 else signal.SIGINT)
                until_sync(lambda before=refused: submitter.refused > before, "a client is refused")  # type: ignore[misc]
                members.server.start()
                ready.append(_measure_ready(members, submitter))
        return {"restarts": restarts, **_judge(members, submitter, ready)}


def replica_takes_over(directory: Path, runs: int = 60, *, synchronous: bool = True) -> Figures:
    """Crash the server, and let its replica take over.

    Args:
        runs: how many tasks are submitted; more, until the replica has taken over.
        synchronous: whether each commit waits for the replica. Else the replica hears nothing of the last second.
    """
    with _replicated(directory, synchronous=synchronous) as (primary, replica, members):
        ready: list[float] = []
        submitter = Submitter(members, runs, runs, may_end=lambda: bool(ready))
        with submitter.running():
            _wait_acknowledged(submitter, MIN_ACKNOWLEDGED)
            if not synchronous:
                _cut_replication(replica)
            primary.stop(signal.SIGQUIT)
            until_sync(lambda: submitter.refused > 0, "a client is refused")
            replica.execute("SELECT pg_promote()")
            members.server = replica
            ready.append(_measure_ready(members, submitter))
        return _judge(members, submitter, ready, may_lose=not synchronous)


def _wait_acknowledged(submitter: Submitter, count: int) -> None:
    until_sync(lambda: len(submitter.acknowledged) >= count or submitter.failures, f"{count} tasks are acknowledged")


def _measure_ready(members: Members, submitter: Submitter) -> float:
    """Return the seconds until all members are ready, and a task was acknowledged."""
    began = time.monotonic()
    acknowledged = len(submitter.acknowledged)
    until_sync(lambda: len(submitter.acknowledged) > acknowledged, "a task is acknowledged")
    wait_all_ready(members.all)
    return time.monotonic() - began


def _judge(members: Members, submitter: Submitter, ready: list[float], *, may_lose: bool = False) -> Figures:
    wait_ended(members)
    found = fleet_checks.judge(members.server, submitter.acknowledged, members.marks, AGENT_LIMIT, may_lose=may_lose)
    assert submitter.without_retry_after == 0, f"{submitter.without_retry_after} refusals do not say when to come again"
    return {
        **found,
        "503 with Retry-After": submitter.refused,
        "unanswered and repeated": submitter.unanswered,
        "accepting again, worst s": round(max(ready), 2),
    }


@contextlib.contextmanager
def _replicated(directory: Path, *, synchronous: bool) -> Iterator[tuple[PostgresServer, PostgresServer, Members]]:
    """Start a server with a replica, and a fleet that knows both."""
    programs = find_programs()
    if programs is None:
        raise ProgramMissing("PostgreSQL is not installed")
    with contextlib.ExitStack() as stack:
        hosted = network.explain_impossible() is None
        address = stack.enter_context(network.private_network()) if hosted else "127.0.0.1"
        ports = _find_free_ports(address)
        primary = stack.enter_context(running_server(programs, durable=True, address=address, port=ports[0]))
        primary.create_database(fleet_checks.DATABASE)
        place = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="moongate-pg-", ignore_cleanup_errors=True))
        )
        place.chmod(0o755)
        replica = PostgresServer(programs, place, durable=True, address=address, port=ports[1])
        replica.copy(primary)
        stack.callback(replica.stop)
        replica.start()
        if synchronous:
            primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            primary.execute("SELECT pg_reload_conf()")
        url = (
            f"postgresql://moongate@/{fleet_checks.DATABASE}?host={address},{address}&port={ports[0]},{ports[1]}"
            "&target_session_attrs=read-write"
        )
        yield primary, replica, stack.enter_context(started_members(directory, primary, url, workers=2))


def _cut_replication(replica: PostgresServer) -> None:
    replica.execute("ALTER SYSTEM SET primary_conninfo = ''")
    replica.execute("SELECT pg_reload_conf()")
    time.sleep(LAG_SECONDS)


def _find_free_ports(address: str) -> list[int]:
    """Return two ports that nobody uses."""
    with socket.create_server((address, 0)) as one, socket.create_server((address, 0)) as other:
        return [one.getsockname()[1], other.getsockname()[1]]
