"""What the engine asks of a store, and what a store promises."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from gateway.domain.agent import AgentDraft, AgentEdit, StoredAgent
from gateway.domain.budget import UsageGroup, UsageGrouping, UsageTotals
from gateway.domain.event import Change, Event
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.ports.alert_store import AlertStore
from gateway.domain.ports.audit_store import AuditStore
from gateway.domain.ports.delivery_store import DeliveryStore
from gateway.domain.ports.file_store import FileStore, StagedFile
from gateway.domain.ports.history_store import GenerationStore, SampleStore
from gateway.domain.ports.note_store import NoteStore
from gateway.domain.ports.project_store import ProjectStore
from gateway.domain.ports.run_store import EventStore, PermissionStore, RunStore
from gateway.domain.ports.token_store import TokenStore
from gateway.domain.ports.upkeep_store import RetentionStore, UnreadableStore, WorkspaceStore
from gateway.domain.queue import AdmissionRules, AgentLoad, RunLimits
from gateway.domain.reach import Reach
from gateway.domain.run import AcceptedRun, ClaimedRun, Run, RunSpec
from gateway.domain.schedule import FirePlan, FireRecord, Schedule, ScheduleFires
from gateway.domain.search import SearchHit, SearchQuery
from gateway.domain.session import ALL_SESSIONS, Message, Session, SessionFilter, SessionKey
from gateway.process.identity import Identity


class AgentProcess(Struct, frozen=True, kw_only=True):
    """A process that a backend started: its group is killed before a rescued run is tried again."""

    who: Identity
    #: the serving process that started it
    owner: str
    #: the run that it works for; None for a server that outlives runs
    run: str | None


class Commit(Struct, frozen=True, kw_only=True):
    """What one commit has put on disk."""

    events: Sequence[Event]
    changes: Sequence[Change]
    #: the runs that it has ended
    ended: Sequence[Run]
    #: the runs that it has claimed
    claimed: Sequence[ClaimedRun]
    #: whether runs may wait that it should have claimed, too
    is_claim_due: bool


#: told once per commit, on the event loop, what is now on disk
Listener = Callable[[Commit], None]


class ScheduleStore(Protocol):
    """Schedules and their fires."""

    async def create(
        self, schedule: Schedule, key: IdempotencyKey | None = None, staged: Sequence[StagedFile] = ()
    ) -> Schedule:
        """Store a new schedule.

        Args:
            staged: those of its attachments that are not stored yet; they are stored with it.

        Raises:
            Conflict: its id is taken, there are too many, or the key was used with another body.
            FileUnknown: one of its attachments is not stored.
            StorageFull, Unavailable: the disk has no room for a file.
        """
        ...

    async def replace(self, schedule: Schedule, staged: Sequence[StagedFile] = ()) -> Schedule | None:
        """Store an edited schedule, and those of its attachments that are not stored yet.

        Returns None if another edit came first.

        Raises:
            ScheduleNotFound: there is none with that id.
            FileUnknown: one of its attachments is not stored.
            StorageFull, Unavailable: the disk has no room for a file.
        """
        ...

    async def delete(self, schedule_id: str) -> None:
        """Delete a schedule and its fires. Its runs stay.

        Raises:
            ScheduleNotFound: there is none with that id.
        """
        ...

    async def fire(self, plan: FirePlan) -> Sequence[AcceptedRun]:
        """Queue a run for each time that has come, record the other times, and set the next time.

        A run that its agent refuses is recorded as a refused fire, with the reason. A time that `explain_skip` skips
        is recorded, too. No time ever makes two runs.
        When refusals disable the schedule, the rest of the plan is left out.
        Does nothing if the schedule was edited, fired or deleted since it was read.
        """
        ...

    async def trigger(
        self,
        schedule_id: str,
        spec: RunSpec,
        key: IdempotencyKey | None = None,
        admission: AdmissionRules | None = None,
    ) -> AcceptedRun:
        """Queue a run of a schedule now, in addition to its own times.

        Raises:
            ScheduleNotFound: there is none with that id.
            AgentNotFound, AgentDisabled, AgentBusy: `admission` refuses the run. Nothing was written.
        """
        ...

    async def read_some(self, schedule_ids: Sequence[str]) -> Mapping[str, Schedule | None]:
        """Return the schedules with these ids that there are, by id; None for one that cannot be read."""
        ...

    async def get(self, schedule_id: str) -> Schedule:
        """Return a schedule.

        Raises:
            ScheduleNotFound: there is none with that id.
        """
        ...

    async def list(self, page: Page) -> Sequence[Schedule]: ...

    async def list_ids(self, label: str, limit: int) -> Sequence[str]:
        """Return the ids of the newest schedules that have a label of that name, oldest first."""
        ...

    async def list_due(self, now: int, limit: int) -> Sequence[Schedule]:
        """Return enabled schedules whose next time has come, the longest due first."""
        ...

    async def next_fire_at(self) -> int | None:
        """Return the next time of any enabled schedule, in milliseconds since 1970 UTC."""
        ...

    async def list_fires(self, schedule_id: str, page: Page) -> Sequence[FireRecord]:
        """Return a schedule's fires, newest first. The page counts by the scheduled time."""
        ...

    async def list_last_fires(self, page: Page, each: int) -> Sequence[ScheduleFires]:
        """Return the last `each` fires of schedules, the newest schedule first. The page counts by the schedules."""
        ...

    async def list_budgeted(self, limit: int) -> Sequence[Schedule]:
        """Return schedules that have a budget, newest first."""
        ...


