"""The fleet: its nodes, and the runs that are on their way to one.

Dispatching is the claim's other half: the same rules choose the runs that may begin, one transaction marks them and
leaves a job for a worker, and the worker's claim takes them. In between they wait for a free worker, and take a place
of their agent.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from gateway.domain.delivery import Delivery, DeliveryAttempt
from gateway.domain.event import Log
from gateway.domain.fleet import (
    LEASE_MILLISECONDS,
    AgentLimits,
    AgentQueue,
    Destination,
    FleetView,
    Node,
    NodeView,
    Role,
)
from gateway.domain.queue import RunLimits
from gateway.domain.run import Run
from gateway.domain.times import HOUR_MILLISECONDS
from gateway.store.postgres import jobs
from gateway.store.postgres.dialect import SERVER_TIME
from gateway.store.sql import claiming, deliveries, event_log, run_queries, runs, workspaces
from gateway.store.sql.transaction import Reader, Transaction

#: milliseconds for which a node is listed after its lease has ended
NODE_RETENTION_MILLISECONDS = 24 * HOUR_MILLISECONDS
#: milliseconds for which a host is known after it was seen last: longer than any `fleet.move_after`
HOST_RETENTION_MILLISECONDS = 31 * 24 * HOUR_MILLISECONDS
#: seconds after which a job that was begun, and whose run nobody has claimed, is lost: the server was replaced by a
#: replica that does not know the claim
CLAIM_TIMEOUT_SECONDS = 60
_NODE_COLUMNS = "name, host, role, version, agents, slots, started, limits"
#: deletes the jobs that a worker has taken and that is gone: their runs are rescued, or dispatched again
_DELETE_STALLED_JOBS = """
DELETE FROM procrastinate_jobs WHERE status = 'doing' AND NOT EXISTS (
    SELECT 1 FROM procrastinate_workers AS worker WHERE worker.id = procrastinate_jobs.worker_id
    AND worker.last_heartbeat > now() - make_interval(secs => ?))
