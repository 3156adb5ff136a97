"""The engine: all work on runs goes through it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gateway.domain.agent import Agent
from gateway.domain.budget import CalendarDays
from gateway.domain.file import FileLimits
from gateway.domain.fleet import FleetView
from gateway.domain.ports.backend import Abilities, Backend
from gateway.domain.ports.file_store import ContentStore
from gateway.domain.ports.store import Store
from gateway.domain.queue import RunLimits
from gateway.domain.retention import Retention
from gateway.domain.times import Clock, wall_clock
from gateway.engine.background.file_sweep import FileSweep
from gateway.engine.background.housekeeping import Housekeeping, Pruner
from gateway.engine.background.late_writes import LateWrites
from gateway.engine.background.outbox import DeliverySetup, Outbox
from gateway.engine.background.peer_process import PeerWatch
from gateway.engine.background.sampler import Sampler
from gateway.engine.background.scheduler import Scheduler
from gateway.engine.background.workspace_removal import WorkspaceRemoval
from gateway.engine.execution import rescuer
from gateway.engine.execution.attempt import Interrupt
from gateway.engine.execution.claim_loop import ClaimLoop, OwnClaims, RunSource
from gateway.engine.execution.executor import Executor
from gateway.engine.execution.owner import Owner
from gateway.engine.execution.worker import Worker
from gateway.engine.hub import Hub
from gateway.engine.latch import Latch
from gateway.engine.messaging.channels import CHAT_BODIES, Channels, OpenChannels, make_contexts
from gateway.engine.resources.agents import Agents
from gateway.engine.resources.alerts import AlertBook
from gateway.engine.resources.assignments import Assignments
from gateway.engine.resources.audit import AuditLog
from gateway.engine.resources.deliveries import Deliveries
from gateway.engine.resources.files import Files
from gateway.engine.resources.generations import Generations
from gateway.engine.resources.named_sessions import NamedSessions
from gateway.engine.resources.permissions import Permissions
from gateway.engine.resources.projects import Projects
from gateway.engine.resources.queue_status import QueueStatus
from gateway.engine.resources.run_batches import RunBatches
from gateway.engine.resources.run_lists import RunLists
from gateway.engine.resources.runs import Runs
from gateway.engine.resources.samples import Samples
from gateway.engine.resources.schedules import Schedules
from gateway.engine.resources.sessions import Sessions
from gateway.engine.resources.timelines import Timelines
from gateway.engine.resources.tokens import Tokens
from gateway.engine.resources.unreadable import UnreadableRows
from gateway.engine.resources.usage import UsageReporter
from gateway.engine.service_loop import LeaderService
from gateway.engine.storage_retry import until_stored
from gateway.engine.submission import Submitter

if TYPE_CHECKING:
    from gateway.engine.fleet.member import FleetMember, FleetSetup


class Engine:
    """The runs, sessions, agents and tokens of one serving process.

    An async context manager. `start_leading` starts to claim and execute runs, and `drain_runs` ends that.
    """

    def __init__(
        self,
        store: Store,
        agents: Sequence[Agent],
        backends: Mapping[str, Backend],
        contents: ContentStore,
        *,
        owner: Owner,
        directory: Path,
        without_workspace: Collection[str] = (),
        describe: Callable[[Agent], Abilities] = lambda _: Abilities(),
        default: str | None = None,
        token: str | None = None,
        max_runs: int = 64,
        max_background: int | None = None,
        max_depth: int = 5,
        output_limit: int = 8 << 20,
        file_limits: FileLimits | None = None,
        channels: OpenChannels | None = None,
        delivery_setup: DeliverySetup | None = None,
        retention: Retention | None = None,
        days: CalendarDays | None = None,
        fleet: FleetSetup | None = None,
        clock: Clock = wall_clock,
    ) -> None:
        """Args:
        agents: their backends have checked their options.
        backends: the open backends, by name.
        contents: the contents of files.
        directory: where workspaces and large outputs are stored.
        without_workspace: names of the backends that need no workspace.
        describe: returns what is known of an agent before its first turn.
        default: id of the agent for requests that name none.
        token: the gateway's own token; None lets everyone in.
        max_runs: how many runs may be running at the same time.
        max_background: how many of those may have the source `background`.
        max_depth: how deep agents may call one another.
        output_limit: how many characters an answer may have.
        file_limits: how large files may be.
        channels: where messages come from and replies go; no channels if not given.
        delivery_setup: how deliveries are sent; none are sent if not given.
        retention: how long finished work is kept; for ever if not given.
        days: the calendar days by which the store counts usage; those of UTC if not given.
        fleet: makes this process a member of a fleet; alone with its store if not given.
        """
        known = Agents(store, agents, default, backends, self._apply_limits, describe)
        submitter = Submitter(
            known, note_due=lambda due: self._source.note_due(due), stop=self._stop_run, max_depth=max_depth
        )
        self._store, self._submitter, self._hub, self.agents = store, submitter, Hub(store), known
        self.runs = Runs(store, self._hub, known, submitter, self._stop_run, Latch())
        self._owner = owner
        self.permissions = Permissions(store, self._hub, clock)
        self.files = Files(store, contents, file_limits or FileLimits(), clock)
        self._file_sweep = FileSweep(store, contents, retention or Retention(), clock)
        executor = Executor(
            store,
            self.agents.find_by_id,
            backends,
            self.permissions.ask_people,
            open_staging=lambda: self.files.open_staging(within_quota=False),
            fetch_content=self.files.fetch_content,
            workspaces=directory / "workspaces",
            without_workspace=without_workspace,
            outputs=directory / "outputs",
            output_limit=output_limit,
            ended=lambda: self._workspace_removal.wake(),
        )
        self._workspace_removal = WorkspaceRemoval(store, retention or Retention(), directory / "workspaces", clock)
        pruner = Pruner(store, retention or Retention(), directory / "outputs", clock)
        self.generations = Generations(store, owner)
        self.projects = Projects(store)
        self._housekeeping = Housekeeping(store, pruner, self.agents, self.generations)
        self._max_runs, self._max_background = max_runs, max_background
        self._worker = Worker(store, executor, str(owner))
        self._source: RunSource = ClaimLoop(store, OwnClaims(store, str(owner)), self._current_limits(), clock)
        self._find_dead = rescuer.find_dead_owners
        self._fleet: FleetMember | None = None
        if fleet is not None:
            from gateway.engine.fleet.member import FleetMember  # late: one that is alone needs no memory for it

            self._fleet = FleetMember(
                fleet,
                store,
                self._worker,
                self._current_limits,
                clock,
                find_agent=self.agents.find_by_id,
                without_workspace=without_workspace,
            )
            self._source, self._find_dead = self._fleet.source, self._fleet.find_dead_owners
        self.sessions = Sessions(store, self.agents, clock, stop=self._stop_run, deleted=self._workspace_removal.wake)
        self.named_sessions = NamedSessions(store, self.sessions, self.agents, clock)
        self.tokens = Tokens(store, token, clock)
        self.alert_book = AlertBook(store)
        self.audit = AuditLog(store, clock)
        self._late_writes = LateWrites(self.tokens, self.audit)
        opened = channels or OpenChannels()
        contexts = make_contexts(
            opened,
            store=store,
            runs=self.runs,
            files=self.files,
            permissions=self.permissions,
            agents=self.agents,
            clock=clock,
        )
        self.channels = Channels(opened, contexts, self.runs)
        setup = delivery_setup or DeliverySetup()
        setup = msgspec.structs.replace(
            setup, senders={**setup.senders, **self.channels.senders_by_kind()}, bodies={**setup.bodies, **CHAT_BODIES}
        )
        self._outbox = Outbox(store, setup, clock, release=None if fleet is None else fleet.store.release_deliveries)
        self.deliveries = Deliveries(store, setup.address_policy)
        self.schedules = Schedules(
            store, self.agents, self.sessions, clock, self._submitter, changed=lambda: self._scheduler.wake()
        )
        self.assignments = Assignments(self.agents, self.runs)
        self.run_lists = RunLists(store)
        self.timelines = Timelines(store, clock)
        self.run_batches = RunBatches(store, self.runs)
        self.unreadable = UnreadableRows(store)
        self.usage = UsageReporter(store, self.agents, days or CalendarDays(), clock)
        find_destinations = None if self._fleet is None else self._fleet.find_destinations
        self.queue_status = QueueStatus(store, self.agents, self._current_limits, clock, find_destinations)
        self._scheduler = Scheduler(store, self.schedules.plan_run, self._submitter.announce_run, clock)
        self._peers = PeerWatch(
            store,
            owner,
            self._hub,
            self.agents,
            self._source,
            self._worker,
            (self._outbox.wake, self._scheduler.wake),
            find_dead=self._find_dead,
            reload_tokens=None if fleet is None else self.tokens.load_tokens,
        )
        if fleet is not None:
            fleet.on_external_commit(self._peers.look_now)
        self.samples = Samples(store, clock)
        #: those that run while this process leads; others may be added before it does
        self.leader_services: list[LeaderService] = [Sampler(store, self._peers.take_loop_lag, clock)]

    async def __aenter__(self) -> Engine:
        await self.tokens.load_tokens()
        await self.agents.reload_stored_agents()
        self._peers.start()
        self._late_writes.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.step_down()
        await self.drain_runs(0)
        for service in (self._housekeeping, self._workspace_removal, self._file_sweep, self._late_writes):
            await service.stop()
        await self.files.close()
        await self._peers.stop()

    async def start_leading(self) -> None:
        """Rescue the runs of processes that are gone, and start all services. Only one process leads a store.

        In a fleet, this process starts to work on runs, and starts the services of a leader when it leads the fleet.
        """
        if self._fleet is None:
            await self._start_services()
            return
        await self._fleet.join()
        await self.tokens.load_tokens()
        self._start_work()
        self._fleet.try_to_lead(self._start_services, self._stop_services)

    def _start_work(self) -> None:
        self._workspace_removal.start()
        self._source.start()

    async def _start_services(self) -> None:
        position = await until_stored(self._rescue_and_reload)
        self._peers.start_rescuing()
        for service in self.leader_services:
            service.start()
        self._housekeeping.start()
        self._file_sweep.start()
        if self._fleet is None:
            self._start_work()
        self.channels.start_receiving(position)
        await self._outbox.start_sending()
        self._scheduler.start_firing()

    async def _rescue_and_reload(self) -> int:
        """Rescue the runs of processes that are gone. Returns the position after which all changes are seen."""
        await rescuer.rescue_runs(self._store, self._owner, self._find_dead)
        await self._store.unreadable.retry()
        await self.tokens.load_tokens()
        position = await self._store.events.last_change()
        await self.agents.fail_orphaned_runs(configured=self._fleet is None)
        return position

    async def step_down(self) -> None:
        """Stop claiming, receiving and sending. Runs that are running go on; another process may lead from now on."""
        if self._fleet is not None:
            await self._fleet.end_election()
        await self._source.stop()
        await self._stop_services()
        if self._fleet is not None:
            await self._fleet.stop_leading()

    async def _stop_services(self) -> None:
        await self._scheduler.stop_firing()
        await self.channels.stop_receiving()
        await self._outbox.stop_sending()
        for service in self.leader_services:
            await service.stop()
        await self._peers.stop_rescuing()

    async def drain_runs(self, grace: float) -> None:
        """Stop claiming, give running runs `grace` seconds to end, then interrupt and requeue the rest.

        Callers that still wait for a run then learn that it goes on later. Draining twice is fine.
        """
        await self._source.stop()
        await self._worker.stop(grace)
        await self._source.close()
        if self._fleet is not None:
            await self._fleet.leave()
        self.runs.drained.set()
        self._hub.release_waiters()

    def skip_grace(self) -> None:
        """Interrupt the runs that a drain still waits for."""
        self._worker.interrupt_all()

    async def check_writable(self) -> None:
        """Write a little to disk. Raises what accepting a run would raise."""
        await self._store.check_writable()

    @property
    def is_in_fleet(self) -> bool:
        """Whether this process is a member of a fleet."""
        return self._fleet is not None

    async def view_fleet(self, *, with_queues: bool = True) -> FleetView | None:
        """Return the fleet as it is now; None if this process is alone with its store."""
        return None if self._fleet is None else await self._fleet.view(with_queues=with_queues)

    def _stop_run(self, run: str) -> None:
        self._worker.interrupt_run(run, Interrupt.CANCEL)

    def _apply_limits(self) -> None:
        """Claim by the limits that the agents have now."""
        self._source.set_limits(self._current_limits())

    def _current_limits(self) -> RunLimits:
        return RunLimits(
            total=self._max_runs,
            agents=self.agents.concurrency_limits,
            background=self._max_background,
            budgets=self.agents.daily_budgets,
        )
