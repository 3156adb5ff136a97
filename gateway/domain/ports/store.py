"""What the engine asks of a store, and what a store promises."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from gateway.domain.agent import AgentDraft, AgentEdit, SessionMode, StoredAgent
from gateway.domain.budget import By, Spent, Used
from gateway.domain.delivery import Delivery, DeliveryCounts, DeliveryFilter
from gateway.domain.event import AnyHappening, Change, Event
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.permission import Answer, Lapse, PermissionRequest, Wanted
from gateway.domain.queue import Admission, Backlog, Counts, Limits, Load, Obstacles
from gateway.domain.run import Accepted, Round, Run, RunFilter, RunSpec, Verdict
from gateway.domain.schedule import Fire, Firing, Schedule
from gateway.domain.search import Found, Search
from gateway.domain.session import Message, Session, SessionKey
from gateway.domain.token import Ticket, Token
from gateway.process.identity import Identity


class AgentProcess(Struct, frozen=True, kw_only=True):
    """A process that a backend started: its group is killed before a rescued run is tried again."""

    who: Identity
    #: the serving process that started it
    owner: str
    #: the run that it works for; None for a server that outlives runs
    run: str | None


class Pruned(Struct, frozen=True):
    """What one transaction forgot: little, so that others need not wait long."""

    #: whether there may be more to forget
    more: bool
    #: runs whose events are gone
    runs: tuple[str, ...] = ()


class Fenced(Exception):
    """This attempt is no longer the run's: another claim, or its end, came first. Write nothing."""


#: told once per commit, on the event loop, what is now on disk
Listener = Callable[[Sequence[Event], Sequence[Change]], None]