class UsageStore(Protocol):
    """What runs have used. The transaction that stores their events counts it."""

    async def sum_days(
        self, by: UsageGrouping, since: str, until: str, agent: str | None = None
    ) -> Sequence[UsageGroup]:
        """Return the usage of some days, by name. `since` and `until` are days such as `2026-11-21`, inclusive."""
        ...

    async def sum_today(self, by: UsageGrouping, name: str) -> UsageTotals:
        """Return what an agent or a schedule has used today, including running runs."""
        ...


class OwnerStore(Protocol):
    """The serving processes that own running runs, and the processes that they started."""

    async def list(self) -> Sequence[str]:
        """Return the owners of running runs and of recorded processes."""
        ...

    async def rescue_runs(self, owner: str) -> Sequence[Run]:
        """Requeue or fail the running runs of an owner that is gone, and return them."""
        ...

    async def record_process(self, process: AgentProcess) -> None: ...

    async def forget_process(self, who: Identity) -> None: ...

    async def list_processes(self, owner: str) -> Sequence[AgentProcess]:
        """Return the recorded processes of an owner, those on this host."""
        ...


class SessionStore(Protocol):
    """Sessions and their transcripts."""

    async def open(self, session: SessionKey, key: IdempotencyKey | None = None) -> Session:
        """Return the session with that key; create it if there is none."""
        ...

    async def open_empty(self, agent: str, channel: str, chat: str, key: IdempotencyKey | None = None) -> Session:
        """Return the agent's newest session in the channel that has no message; else create `chat`."""
        ...

    async def import_session(
        self, session: SessionKey, notes: Mapping[str, str], messages: Sequence[Message], *, dry_run: bool = False
    ) -> bool:
        """Store a session of another system with its transcript.

        Returns False, and changes nothing, if there is one with that key, or one of the notes.

        Args:
            notes: notes to save with it, in the scope of its channel.
            messages: oldest first.
            dry_run: check, and store nothing.
        """
        ...

    async def find(self, key: str) -> Session | None: ...

    async def find_newest(self, chat: str, reach: Reach | None = None) -> Session | None:
        """Return the session of that chat name that was used last, of those that a limited caller reaches."""
        ...

    async def list(self, page: Page, which: SessionFilter = ALL_SESSIONS) -> Sequence[Session]:
        """Return sessions, the last used one first."""
        ...

    async def rename(self, key: str, title: str) -> Session | None:
        """Give a session a title, which no message replaces. Returns None if there is none with that key."""
        ...

    async def delete(self, key: str, *, force: bool) -> Sequence[str]:
        """Delete a session with its transcript. Returns the running runs that were asked to stop.

        Raises:
            SessionNotFound: there is none with that key.
            Conflict: it has queued or running runs, and `force` is False.
        """
        ...

    async def read_history(
        self, key: str, limit: int, before: int | None = None, max_bytes: int = ...
    ) -> Sequence[Message]:
        """Return the newest messages of a session that come before number `before`, oldest first.

        They end, counted from the newest, after `max_bytes` characters, but not before the second one.
        """
        ...

    async def search(self, query: SearchQuery, page: Page) -> Sequence[SearchHit]:
        """Return the messages that match, newest first."""
        ...

    async def reindex_message_batch(self) -> bool:
        """Index some old messages by their characters, so that search finds them. Returns False if none is left."""
        ...