"""
#: deletes the jobs for which their hosts have no free place: one transaction may have dispatched several runs, each of
#: which had one. Their agents' places are free for others then
_TAKE_BACK_JOBS = """
DELETE FROM procrastinate_jobs WHERE status = 'todo' AND id IN (
    SELECT job FROM (
        SELECT jobs.id AS job, host, row_number() OVER (PARTITION BY host ORDER BY jobs.priority DESC, jobs.id) AS place
        FROM procrastinate_jobs AS jobs JOIN runs ON runs.id = args ->> 'run' JOIN sessions ON key = session
        WHERE jobs.status = 'todo' AND starts_with(queue_name, 'host:') AND host IS NOT NULL
    ) AS waiting WHERE place > (SELECT coalesce(sum(slots), 0) FROM nodes WHERE nodes.host = waiting.host)
        - (SELECT count(*) FROM runs JOIN sessions ON key = session
           WHERE runs.status = 'running' AND sessions.host = waiting.host)
)
"""
_decode_agents = msgspec.json.Decoder(tuple[str, ...]).decode
_decode_limits = msgspec.json.Decoder(tuple[AgentLimits, ...]).decode


# --- nodes ------------------------------------------------------------------------------------


def renew_lease(tx: Transaction, node: Node) -> bool:
    lease: Any = tx.execute("SELECT lease FROM nodes WHERE name = ?", (node.name,)).get
    until = tx.now + LEASE_MILLISECONDS
    tx.execute(
        f"INSERT INTO nodes ({_NODE_COLUMNS}, lease) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET host = excluded.host,"
        " role = excluded.role, version = excluded.version, agents = excluded.agents,"
        " slots = excluded.slots, limits = excluded.limits, lease = excluded.lease",
        (
            node.name,
            node.host,
            node.role,
            node.version,
            msgspec.json.encode(node.agents).decode(),
            node.slots,
            node.started,
            msgspec.json.encode(node.limits).decode(),
            until,
        ),
    )
    if node.slots:  # its sessions go on there
        tx.execute(
            "INSERT INTO hosts (name, seen) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET seen = excluded.seen",
            (node.host, until),
        )
    return lease is not None and lease > tx.now


def end_lease(tx: Transaction, name: str) -> None:
    tx.execute("DELETE FROM nodes WHERE name = ?", (name,))


def set_leader(tx: Transaction, name: str) -> None:
    """Record which node leads; the lock decides it, this is for people."""
    tx.execute("UPDATE nodes SET leads = iif(name = ?, 1, 0) WHERE leads = 1 OR name = ?", (name, name))


def find_dead_owners(reader: Reader, owners: Collection[str]) -> list[str]:
    # The server's own clock: that of this host may have been set since it was compared.
    rows = reader.execute(f"SELECT name FROM nodes WHERE lease > {SERVER_TIME}")
    alive = {str(name) for (name,) in rows}
    return [owner for owner in owners if owner not in alive]


def prune_nodes(tx: Transaction) -> None:
    tx.execute("DELETE FROM nodes WHERE lease < ?", (tx.now - NODE_RETENTION_MILLISECONDS,))
    tx.execute("DELETE FROM hosts WHERE seen < ?", (tx.now - HOST_RETENTION_MILLISECONDS,))


def view_fleet(reader: Reader, *, with_queues: bool = True) -> FleetView:
    rows = reader.execute(
        f"SELECT {_NODE_COLUMNS}, lease, leads, coalesce(running, 0) FROM nodes LEFT JOIN (SELECT owner,"
        " count(*) AS running FROM runs WHERE status = 'running' GROUP BY owner) work ON owner = name"
        " ORDER BY started, name"
    )
    return FleetView(
        at=reader.now,
        nodes=tuple(_decode_node(row, reader.now) for row in rows),
        queues=_view_queues(reader) if with_queues else (),
    )


def _view_queues(reader: Reader) -> tuple[AgentQueue, ...]:
    rows = reader.execute(
        "SELECT agent, count(*) FILTER (WHERE status = 'running'), count(*) FILTER (WHERE dispatched = 1),"
        " count(*) FILTER (WHERE status = 'queued' AND dispatched = 0), min(at) FILTER (WHERE dispatched = 1)"
        " FROM runs LEFT JOIN (SELECT args ->> 'run' AS run, max((args ->> 'at')::bigint) AS at"
        " FROM procrastinate_jobs WHERE status IN ('todo', 'doing') GROUP BY 1) jobs ON run = runs.id"
        " WHERE status IN ('queued', 'running') GROUP BY agent ORDER BY agent"
    )
    return tuple(
        AgentQueue(
            agent=agent,
            running=running,
            dispatched=dispatched,
            waiting=waiting,
            oldest_wait=0 if oldest is None else max(reader.now - oldest, 0),
        )
        for agent, running, dispatched, waiting, oldest in rows
    )


def find_destinations(reader: Reader, runs: Collection[str]) -> dict[str, Destination]:
    rows = reader.execute("SELECT host, agents FROM nodes WHERE lease > ? AND slots > 0", (reader.now,))
    takers = [(host, _decode_agents(agents)) for host, agents in rows]
    dispatched = reader.execute(
        "SELECT runs.id, sessions.host, coalesce(agents.base, runs.agent) FROM runs LEFT JOIN sessions"
        " ON sessions.key = runs.session LEFT JOIN agents ON agents.id = runs.agent"
        " WHERE status = 'queued' AND (dispatched = 1 OR ready = 1 AND sessions.host IS NOT NULL)"
    )
    wanted = set(runs)
    return {
        run: Destination(host=host, takers=sum(base in agents and host in (None, at) for at, agents in takers))
        for run, host, base in dispatched
        if run in wanted
    }


def _decode_node(row: Any, now: int) -> NodeView:
    name, host, role, version, agents, slots, started, limits, lease, leads, running = row
    node = Node(
        name=name,
        host=host,
        role=Role(role),
        version=version,
        agents=_decode_agents(agents),
        slots=slots,
        started=started,
        limits=_decode_limits(limits),
    )
    is_alive = lease > now
    return NodeView(node=node, lease=lease, is_alive=is_alive, leads=bool(leads) and is_alive, running=running)


# --- dispatching ------------------------------------------------------------------------------


class _NewJobs:
    """The jobs that a transaction leaves for workers."""

    def __init__(self) -> None:
        self.added = 0
        self._jobs: list[jobs.NewJob] = []

    def add(self, job: jobs.NewJob) -> None:
        self.added += 1
        self._jobs.append(job)

    def write(self, tx: Transaction) -> None:
        jobs.defer_jobs(tx, self._jobs)


def dispatch_runs(tx: Transaction, limits: RunLimits) -> None:
    claiming.begin_runs(tx, limits, _dispatch_run)


def dispatch_at_commit(tx: Transaction, limits: RunLimits) -> None:
    claiming.begin_at_commit(tx, limits, _dispatch_run)


def _dispatch_run(tx: Transaction, run: Run) -> Run:
    tx.execute("UPDATE runs SET dispatched = 1 WHERE seq = ?", (run.seq,))
    place = tx.execute(
        "SELECT (SELECT host FROM sessions WHERE key = ?), (SELECT base FROM agents WHERE id = ?)",
        (run.spec.session, run.spec.agent),
    )
    tx.read_later(place, lambda rows: tx.defer(_NewJobs).add(_make_job(run, rows.fetchone())))
    return run


def _make_job(run: Run, place: Any) -> jobs.NewJob:
    """Args: place: the host to which a run's session is bound, if any; the agent underneath its agent, if any."""
    host, base = place
    agent = base or run.spec.agent
    queue = jobs.agent_queue(agent) if host is None else jobs.host_queue(host, agent)
    return jobs.NewJob(queue=queue, run=run.id, agent=run.spec.agent, epoch=run.epoch, priority=run.spec.priority)