class Store(Protocol):
    """Truth on disk. Each method is one transaction; when it returns, it is committed.

    Writes raise `StorageFull` or `Unavailable` when the disk refuses, and then changed nothing.
    A write that names an epoch raises `Fenced` unless that attempt is still the running one.
    """

    def subscribe(self, listener: Listener) -> None: ...

    async def close(self) -> None: ...

    async def check(self) -> None:
        """Write and commit something small: raises what a real write would."""
        ...

    async def prune(self) -> None:
        """Forget expired idempotency keys and old changes."""
        ...

    async def prune_events(self, before: int | None, newest: int | None) -> Pruned:
        """Forget events of some runs that ended by then, or are not among the newest that ended; the last stays."""
        ...

    async def prune_runs(self, before: int) -> Pruned:
        """Forget some runs that ended by then and that nothing needs."""
        ...

    async def prune_dead_letters(self, before: int) -> Pruned:
        """Forget some deliveries that were given up by then."""
        ...

    async def prune_sessions(self, before: int) -> Pruned:
        """Forget some sessions that were not used since then, with their transcripts."""
        ...

    # runs
    async def accept(
        self,
        spec: RunSpec,
        key: IdempotencyKey | None = None,
        busy: SessionMode = SessionMode.QUEUE,
        admission: Admission | None = None,
    ) -> Accepted:
        """Put a run in the queue, its session beside it.

        Raises:
            Conflict: the idempotency key was used with another body, or the session is busy and
                `busy` says to reject.
            AgentNotFound, AgentDisabled, AgentBusy: `admission` does not let it in.
        """
        ...

    async def claim(self, owner: str, limits: Limits) -> Sequence[Run]:
        """Take as many queued runs as the limits allow, one at a time a session.

        Those for which a budget leaves nothing are returned, too: they have failed. If there are any, there may
        be more to claim.
        """
        ...

    async def append(self, run: str, epoch: int, said: Sequence[AnyHappening]) -> None: ...

    async def remember(self, run: str, epoch: int, backend_ref: str) -> None:
        """Keep the backend's name for the run's session."""
        ...

    async def end_round(self, run: str, epoch: int, ended: Round, said: Sequence[AnyHappening]) -> None:
        """Keep a round of a goal that goes on: its events, transcript and usage."""
        ...

    async def finish(self, run: str, epoch: int, verdict: Verdict, said: Sequence[AnyHappening]) -> Run:
        """End a run: its last events, final status, and transcript."""
        ...

    async def requeue(self, run: str, epoch: int, why: str) -> Run:
        """Give back a run that was cut short: it is queued again, or has failed, by its policy."""
        ...

    async def cancel(self, run: str, idempotent: IdempotencyKey | None = None) -> Run:
        """Cancel a queued run at once; flag a running one for its owner.

        Raises:
            RunNotFound: there is no such run.
            Conflict: it has ended.
        """
        ...

    async def release(self, run: str, busy: SessionMode, idempotent: IdempotencyKey | None = None) -> Accepted:
        """Queue a run that was held.

        Raises:
            RunNotFound: there is no such run.
            Conflict: it is not held.
            AgentBusy: its session is, with `SessionMode.REJECT`.
        """
        ...

    async def abandon(self, agent: str, limit: int) -> Sequence[Run]:
        """Fail up to `limit` queued runs of an agent that is gone: nobody would ever claim them."""
        ...

    async def run(self, run: str) -> Run:
        """Return a run by its id, or by a prefix of it that fits one run only.

        Raises:
            RunNotFound: there is none, or more than one.
        """
        ...

    async def runs(self, which: RunFilter, page: Page) -> Sequence[Run]: ...

    async def obstacles(self, runs: Sequence[Run], limits: Limits) -> Mapping[str, Obstacles]:
        """Return what stands before runs that are queued, by their ids."""
        ...

    async def finished(self, label: str, limit: int) -> Sequence[Run]:
        """Return ended runs with a label of that name that are not hidden, the last to end first."""
        ...

    async def hide_finished(self, label: str) -> int:
        """Leave the ended runs with that label out of `finished` from now on; returns how many they were."""
        ...

    async def backlog(self) -> Backlog: ...

    async def events(self, run: str, after: int, limit: int, size: int | None = None) -> Sequence[Event]:
        """Return events after number `after`; with `size` only as many as have so many bytes, but at least one."""
        ...

    async def changes(self, after: int, limit: int) -> Sequence[Change]: ...

    async def last_change(self) -> int: ...

    async def next_due(self) -> int | None:
        """Return when the next delayed run is due, in milliseconds since 1970 UTC."""
        ...

    async def counts(self, since: int) -> Counts: ...

    # permissions: withdrawn by whatever ends the attempt that asks, in the same transaction
    async def ask_permission(self, run: str, epoch: int, wanted: Wanted, expires: int) -> PermissionRequest:
        """Keep a request of the attempt at a run, until that moment in milliseconds since 1970 UTC."""
        ...

    async def answer_permission(
        self, run: str, n: int, answer: Answer, by: str, idempotent: IdempotencyKey | None = None
    ) -> PermissionRequest:
        """Answer a request, by the token of that name.

        Raises:
            PermissionNotFound: there is none with that number.
            Conflict: it was answered, or the agent does not wait for it any more.
        """
        ...

    async def close_permission(self, run: str, n: int, why: Lapse) -> PermissionRequest:
        """Deny a request unless somebody has answered it; returns how it was answered."""
        ...

    async def permission(self, run: str, n: int) -> PermissionRequest:
        """Return a request by its number.

        Raises:
            PermissionNotFound: there is none.
        """
        ...

    async def permissions(self, run: str, page: Page) -> Sequence[PermissionRequest]:
        """Return a run's requests, newest first; the page goes by their numbers."""
        ...

    # deliveries: made by whatever ends a run, in the same transaction
    async def take_deliveries(self, limit: int, each: int) -> Sequence[Delivery]:
        """Take so many deliveries that are due: one at a time of a chat, of another receiver at most `each`."""
        ...

    async def record_delivery(self, delivery: Delivery) -> bool:
        """Write what became of a try; False if that try is no longer the present one: then nothing is written."""
        ...

    async def release_deliveries(self) -> int:
        """Make due what was on its way when its process ended; returns how many. Only a new leader does that."""
        ...

    async def next_delivery(self, now: int) -> int | None:
        """Return when the next delivery is due, after that moment, in milliseconds since 1970 UTC."""
        ...

    async def delivery(self, delivery: str) -> Delivery:
        """Return a delivery by its id, or by a prefix of it that fits one only.

        Raises:
            DeliveryNotFound: there is none, or more than one.
        """
        ...

    async def deliveries(self, which: DeliveryFilter, page: Page) -> Sequence[Delivery]: ...

    async def retry_delivery(self, delivery: str, idempotent: IdempotencyKey | None = None) -> Delivery:
        """Make a dead or waiting delivery due now, with all its tries before it.

        Raises:
            DeliveryNotFound: there is no such delivery.
            Conflict: it was delivered, or is on its way.
        """
        ...

    async def delivery_counts(self) -> DeliveryCounts: ...

    # schedules
    async def create_schedule(self, schedule: Schedule, key: IdempotencyKey | None = None) -> Schedule:
        """Keep a new schedule.

        Raises:
            Conflict: there is one with that id, there are too many, or the key was used with another body.
        """
        ...

    async def replace_schedule(self, schedule: Schedule) -> Schedule | None:
        """Write an edited schedule; None if another edit came first.

        Raises:
            JobNotFound: there is none with that id.
        """
        ...

    async def delete_schedule(self, schedule: str) -> None:
        """Forget a schedule and its fires; its runs stay.

        Raises:
            JobNotFound: there is none.
        """
        ...

    async def fire_schedule(self, firing: Firing) -> Sequence[Run]:
        """Make runs of times that have come, note the others, and set the next time; no time ever makes two runs.

        Nothing is done if the schedule was edited, fired or deleted since it was read.
        """
        ...

    async def trigger_schedule(self, schedule: str, spec: RunSpec, key: IdempotencyKey | None = None) -> Accepted:
        """Make a run of a schedule that somebody asked for, beside its times.

        Raises:
            JobNotFound: there is none.
        """
        ...

    async def schedule(self, schedule: str) -> Schedule:
        """Return a schedule.

        Raises:
            JobNotFound: there is none.
        """
        ...

    async def schedules(self, page: Page) -> Sequence[Schedule]: ...

    async def due_schedules(self, now: int, limit: int) -> Sequence[Schedule]:
        """Return enabled schedules whose next time has come."""
        ...

    async def next_fire(self) -> int | None:
        """Return the next time of any enabled schedule, in milliseconds since 1970 UTC."""
        ...

    async def fires(self, schedule: str, page: Page) -> Sequence[Fire]:
        """Return what became of a schedule's times, the newest first; the page goes by the scheduled time."""
        ...

    # use and budgets: counted with the events that tell it, in the same transaction
    async def used(self, by: By, since: str, until: str, agent: str | None = None) -> Sequence[Used]:
        """Return what was used from one day to another, such as `2026-11-21`, those included, by name."""
        ...

    async def used_today(self, by: By, name: str) -> Spent:
        """Return what an agent or a schedule has used today, with the runs that are at work."""
        ...

    async def budgeted_schedules(self, limit: int) -> Sequence[Schedule]:
        """Return schedules that have a budget, newest first."""
        ...

    # other processes on the same store
    def share(self, shared: bool) -> None:
        """Say whether another process writes to this store now: then it must not be starved."""
        ...

    async def foreign_writes(self) -> int:
        """Return a number that changes when another process has written."""
        ...

    async def cancel_asked(self, ids: Sequence[str]) -> Sequence[str]:
        """Return those of some running runs that were asked to stop."""
        ...

    # rescue
    async def owners(self) -> Sequence[str]:
        """Return the owners of running runs and of recorded processes."""
        ...

    async def rescue(self, owner: str) -> Sequence[Run]:
        """Requeue or fail all runs of an owner that is gone."""
        ...

    async def record_process(self, process: AgentProcess) -> None: ...

    async def forget_process(self, who: Identity) -> None: ...

    async def processes(self, owner: str) -> Sequence[AgentProcess]: ...

    # sessions
    async def open_session(self, key: SessionKey, idempotent: IdempotencyKey | None = None) -> Session:
        """Return the session with that key, created if it is new."""
        ...

    async def open_empty_session(
        self, agent: str, channel: str, chat: str, idempotent: IdempotencyKey | None = None
    ) -> Session:
        """Return the newest session of the agent's channel without a message, else create `chat`."""
        ...

    async def session(self, key: str) -> Session | None: ...

    async def newest_session(self, chat: str) -> Session | None:
        """Return the session with that chat name that was used last."""
        ...

    async def sessions(self, page: Page) -> Sequence[Session]: ...

    async def delete_session(self, key: str, *, force: bool) -> Sequence[str]:
        """Delete a session with its transcript; returns running runs that were asked to stop.

        Raises:
            SessionNotFound: there is none.
            Conflict: it has queued or running runs, and not `force`.
        """
        ...

    async def history(self, key: str, limit: int) -> Sequence[Message]:
        """Return the newest messages of a session, oldest first."""
        ...

    async def search(self, wanted: Search, page: Page) -> Sequence[Found]:
        """Return the messages that fit, newest first."""
        ...

    async def respace(self) -> bool:
        """Make some messages from before it was possible findable by their characters; False if none is left."""
        ...

    # agents
    async def create_agent(self, draft: AgentDraft, base: str, key: IdempotencyKey | None = None) -> StoredAgent:
        """Keep a new agent.

        Raises:
            Conflict: its slug is taken, there are too many, or the key was used with another body.
        """
        ...

    async def edit_agent(self, agent: str, changes: AgentEdit) -> StoredAgent:
        """Change an agent.

        Raises:
            AgentNotFound: there is none with that id.
            Conflict: its new slug is taken.
        """
        ...

    async def delete_agent(self, agent: str) -> bool: ...

    async def agents(self) -> Sequence[StoredAgent]:
        """Return the stored agents, the oldest first."""
        ...

    async def loads(self) -> Mapping[str, Load]:
        """Return what the agents have to do, by their ids; whoever is not named has nothing."""
        ...

    # notes
    async def note(self, scope: str, name: str) -> str | None:
        """Return what is kept under a name, unless its time is over."""
        ...

    async def notes(self, scope: str, prefix: str) -> Mapping[str, str]:
        """Return all that is kept under names that begin so."""
        ...

    async def keep(
        self,
        scope: str,
        changes: Mapping[str, str | None],
        *,
        expires: int | None = None,
        only_if: str | None = None,
    ) -> bool:
        """Keep notes, all or none of them; None forgets one.

        Args:
            expires: milliseconds since 1970 UTC; None never.
            only_if: does nothing, and returns False, unless there is a note of that name.
        """
        ...

    # tokens
    async def add_token(self, token: Token, idempotent: IdempotencyKey | None = None) -> None:
        """Keep a token; under the same key it takes the place of the one before, whose secret was lost.

        Raises:
            Conflict: the name is taken, or the key was used with another body.
        """
        ...

    async def revoke_token(self, name: str) -> bool: ...

    async def tokens(self) -> Sequence[Token]: ...

    async def add_ticket(self, ticket: Ticket, idempotent: IdempotencyKey | None = None) -> None:
        """Keep a ticket; under the same key it takes the place of the one before, whose secret was lost.

        Raises:
            Conflict: the key was used with another body.
        """
        ...

    async def spend_ticket(self, hash_: str) -> str | None:
        """Use up a ticket and return the token that it stands for; None if there is none, or it has expired."""
        ...
