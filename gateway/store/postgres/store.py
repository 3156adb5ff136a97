"""The store on a PostgreSQL server."""

from __future__ import annotations

from functools import partial

import msgspec

from gateway.domain.budget import CalendarDays
from gateway.domain.file import DEFAULT_FILE_QUOTA_BYTES
from gateway.domain.fleet import FleetView
from gateway.domain.queue import RunLimits
from gateway.domain.times import Clock
from gateway.store.postgres import fleet
from gateway.store.postgres.database import PostgresDatabase
from gateway.store.sql.nouns import NounStore, in_read, in_write
from gateway.store.sql.store import SqlDeliveryStore, SqlStore
from gateway.store.sql.transaction import StoreLimits


class PostgresFleetStore(NounStore):
    """`FleetStore` in the database of the store."""

    database: PostgresDatabase

    renew_lease = in_write(fleet.renew_lease)
    end_lease = in_write(fleet.end_lease)
    set_leader = in_write(fleet.set_leader)
    find_dead_owners = in_read(fleet.find_dead_owners)
    prune_nodes = in_write(fleet.prune_nodes)
    find_destinations = in_read(fleet.find_destinations)
    dispatch = in_write(fleet.dispatch_runs)
    claim = in_write(fleet.claim_dispatched)
    restore_lost_jobs = in_write(fleet.restore_lost_jobs)
    find_running = in_read(fleet.find_running)
    requeue_forgotten = in_write(fleet.requeue_forgotten)
    release_deliveries = in_write(fleet.release_deliveries)
    leave_deliveries = in_write(fleet.leave_deliveries)

    async def view(self, *, with_queues: bool = True) -> FleetView:
        found = await self.database.read(partial(fleet.view_fleet, with_queues=with_queues))
        return msgspec.structs.replace(
            found, clock_ahead=self.database.clock_ahead, commit_lag=self.database.commit_lag
        )

    def dispatch_at_commit(self, limits: RunLimits | None) -> None:
        dispatch = None if limits is None else partial(fleet.dispatch_at_commit, limits=limits)
        self.database.set_last_operation(dispatch)


class PostgresDeliveryStore(SqlDeliveryStore):
    """Deliveries, of which each member of a fleet knows who sends them."""

    take_due = in_write(fleet.take_due_deliveries)
    record_attempt = in_write(fleet.record_delivery_attempt)


class PostgresStore(SqlStore):
    """`Store` on a PostgreSQL server. Create it inside a running event loop; close it there."""

    def __init__(
        self,
        url: str,
        *,
        host: str = "",
        owner: str = "",
        queue_limit: int = 100_000,
        file_quota: int = DEFAULT_FILE_QUOTA_BYTES,
        days: CalendarDays | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Connect to the server; create or migrate the schema as needed.

        Args:
            url: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
            host: the name of this host in the fleet.
            owner: the name of this process in the fleet; attempts under another one are not its own.
            queue_limit: runs that may be queued or held.
            file_quota: bytes that all files may have together.
            days: the calendar days by which usage is counted; by default those of UTC.
            clock: by default that of the server.

        Raises:
            ConfigError: the server cannot be used.
        """
        limits = StoreLimits(queue_limit, file_quota)
        database = PostgresDatabase(url, clock, days or CalendarDays(), limits, host=host, owner=owner)
        super().__init__(database)
        self.deliveries = PostgresDeliveryStore(database)
        self.fleet = PostgresFleetStore(database)
        #: tells the time of the server
        self.clock = database.tell_time
        #: has a function called, on the event loop, after each commit of another process
        self.on_external_commit = database.call_after_external_commits