def claim_dispatched(tx: Transaction, run_id: str, epoch: int, owner: str, host: str | None) -> bool:
    if tx.execute("SELECT 1 FROM nodes WHERE name = ? AND lease > ?", (owner, tx.now)).get is None:
        return False  # others would rescue the run at once
    selected = run_queries.select_runs(
        tx, "runs WHERE id = ? AND epoch = ? AND status = 'queued' AND dispatched = 1", (run_id, epoch)
    )
    moved = tx.execute("SELECT moved_from FROM sessions WHERE key = (SELECT session FROM runs WHERE id = ?)", (run_id,))
    found = selected()
    if not found.seqs:
        return False
    run = found.readable[0] if found.readable else run_queries.get_run(tx, run_id)
    moved_from: Any = moved.get
    if moved_from is not None:
        _tell_move(tx, run, moved_from)
        run = run_queries.get_run(tx, run_id)
    if host is not None or moved_from is not None:
        tx.execute("UPDATE sessions SET host = ?, moved_from = NULL WHERE key = ?", (host, run.spec.session))
    claiming.claim_run(tx, run, owner)
    return True


def _tell_move(tx: Transaction, run: Run, moved_from: str) -> None:
    """Say in a run's log what its session has left behind."""
    message = (
        f"The host {moved_from} is gone, so this session goes on here with its transcript."
        " What its agent remembered, and its workspace, were left there."
    )
    last = event_log.append_events(tx, run.seq, run.id, run.last_event, [Log(level="warning", message=message)])
    tx.execute("UPDATE runs SET last_event = ? WHERE seq = ?", (last, run.seq))


# --- deliveries -------------------------------------------------------------------------------


def release_deliveries(tx: Transaction, sending: Collection[str]) -> int:
    mine = "owner = ? AND id NOT IN (SELECT value FROM json_each(?))"
    which = f" AND ({mine} OR owner IS DISTINCT FROM ?{tx.dialect.is_abandoned})"
    return deliveries.release_flying(tx, which, (tx.owner, msgspec.json.encode(list(sending)).decode(), tx.owner))


def take_due_deliveries(tx: Transaction, limit: int, each: int) -> list[Delivery]:
    """Take due deliveries as `deliveries.take_due` does; they are this process's as long as it has a lease."""
    taken = deliveries.take_due(tx, limit, each)
    for delivery in taken:
        tx.execute("UPDATE deliveries SET owner = ? WHERE seq = ?", (tx.owner, delivery.seq))
    return taken


def record_delivery_attempt(tx: Transaction, delivery: Delivery, tried: DeliveryAttempt) -> bool:
    """Store an attempt as `deliveries.record_attempt` does, unless another member sends the delivery."""
    owner = tx.execute("SELECT owner FROM deliveries WHERE seq = ?", (delivery.seq,)).get
    return owner == tx.owner and deliveries.record_attempt(tx, delivery, tried)


