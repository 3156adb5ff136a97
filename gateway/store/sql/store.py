"""A store in a database: which function keeps which promise of `gateway.domain.ports.store`.

Each noun's module has functions that take a `Reader` or a `Transaction` first; `nouns.py` makes methods of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from gateway.domain.actor import CURRENT_ACTOR
from gateway.domain.audit import AuditNote
from gateway.domain.delivery import Delivery, DeliveryFilter, StatusCounts
from gateway.domain.page import Page
from gateway.domain.ports.store import Listener
from gateway.domain.ports.upkeep_store import Pruned
from gateway.domain.queue import RunLimits
from gateway.domain.run import Run, RunCounts, RunFilter
from gateway.domain.search import SearchHit, SearchQuery
from gateway.domain.unreadable import RowKind, UnreadableRow
from gateway.store.sql import (
    agents,
    alerts,
    audit,
    audited,
    claiming,
    database,
    deliveries,
    end_counts,
    event_log,
    files,
    firing,
    generations,
    idempotency,
    importing,
    notes,
    outcomes,
    permissions,
    pieces,
    processes,
    projects,
    pruning,
    queue_status,
    recovering,
    run_filter,
    run_queries,
    runs,
    samples,
    schedules,
    session_deletion,
    sessions,
    setting_aside,
    sign_ins,
    tickets,
    tokens,
    usage,
    workspaces,
)
from gateway.store.sql.database import Database
from gateway.store.sql.nouns import NounStore, in_audited_write, in_read, in_write
from gateway.store.sql.transaction import Reader, Transaction

#: changes that are kept for clients that reconnect
MAX_CHANGES_KEPT = 100_000

_PULSE = "INSERT INTO pulse VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET at = excluded.at"

R = TypeVar("R")


class SqlRunStore(NounStore):
    accept = in_write(runs.accept_run)
    import_run = in_write(importing.import_run)
    claim = in_write(claiming.claim_runs)
    save_backend_ref = in_write(runs.save_backend_ref)
    end_round = in_write(runs.end_round)
    finish = in_write(runs.finish_run)
    requeue = in_write(runs.requeue_run)
    change_input = in_write(runs.change_input)
    cancel = in_write(runs.cancel_run)
    release = in_write(runs.release_run)
    abandon = in_write(runs.abandon_runs)
    hide_finished = in_write(runs.hide_finished)
    get = in_read(run_queries.get_run)
    find_accepted = in_read(run_queries.find_accepted)
    find_batch = in_read(idempotency.find_batch)
    remember_batch = in_write(idempotency.remember_batch)
    list_finished_ids = in_read(run_queries.list_finished_ids)
    read_batch = in_read(run_queries.read_runs)
    find_blockers = in_read(queue_status.find_blockers)
    find_cancel_requested = in_read(run_queries.find_cancel_requested)
    list_ended = in_read(outcomes.list_ended_runs)
    count_backlog = in_read(run_queries.count_backlog)
    count_totals = in_read(run_queries.count_totals)
    next_due_at = in_read(run_queries.next_due_at)

    async def list(self, which: RunFilter, page: Page) -> Sequence[Run]:
        return await self._read(which, lambda reader: run_queries.list_runs(reader, which, page))

    async def list_ids(self, which: RunFilter, limit: int) -> Sequence[str]:
        return await self._read(which, lambda reader: run_queries.list_run_ids(reader, which, limit))

    async def count(self, which: RunFilter) -> RunCounts:
        return await self._read(which, lambda reader: run_filter.count_runs(reader, which))

    async def _read(self, which: RunFilter, query: Callable[[Reader], R]) -> R:
        """Run a query; one that looks for words may take longer, as a search."""
        if which.text:
            return await self.database.read_slowly(query, database.SEARCH_TIMEOUT_SECONDS)
        return await self.database.read(query)


class SqlEventStore(NounStore):
    append = in_write(runs.append_events)
    read_after = in_read(event_log.read_events_after)
    read_changes_after = in_read(event_log.read_changes_after)
    last_change = in_read(event_log.last_change)


class SqlPermissionStore(NounStore):
    ask = in_write(permissions.ask_permission)
    answer = in_audited_write(permissions.answer_permission, audited.describe_answer)
    close = in_write(permissions.close_permission)
    get = in_read(permissions.get_request)
    list = in_read(permissions.list_requests)
    list_all = in_read(permissions.list_all_requests)


class SqlDeliveryStore(NounStore):
    take_due = in_write(deliveries.take_due)
    record_attempt = in_write(deliveries.record_attempt)
    release_in_flight = in_write(deliveries.release_in_flight)
    retry = in_write(deliveries.retry_delivery)
    get = in_read(deliveries.get_delivery)
    list_attempts = in_read(deliveries.list_attempts)
    next_due_at = in_read(deliveries.next_due_at)
    read_channel_sends = in_read(outcomes.read_channel_sends)
    count_undelivered = in_read(deliveries.count_undelivered)
    list_webhook_uses = in_read(deliveries.list_webhook_uses)

    async def list(self, which: DeliveryFilter, page: Page) -> Sequence[Delivery]:
        return await self._look_through(which, lambda reader: deliveries.list_deliveries(reader, which, page))

    async def count(self, which: DeliveryFilter) -> StatusCounts:
        return await self._look_through(which, lambda reader: deliveries.count_deliveries(reader, which))

    async def _look_through(self, which: DeliveryFilter, query: Callable[[Reader], R]) -> R:
        """Run a query; one that looks at each delivery, apart from the others."""
        if which.kind is None and which.text is None:
            return await self.database.read(query)
        return await self.database.read_slowly(query, database.SEARCH_TIMEOUT_SECONDS)


class SqlScheduleStore(NounStore):
    create = in_audited_write(schedules.create_schedule, audited.describe_made_schedule)
    replace = in_audited_write(schedules.replace_schedule, audited.describe_changed_schedule)
    delete = in_audited_write(schedules.delete_schedule, audited.describe_deleted_schedule)
    fire = in_write(firing.fire_schedule)
    trigger = in_write(firing.trigger_schedule)
    get = in_read(schedules.get_schedule)
    read_some = in_read(schedules.read_some)
    list = in_read(schedules.list_schedules)
    list_ids = in_read(schedules.list_schedule_ids)
    list_due = in_read(schedules.list_due)
    list_last_fires = in_read(schedules.list_last_fires)
    list_fires = in_read(schedules.list_fires)
    list_budgeted = in_read(schedules.list_budgeted)
    next_fire_at = in_read(schedules.next_fire_at)


class SqlUsageStore(NounStore):
    sum_days = in_read(usage.sum_days)
    sum_today = in_read(usage.sum_today)


class SqlOwnerStore(NounStore):
    list = in_read(run_queries.list_owners)
    rescue_runs = in_write(runs.rescue_runs)
    record_process = in_write(processes.record_process)
    forget_process = in_write(processes.forget_process)
    list_processes = in_read(processes.list_processes)


class SqlSessionStore(NounStore):
    open = in_write(sessions.open_session)
    open_empty = in_write(sessions.open_empty_session)
    rename = in_write(sessions.rename_session)
    import_session = in_write(importing.import_session)
    delete = in_audited_write(session_deletion.delete_with_runs, audited.describe_deleted_session)
    reindex_message_batch = in_write(lambda tx: tx.dialect.reindex_message_batch(tx))
    find = in_read(sessions.find_session)
    find_newest = in_read(sessions.find_newest)
    list = in_read(sessions.list_sessions)
    read_history = in_read(sessions.read_history)

    async def search(self, query: SearchQuery, page: Page) -> Sequence[SearchHit]:
        return await self.database.read_slowly(
            lambda reader: reader.dialect.search_messages(reader, query, page), database.SEARCH_TIMEOUT_SECONDS
        )


class SqlAgentStore(NounStore):
    create = in_audited_write(agents.create_agent, audited.describe_made_agent)
    edit = in_audited_write(agents.edit_agent, audited.describe_changed_agent)
    delete = in_audited_write(agents.delete_agent, audited.describe_deleted_agent)
    list = in_read(agents.list_agents)
    count_loads = in_read(agents.count_loads)


class SqlNoteStore(NounStore):
    save = in_audited_write(notes.save_notes, audited.describe_notes)
    get = in_read(notes.get_note)
    list = in_read(notes.list_notes)


class SqlTokenStore(NounStore):
    add = in_audited_write(tokens.add_token, audited.describe_token)
    revoke = in_audited_write(tokens.revoke_token, audited.describe_revoked)
    add_ticket = in_write(tickets.add_ticket)
    redeem_ticket = in_write(tickets.redeem_ticket)
    add_sign_in = in_audited_write(sign_ins.add_sign_in, audited.describe_sign_in)
    record_use = in_write(sign_ins.record_use)
    save_uses = in_write(tokens.save_uses)
    list_uses = in_read(tokens.list_uses)
    list = in_read(tokens.list_tokens)


class SqlFileStore(NounStore):
    add = in_write(files.add_file)
    delete = in_write(files.delete_file)
    prune = in_write(files.prune_files)
    remove_unowned = in_write(files.remove_unowned, alone=True)
    get = in_read(files.get_file)
    list = in_read(files.list_files)
    is_reached = in_read(files.is_reached)
    find_unowned = in_read(files.find_unowned)
    count_bytes = in_read(files.count_bytes)


class SqlRetentionStore(NounStore):
    """Looks for what is old with a reader, and deletes it in a short transaction."""

    async def prune_expired(self) -> None:
        prunes: tuple[Callable[[Transaction], bool], ...] = (
            idempotency.prune_keys,
            notes.prune_notes,
            schedules.prune_fires,
            usage.prune_usage,
            samples.prune_samples,
            generations.prune_generations,
            alerts.prune_messages,
            end_counts.merge_minutes,
            lambda tx: event_log.prune_changes(tx, MAX_CHANGES_KEPT),
        )
        for prune in prunes:
            await self._prune_in_pieces(prune)
        await self.database.read(self.database.unreadable.forget_missing)

    async def _prune_in_pieces(self, prune: Callable[[Transaction], bool]) -> None:
        more = True
        while more:
            more = await self.database.write(prune)
            if more:
                await asyncio.sleep(pieces.PIECE_PAUSE_SECONDS)

    async def prune_events(self, before: int | None, newest: int | None) -> Pruned:
        old = await self._find(lambda reader: pruning.find_old_logs(reader, before, newest))
        return await self._delete(lambda tx: pruning.delete_logs(tx, old)) if old else Pruned(False)

    async def prune_runs(self, before: int) -> Pruned:
        old = await self._find(lambda reader: pruning.find_old_runs(reader, before))
        return await self._delete(lambda tx: pruning.delete_runs(tx, old)) if old else Pruned(False)

    async def prune_sessions(self, before: int) -> Pruned:
        old = await self._find(lambda reader: pruning.find_old_sessions(reader, before))
        return await self._delete(lambda tx: pruning.delete_sessions(tx, old, before)) if old else Pruned(False)

    async def prune_dead_letters(self, before: int) -> Pruned:
        old = await self._find(lambda reader: pruning.find_old_dead_letters(reader, before))
        return await self._delete(lambda tx: pruning.delete_dead_letters(tx, old, before)) if old else Pruned(False)

    async def _find(self, query: Callable[[Reader], list[R]]) -> list[R]:
        return await self.database.read_for_housekeeping(query)

    async def _delete(self, delete: Callable[[Transaction], list[str] | None]) -> Pruned:
        """Delete what a reader has found. If nothing is deleted, there is no more: to look again would not help."""

        def delete_and_count(tx: Transaction) -> Pruned:
            before = tx.total_changes()
            done = delete(tx)
            return Pruned(tx.total_changes() > before, tuple(done or ()))

        return await self.database.write(delete_and_count)


class SqlUnreadableStore(NounStore):
    remove = in_write(setting_aside.remove_row)

    def note(self, kind: RowKind, key: Sequence[str], error: Exception) -> None:
        self.database.unreadable.note_row(kind, key, error)

    def list_found(self) -> list[UnreadableRow]:
        return self.database.unreadable.list_rows()

    async def list(self) -> list[UnreadableRow]:
        await self.database.read(self.database.unreadable.forget_missing)
        return self.list_found()

    async def retry(self) -> None:
        await self.database.write(setting_aside.retry_runs)
        await self.database.read(schedules.check_schedules)


class SqlWorkspaceStore(NounStore):
    async def open(self, session: str, seq: int) -> str:
        recent = await self.database.read(lambda reader: workspaces.find_recent_workspace(reader, session, seq))
        if recent is not None:
            return recent
        return await self.database.write(lambda tx: workspaces.open_workspace(tx, session, seq))

    release_unused = in_write(workspaces.release_unused)
    list_released = in_read(workspaces.list_released)
    forget = in_write(workspaces.forget_workspaces)


class SqlProjectStore(NounStore):
    create = in_write(projects.create_project)
    edit = in_write(projects.edit_project)
    delete = in_write(projects.delete_project)
    get = in_read(projects.get_project)
    list = in_read(projects.list_projects)


class SqlSampleStore(NounStore):
    measure = in_read(samples.measure_store)
    add = in_write(samples.add_sample)
    list = in_read(samples.list_samples)


class SqlGenerationStore(NounStore):
    add = in_audited_write(generations.add_generation, audited.describe_start)
    close = in_audited_write(generations.close_generation, audited.describe_end)
    list_open = in_read(generations.list_open_generations)
    list = in_read(generations.list_generations)


class SqlAuditStore(NounStore):
    list = in_read(audit.list_entries)
    prune = in_write(audit.prune_entries)

    async def add(self, notes: Sequence[AuditNote]) -> None:
        actor = CURRENT_ACTOR.get()
        await self.database.write(lambda tx: audit.add_entries(tx, actor, notes))


class SqlAlertStore(NounStore):
    save = in_write(alerts.save_update)
    record_send = in_write(alerts.record_send)
    read_state = in_read(alerts.read_state)
    list_open = in_read(alerts.list_open)
    list_messages = in_read(alerts.list_messages)
    read_trouble_after = in_read(alerts.read_trouble_after)
    list_missed_fires = in_read(alerts.list_missed_fires)


class SqlRecoveryStore(NounStore):
    """What settles the open work of a restored database. No gateway has it open."""

    end_open_runs = in_write(recovering.end_open_runs)
    give_up_deliveries = in_write(recovering.give_up_deliveries)
    give_up_alerts = in_write(recovering.give_up_alerts)
    skip_missed_times = in_write(recovering.skip_missed_times)
    requeue_running = in_write(recovering.requeue_running)
    forget_processes = in_write(recovering.forget_processes)


class SqlStore:
    """`Store` in a database. Create it inside a running event loop; close it there."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.runs = SqlRunStore(database)
        self.events = SqlEventStore(database)
        self.permissions = SqlPermissionStore(database)
        self.deliveries = SqlDeliveryStore(database)
        self.schedules = SqlScheduleStore(database)
        self.usage = SqlUsageStore(database)
        self.owners = SqlOwnerStore(database)
        self.sessions = SqlSessionStore(database)
        self.agents = SqlAgentStore(database)
        self.notes = SqlNoteStore(database)
        self.tokens = SqlTokenStore(database)
        self.retention = SqlRetentionStore(database)
        self.recovery = SqlRecoveryStore(database)
        self.workspaces = SqlWorkspaceStore(database)
        self.files = SqlFileStore(database)
        self.unreadable = SqlUnreadableStore(database)
        self.projects = SqlProjectStore(database)
        self.samples = SqlSampleStore(database)
        self.generations = SqlGenerationStore(database)
        self.audit = SqlAuditStore(database)
        self.alerts = SqlAlertStore(database)

    def subscribe(self, listener: Listener) -> None:
        self._database.subscribe(listener)

    def claim_at_commit(self, owner: str, limits: RunLimits | None) -> None:
        claim = None if limits is None else partial(claiming.claim_at_commit, owner=owner, limits=limits)
        self._database.set_last_operation(claim)

    async def wait_for_writes(self) -> None:
        await self._database.write(lambda _: None)

    def set_concurrent_writer(self, present: bool) -> None:
        self._database.set_concurrent_writer(present)

    async def count_external_commits(self) -> int:
        return await self._database.count_external_commits()

    async def check_writable(self) -> None:
        await self._database.write(lambda tx: tx.execute(_PULSE, (tx.now,)).get)

    async def close(self) -> None:
        await self._database.close()
