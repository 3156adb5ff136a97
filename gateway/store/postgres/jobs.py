"""Procrastinate carries dispatched runs to the processes that work on them: https://procrastinate.readthedocs.io.

A job has only the ids of a run and its agent, an epoch, and the time at which the run was dispatched; the truth is in
our tables. A job that is given out twice, or too late, finds the epoch gone at its claim, and ends.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from procrastinate import App, PsycopgConnector, SyncPsycopgConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job
from procrastinate.manager import JobManager
from procrastinate.schema import SchemaManager
from psycopg_pool import AsyncConnectionPool

from gateway.domain.ports.fleet_store import ExecuteJob
from gateway.errors import Unavailable
from gateway.store.postgres import opening

if TYPE_CHECKING:
    from gateway.store.sql.transaction import Transaction

#: name of the task whose jobs carry runs
TASK_NAME = "execute"
#: seconds between two heartbeats of a worker, and after which its jobs count as stalled
HEARTBEAT_SECONDS, STALLED_SECONDS = 10.0, 30.0
#: seconds between two looks at the queues, should a notification be lost
POLL_SECONDS = 2.0
#: connections of one worker: one listens, the others fetch and end jobs
MAX_JOB_CONNECTIONS = 4
#: seconds that they may take to close
POOL_CLOSE_SECONDS = 5.0

for _name in ("procrastinate", "psycopg.pool"):  # what concerns people is told by our own log
    logging.getLogger(_name).setLevel(logging.CRITICAL)
#: what defers jobs in the transactions of others: it has no connection of its own
_deferring = App(connector=SyncPsycopgConnector())


class NewJob(NamedTuple):
    """A job to leave in a queue."""

    queue: str
    run: str
    agent: str
    epoch: int
    priority: int


def agent_queue(agent: str) -> str:
    """Return the queue of the runs of a configured agent that any host may work on."""
    return f"agent:{agent}"


def host_queue(host: str, agent: str) -> str:
    """Return the queue of the runs of a configured agent whose sessions are bound to a host."""
    return f"host:{host}:{agent}"


def find_queues(host: str, agents: Iterable[str]) -> list[str]:
    """Return the queues from which a node takes jobs."""
    return [queue for agent in agents for queue in (host_queue(host, agent), agent_queue(agent))]


def defer_jobs(tx: Transaction, new: Iterable[NewJob]) -> None:
    """Leave jobs in their queues, in the transaction: they are there when it is committed.

    Raises:
        psycopg.Error: the server refuses, or is lost.
    """
    made = [
        Job(
            id=None,
            queue=job.queue,
            task_name=TASK_NAME,
            priority=job.priority,
            lock=None,
            queueing_lock=None,
            task_kwargs={"run": job.run, "agent": job.agent, "epoch": job.epoch, "at": tx.now},
        )
        for job in new
    ]
    connection: Any = tx.connection
    try:
        with connection.lend() as lent:
            _deferring.job_manager.batch_defer_jobs(made, connection=lent)
    except ConnectorException as error:
        raise error.__cause__ or error from error  # what the store says about it depends on what it is


def apply_schema(connection: psycopg.Connection[Any]) -> None:
    """Make or upgrade Procrastinate's tables, in the schema that the connection uses."""
    pending = list_pending(connection)
    is_new = connection.execute("SELECT 1 FROM job_migrations LIMIT 1").fetchone() is None
    with connection.transaction():
        if is_new:  # the whole schema has all of them
            connection.execute(SchemaManager.get_schema(), prepare=False)
        for file in pending:
            if not is_new:
                connection.execute(file.read_text("utf-8").encode(), prepare=False)
            connection.execute("INSERT INTO job_migrations (name) VALUES (%s)", (file.name,))


def list_pending(connection: psycopg.Connection[Any]) -> list[Path]:
    """Return the files of Procrastinate's migrations that a database does not have yet, in their order."""
    applied = {name for (name,) in connection.execute("SELECT name FROM job_migrations")}
    files = sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql"))
    return [file for file in files if file.name not in applied]


class _JobManager(JobManager):
    """Leaves a job that cannot be ended because the server is away: the leader deletes it with those of dead workers.

    Otherwise each one's error is reported as an exception that nobody has retrieved.
    """

    async def finish_job(self, *args: Any, **options: Any) -> None:
        with contextlib.suppress(ConnectorException):
            await super().finish_job(*args, **options)


class ProcrastinateQueue:
    """`JobQueue` in the store's database."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def work(self, queues: Sequence[str], slots: int, execute: ExecuteJob) -> None:
        app = App(connector=PsycopgConnector())
        app.job_manager = _JobManager(app.connector)

        @app.task(name=TASK_NAME)
        async def _execute(run: str, agent: str, epoch: int, at: int) -> None:
            await execute(run, agent, epoch, at)

        pool = AsyncConnectionPool(
            opening.complete_url(self._url), min_size=1, max_size=MAX_JOB_CONNECTIONS, open=False, configure=_configure
        )
        try:
            await pool.open(wait=True, timeout=opening.SILENCE_TIMEOUT_SECONDS)
            async with app.open_async(pool):
                await app.run_worker_async(
                    queues=queues,
                    concurrency=slots,
                    install_signal_handlers=False,
                    fetch_job_polling_interval=POLL_SECONDS,
                    shutdown_graceful_timeout=0,  # an attempt goes on without its job
                    delete_jobs="always",
                    update_heartbeat_interval=HEARTBEAT_SECONDS,
                    stalled_worker_timeout=STALLED_SECONDS,
                )
        except (ConnectorException, psycopg.Error) as error:
            raise Unavailable(f"the queues cannot be read: {error.__cause__ or error}.") from error
        finally:
            await pool.close(timeout=POOL_CLOSE_SECONDS)  # also one that was never opened as a whole
        raise Unavailable("the queues cannot be read.")


async def _configure(connection: psycopg.AsyncConnection[Any]) -> None:
    await connection.set_autocommit(True)  # each statement of a worker is a transaction of its own
    await connection.execute(f"SET search_path = {opening.SCHEMA}; {opening.SERVER_KEEPALIVES}", prepare=False)