class AgentStore(Protocol):
    """Agents that were made through the API, and the load of all agents."""

    async def create(self, draft: AgentDraft, base: str, key: IdempotencyKey | None = None) -> StoredAgent:
        """Store a new agent.

        Raises:
            Conflict: its slug is taken, there are too many, or the key was used with another body.
        """
        ...

    async def edit(self, agent_id: str, changes: AgentEdit) -> StoredAgent:
        """Change an agent.

        Raises:
            AgentNotFound: there is none with that id.
            Conflict: its new slug is taken.
        """
        ...

    async def delete(self, agent_id: str) -> bool: ...

    async def list(self) -> Sequence[StoredAgent]:
        """Return the stored agents, oldest first."""
        ...

    async def count_loads(self) -> Mapping[str, AgentLoad]:
        """Return how many runs the agents have, by agent id. An agent without runs is left out."""
        ...


class Store(Protocol):
    """Truth on disk. Each operation is one transaction; when it returns, it is committed.

    Writes raise `StorageFull` or `Unavailable` when the disk refuses, and then changed nothing.
    A write that names an epoch raises `Fenced` unless that attempt is still the running one.
    """

    @property
    def runs(self) -> RunStore: ...

    @property
    def events(self) -> EventStore: ...

    @property
    def permissions(self) -> PermissionStore: ...

    @property
    def deliveries(self) -> DeliveryStore: ...

    @property
    def schedules(self) -> ScheduleStore: ...

    @property
    def usage(self) -> UsageStore: ...

    @property
    def owners(self) -> OwnerStore: ...

    @property
    def sessions(self) -> SessionStore: ...

    @property
    def agents(self) -> AgentStore: ...

    @property
    def notes(self) -> NoteStore: ...

    @property
    def tokens(self) -> TokenStore: ...

    @property
    def retention(self) -> RetentionStore: ...

    @property
    def workspaces(self) -> WorkspaceStore: ...

    @property
    def files(self) -> FileStore: ...

    @property
    def unreadable(self) -> UnreadableStore: ...

    @property
    def projects(self) -> ProjectStore: ...

    @property
    def samples(self) -> SampleStore: ...

    @property
    def generations(self) -> GenerationStore: ...

    @property
    def audit(self) -> AuditStore: ...

    @property
    def alerts(self) -> AlertStore: ...

    def subscribe(self, listener: Listener) -> None:
        """Call a function after each commit, on the event loop, with what is now on disk."""
        ...

    def claim_at_commit(self, owner: str, limits: RunLimits | None) -> None:
        """From now on, claim the runs that a commit lets begin with that same commit, as `RunStore.claim` does.

        Listeners are told of them: nobody has to wait for a second commit. A commit lets runs begin if it accepts
        some, or ends others. No claim fails a write: if it cannot be made, listeners are told that it is due.

        Args:
            limits: None ends this. Writes that wait already may still claim.
        """
        ...

    async def wait_for_writes(self) -> None:
        """Wait until all writes that wait now are done, and listeners were told of them.

        Raises:
            Unavailable: the disk refuses.
        """
        ...

    def set_concurrent_writer(self, present: bool) -> None:
        """Say whether another process writes to this store now: then it must not be starved."""
        ...

    async def count_external_commits(self) -> int:
        """Return a number that changes when another process has committed."""
        ...

    async def check_writable(self) -> None:
        """Write and commit something small. Raises what a real write would raise."""
        ...

    async def close(self) -> None: ...
