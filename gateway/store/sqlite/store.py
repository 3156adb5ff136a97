"""The SQLite store: each method of the contract, as one operation on the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.domain.agent import AgentDraft, AgentEdit, SessionMode, StoredAgent
from gateway.domain.budget import By, Days, Spent, Used
from gateway.domain.delivery import Delivery, DeliveryCounts, DeliveryFilter
from gateway.domain.event import AnyHappening, Change, Event
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.permission import Answer, Lapse, PermissionRequest, Wanted
from gateway.domain.ports.store import AgentProcess, Listener, Pruned
from gateway.domain.queue import Admission, Backlog, Counts, Limits, Load, Obstacles
from gateway.domain.run import Accepted, Round, Run, RunFilter, RunSpec, Verdict
from gateway.domain.schedule import Fire, Firing, Schedule
from gateway.domain.search import Found, Search
from gateway.domain.session import Message, Session, SessionKey
from gateway.domain.times import Clock, wall_clock
from gateway.domain.token import Ticket, Token
from gateway.errors import Conflict, SessionNotFound
from gateway.process.identity import Identity
from gateway.store.sqlite import (
    agents,
    deliveries,
    event_log,
    idempotency,
    notes,
    permissions,
    processes,
    pruning,
    queue_status,
    runs,
    schedules,
    search,
    sessions,
    tickets,
    tokens,
    usage,
)
from gateway.store.sqlite.database import Database, Transaction

#: changes that are kept for readers who come back
CHANGES_KEPT = 100_000


class SqliteStore:
    """`Store` in one SQLite file. Make it inside a running event loop; close it there."""

    def __init__(
        self, path: Path, *, queue_limit: int = 100_000, days: Days | None = None, clock: Clock = wall_clock
    ) -> None:
        """Open the database, created or migrated as needed.

        Args:
            days: by which use is counted; those of UTC when not given.

        Raises:
            ConfigError: the file is not one that may be used.
        """
        self._days = days or Days()
        self._database = Database(path, clock, self._days)
        self._queue_limit = queue_limit
        self._clock = clock
        self._write, self._read = self._database.write, self._database.read

    def subscribe(self, listener: Listener) -> None:
        self._database.subscribe(listener)

    async def close(self) -> None:
        await self._database.close()

    async def check(self) -> None:
        await self._write(lambda tx: tx.execute("INSERT OR REPLACE INTO pulse VALUES (1, ?)", (tx.now,)).get)

    async def prune(self) -> None:
        await self._write(idempotency.prune)
        await self._write(notes.prune)
        await self._write(schedules.prune)
        await self._write(usage.prune)
        await self._write(lambda tx: event_log.prune_changes(tx, CHANGES_KEPT))

    async def prune_events(self, before: int | None, newest: int | None) -> Pruned:
        found = await self._read(lambda reader: pruning.old_logs(reader, before, newest))
        return Pruned(bool(found), tuple(await self._write(lambda tx: pruning.forget_logs(tx, found))) if found else ())

    async def prune_runs(self, before: int) -> Pruned:
        found = await self._read(lambda reader: pruning.old_runs(reader, before))
        return Pruned(bool(found), tuple(await self._write(lambda tx: pruning.forget_runs(tx, found))) if found else ())

    async def prune_sessions(self, before: int) -> Pruned:
        found = await self._read(lambda reader: pruning.old_sessions(reader, before))
        if found:
            await self._write(lambda tx: pruning.forget_sessions(tx, found, before))
        return Pruned(bool(found))

    async def prune_dead_letters(self, before: int) -> Pruned:
        found = await self._read(lambda reader: pruning.old_dead_letters(reader, before))
        if found:
            await self._write(lambda tx: pruning.forget_dead_letters(tx, found, before))
        return Pruned(bool(found))

    # runs
    async def accept(
        self,
        spec: RunSpec,
        key: IdempotencyKey | None = None,
        busy: SessionMode = SessionMode.QUEUE,
        admission: Admission | None = None,
    ) -> Accepted:
        return await self._write(lambda tx: runs.accept(tx, spec, key, busy, admission, self._queue_limit))

    async def claim(self, owner: str, limits: Limits) -> Sequence[Run]:
        return await self._write(lambda tx: runs.claim(tx, owner, limits))

    async def append(self, run: str, epoch: int, said: Sequence[AnyHappening]) -> None:
        await self._write(lambda tx: runs.append(tx, run, epoch, said))

    async def remember(self, run: str, epoch: int, backend_ref: str) -> None:
        await self._write(lambda tx: runs.remember(tx, run, epoch, backend_ref))

    async def end_round(self, run: str, epoch: int, ended: Round, said: Sequence[AnyHappening]) -> None:
        await self._write(lambda tx: runs.end_round(tx, run, epoch, ended, said))

    async def finish(self, run: str, epoch: int, verdict: Verdict, said: Sequence[AnyHappening]) -> Run:
        return await self._write(lambda tx: runs.finish(tx, run, epoch, verdict, said))

    async def requeue(self, run: str, epoch: int, why: str) -> Run:
        return await self._write(lambda tx: runs.give_back(tx, run, epoch, why))

    async def cancel(self, run: str, idempotent: IdempotencyKey | None = None) -> Run:
        return await self._write(lambda tx: runs.cancel(tx, run, idempotent))

    async def release(self, run: str, busy: SessionMode, idempotent: IdempotencyKey | None = None) -> Accepted:
        return await self._write(lambda tx: runs.release(tx, run, busy, idempotent))

    async def abandon(self, agent: str, limit: int) -> Sequence[Run]:
        return await self._write(lambda tx: runs.abandon(tx, agent, limit))

    async def run(self, run: str) -> Run:
        return await self._read(lambda reader: runs.by_id(reader, run))

    async def runs(self, which: RunFilter, page: Page) -> Sequence[Run]:
        return await self._read(lambda reader: runs.listed(reader, which, page))

    async def obstacles(self, runs: Sequence[Run], limits: Limits) -> Mapping[str, Obstacles]:
        return await self._read(lambda reader: queue_status.found(reader, runs, limits, self._days, self._clock()))

    async def finished(self, label: str, limit: int) -> Sequence[Run]:
        return await self._read(lambda reader: runs.finished(reader, label, limit))

    async def hide_finished(self, label: str) -> int:
        return await self._write(lambda tx: runs.hide_finished(tx, label))

    async def backlog(self) -> Backlog:
        return await self._read(runs.backlog)

    async def events(self, run: str, after: int, limit: int, size: int | None = None) -> Sequence[Event]:
        return await self._read(lambda reader: event_log.events(reader, run, after, limit, size))

    async def changes(self, after: int, limit: int) -> Sequence[Change]:
        return await self._read(lambda reader: event_log.changes(reader, after, limit))

    async def last_change(self) -> int:
        return await self._read(event_log.last_change)

    async def next_due(self) -> int | None:
        return await self._read(runs.next_due)

    async def counts(self, since: int) -> Counts:
        return await self._read(lambda reader: runs.counts(reader, since))

    # permissions
    async def ask_permission(self, run: str, epoch: int, wanted: Wanted, expires: int) -> PermissionRequest:
        return await self._write(lambda tx: permissions.ask(tx, runs.held(tx, run, epoch), wanted, expires))

    async def answer_permission(
        self, run: str, n: int, answer: Answer, by: str, idempotent: IdempotencyKey | None = None
    ) -> PermissionRequest:
        return await self._write(lambda tx: permissions.answer(tx, runs.by_id(tx, run), n, answer, by, idempotent))

    async def close_permission(self, run: str, n: int, why: Lapse) -> PermissionRequest:
        return await self._write(lambda tx: permissions.close(tx, runs.by_id(tx, run), n, why))

    async def permission(self, run: str, n: int) -> PermissionRequest:
        return await self._read(lambda reader: permissions.one(reader, runs.by_id(reader, run), n))

    async def permissions(self, run: str, page: Page) -> Sequence[PermissionRequest]:
        return await self._read(lambda reader: permissions.listed(reader, runs.by_id(reader, run), page))

    # deliveries
    async def take_deliveries(self, limit: int, each: int) -> Sequence[Delivery]:
        return await self._write(lambda tx: deliveries.take(tx, limit, each))

    async def record_delivery(self, delivery: Delivery) -> bool:
        return await self._write(lambda tx: deliveries.record(tx, delivery))

    async def release_deliveries(self) -> int:
        return await self._write(deliveries.release)

    async def next_delivery(self, now: int) -> int | None:
        return await self._read(lambda reader: deliveries.next_due(reader, now))

    async def delivery(self, delivery: str) -> Delivery:
        return await self._read(lambda reader: deliveries.by_id(reader, delivery))

    async def deliveries(self, which: DeliveryFilter, page: Page) -> Sequence[Delivery]:
        return await self._read(lambda reader: deliveries.listed(reader, which, page))

    async def retry_delivery(self, delivery: str, idempotent: IdempotencyKey | None = None) -> Delivery:
        return await self._write(lambda tx: deliveries.retry(tx, delivery, idempotent))

    async def delivery_counts(self) -> DeliveryCounts:
        return await self._read(deliveries.counts)

    # schedules
    async def create_schedule(self, schedule: Schedule, key: IdempotencyKey | None = None) -> Schedule:
        return await self._write(lambda tx: schedules.create(tx, schedule, key))

    async def replace_schedule(self, schedule: Schedule) -> Schedule | None:
        return await self._write(lambda tx: schedules.replace(tx, schedule))

    async def delete_schedule(self, schedule: str) -> None:
        await self._write(lambda tx: schedules.delete(tx, schedule))

    async def fire_schedule(self, firing: Firing) -> Sequence[Run]:
        return await self._write(lambda tx: schedules.fire(tx, firing, self._queue_limit))

    async def trigger_schedule(self, schedule: str, spec: RunSpec, key: IdempotencyKey | None = None) -> Accepted:
        return await self._write(lambda tx: schedules.trigger(tx, schedule, spec, key, self._queue_limit))

    async def schedule(self, schedule: str) -> Schedule:
        return await self._read(lambda reader: schedules.by_id(reader, schedule))

    async def schedules(self, page: Page) -> Sequence[Schedule]:
        return await self._read(lambda reader: schedules.listed(reader, page))

    async def due_schedules(self, now: int, limit: int) -> Sequence[Schedule]:
        return await self._read(lambda reader: schedules.due(reader, now, limit))

    async def next_fire(self) -> int | None:
        return await self._read(schedules.next_at)

    async def fires(self, schedule: str, page: Page) -> Sequence[Fire]:
        return await self._read(lambda reader: schedules.fires(reader, schedule, page))

    # use and budgets
    async def used(self, by: By, since: str, until: str, agent: str | None = None) -> Sequence[Used]:
        return await self._read(lambda reader: usage.used(reader, by, since, until, agent))

    async def used_today(self, by: By, name: str) -> Spent:
        return await self._read(lambda reader: usage.today(reader, by, name, self._days, self._clock()))

    async def budgeted_schedules(self, limit: int) -> Sequence[Schedule]:
        return await self._read(lambda reader: schedules.budgeted(reader, limit))

    # other processes
    def share(self, shared: bool) -> None:
        self._database.share(shared)

    async def foreign_writes(self) -> int:
        return await self._database.foreign_writes()

    async def cancel_asked(self, ids: Sequence[str]) -> Sequence[str]:
        return await self._read(lambda reader: runs.cancel_asked(reader, ids))

    # rescue
    async def owners(self) -> Sequence[str]:
        return await self._read(runs.owners)

    async def rescue(self, owner: str) -> Sequence[Run]:
        return await self._write(lambda tx: runs.rescue(tx, owner))

    async def record_process(self, process: AgentProcess) -> None:
        await self._write(lambda tx: processes.record(tx, process))

    async def forget_process(self, who: Identity) -> None:
        await self._write(lambda tx: processes.forget(tx, who))

    async def processes(self, owner: str) -> Sequence[AgentProcess]:
        return await self._read(lambda reader: processes.of_owner(reader, owner))

    # sessions
    async def open_session(self, key: SessionKey, idempotent: IdempotencyKey | None = None) -> Session:
        return await self._write(lambda tx: sessions.open_session(tx, key, idempotent))

    async def open_empty_session(
        self, agent: str, channel: str, chat: str, idempotent: IdempotencyKey | None = None
    ) -> Session:
        return await self._write(lambda tx: sessions.open_empty(tx, agent, channel, chat, idempotent))

    async def session(self, key: str) -> Session | None:
        return await self._read(lambda reader: sessions.by_key(reader, key))

    async def newest_session(self, chat: str) -> Session | None:
        return await self._read(lambda reader: sessions.newest(reader, chat))

    async def sessions(self, page: Page) -> Sequence[Session]:
        return await self._read(lambda reader: sessions.listed(reader, page))

    async def delete_session(self, key: str, *, force: bool) -> Sequence[str]:
        return await self._write(lambda tx: _delete_session(tx, key, force))

    async def history(self, key: str, limit: int) -> Sequence[Message]:
        return await self._read(lambda reader: sessions.history(reader, key, limit))

    async def search(self, wanted: Search, page: Page) -> Sequence[Found]:
        return await self._read(lambda reader: search.found(reader, wanted, page))

    async def respace(self) -> bool:
        return await self._write(search.respace)

    # agents
    async def create_agent(self, draft: AgentDraft, base: str, key: IdempotencyKey | None = None) -> StoredAgent:
        return await self._write(lambda tx: agents.create(tx, draft, base, key))

    async def edit_agent(self, agent: str, changes: AgentEdit) -> StoredAgent:
        return await self._write(lambda tx: agents.edit(tx, agent, changes))

    async def delete_agent(self, agent: str) -> bool:
        return await self._write(lambda tx: agents.delete(tx, agent))

    async def agents(self) -> Sequence[StoredAgent]:
        return await self._read(agents.listed)

    async def loads(self) -> Mapping[str, Load]:
        return await self._read(agents.loads)

    # notes
    async def note(self, scope: str, name: str) -> str | None:
        return await self._read(lambda reader: notes.one(reader, scope, name, self._clock()))

    async def notes(self, scope: str, prefix: str) -> Mapping[str, str]:
        return await self._read(lambda reader: notes.beginning(reader, scope, prefix, self._clock()))

    async def keep(
        self,
        scope: str,
        changes: Mapping[str, str | None],
        *,
        expires: int | None = None,
        only_if: str | None = None,
    ) -> bool:
        return await self._write(lambda tx: notes.keep(tx, scope, changes, expires, only_if))

    # tokens
    async def add_token(self, token: Token, idempotent: IdempotencyKey | None = None) -> None:
        await self._write(lambda tx: tokens.add(tx, token, idempotent))

    async def revoke_token(self, name: str) -> bool:
        return await self._write(lambda tx: tokens.revoke(tx, name))

    async def tokens(self) -> Sequence[Token]:
        return await self._read(tokens.listed)

    async def add_ticket(self, ticket: Ticket, idempotent: IdempotencyKey | None = None) -> None:
        await self._write(lambda tx: tickets.add(tx, ticket, idempotent))

    async def spend_ticket(self, hash_: str) -> str | None:
        return await self._write(lambda tx: tickets.spend(tx, hash_))


def _delete_session(tx: Transaction, key: str, force: bool) -> list[str]:
    found = sessions.by_key(tx, key)
    if found is None:
        raise SessionNotFound(f"there is no session {key!r}.")
    if found.active and not force:
        raise Conflict(f"the session {key} has {found.active} runs at work or waiting.", remedy="Use ?force=true.")
    stopping = runs.cancel_lane(tx, key)
    sessions.delete(tx, key)
    return stopping