def leave_deliveries(tx: Transaction) -> None:
    tx.execute("UPDATE deliveries SET owner = NULL WHERE status = 'sending' AND owner = ?", (tx.owner,))


# --- mending ----------------------------------------------------------------------------------


def find_running(reader: Reader, owner: str) -> list[tuple[str, int]]:
    rows = reader.execute("SELECT id, epoch FROM runs WHERE status = 'running' AND owner = ?", (owner,))
    return [(str(run), int(epoch)) for run, epoch in rows]


def requeue_forgotten(tx: Transaction, owner: str, attempts: Collection[tuple[str, int]]) -> int:
    forgotten = [attempt for attempt in find_running(tx, owner) if attempt in attempts]
    for run, epoch in forgotten:
        runs.requeue_run(tx, run, epoch, "its worker does not know it")
    return len(forgotten)


def restore_lost_jobs(tx: Transaction, move_after: int | None) -> int:
    if move_after is not None:
        _free_sessions(tx, tx.now - move_after)
    tx.execute(_DELETE_STALLED_JOBS, (jobs.STALLED_SECONDS,))
    _close_dead_hosts(tx)
    tx.execute(_TAKE_BACK_JOBS)
    tx.execute(  # also those of ended runs: the server was away when they should have been deleted
        "DELETE FROM procrastinate_jobs USING runs WHERE args ->> 'run' = runs.id"
        " AND (runs.dispatched = 1 OR runs.status <> 'running')"
        " AND procrastinate_jobs.status = 'doing' AND NOT EXISTS (SELECT 1 FROM procrastinate_events AS events"
        " WHERE events.job_id = procrastinate_jobs.id AND at > clock_timestamp() - make_interval(secs => ?))",
        (CLAIM_TIMEOUT_SECONDS,),
    )
    lost = tx.execute(
        "UPDATE runs SET dispatched = 0 WHERE dispatched = 1 AND NOT EXISTS (SELECT 1 FROM procrastinate_jobs"
        " WHERE status IN ('todo', 'doing') AND args ->> 'run' = runs.id) RETURNING agent"
    ).fetchall()
    tx.ready_agents.update(str(agent) for (agent,) in lost)
    return len(lost)


def _close_dead_hosts(tx: Transaction) -> None:
    """Leave no jobs for hosts whose nodes are dead: each takes a place of its agent. They get jobs when they return."""
    tx.execute("UPDATE nodes SET slots = 0 WHERE lease <= ? AND slots > 0", (tx.now,))
    tx.execute(
        "DELETE FROM procrastinate_jobs WHERE status = 'todo' AND starts_with(queue_name, 'host:')"
        " AND queue_name NOT IN (SELECT 'host:' || host || ':' || agent"
        " FROM nodes, json_array_elements_text(agents::json) AS agent WHERE slots > 0)"
    )


def _free_sessions(tx: Transaction, before: int) -> None:
    """Let the sessions that have something to do, and whose hosts were not seen since then, go on elsewhere."""
    gone = tx.execute(
        "SELECT DISTINCT host FROM sessions WHERE host IS NOT NULL"
        " AND host NOT IN (SELECT name FROM hosts WHERE seen >= ?)",
        (before,),
    ).fetchall()
    if not gone:
        return
    freed = tx.execute(
        "UPDATE sessions SET host = NULL, moved_from = host, backend_ref = NULL"
        " WHERE host IN (SELECT value FROM json_each(?))"
        " AND key IN (SELECT session FROM runs WHERE status = 'queued') RETURNING key, moved_from",
        (msgspec.json.encode([host for (host,) in gone]).decode(),),
    ).fetchall()
    for key, host in freed:
        workspaces.leave_workspace(tx, str(key))
        tx.execute(
            "DELETE FROM procrastinate_jobs USING runs WHERE args ->> 'run' = runs.id AND runs.session = ?"
            " AND starts_with(queue_name, ?) AND procrastinate_jobs.status = 'todo'",
            (key, jobs.host_queue(str(host), "")),
        )
