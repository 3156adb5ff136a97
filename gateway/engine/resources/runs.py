"""Runs, as clients see them: submitted, followed, cancelled and retried."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

import msgspec

from gateway.domain.event import Change, Event
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.ports.file_store import StagedFile
from gateway.domain.ports.store import Store
from gateway.domain.run import AcceptedRun, Run, RunFilter, RunSpec, Status
from gateway.engine.hub import Hub, Reader
from gateway.engine.latch import Latch
from gateway.engine.resources.agents import Agents
from gateway.engine.submission import Submitter
from gateway.errors import Conflict, TimedOut, Unavailable


class Runs:
    """Submits, follows, cancels and retries runs."""

    def __init__(
        self,
        store: Store,
        hub: Hub,
        agents: Agents,
        submitter: Submitter,
        stop: Callable[[str], None],
        drained: Latch,
    ) -> None:
        """Args:
        stop: called with the id of each running run that is cancelled.
        drained: set when this process executes no more runs.
        """
        self._store = store
        self._hub = hub
        self._agents = agents
        self._submitter = submitter
        self._stop = stop
        #: set when this process executes no more runs: a run that has not ended will end in another process
        self.drained = drained

    def with_store(self, store: Store, hub: Hub, agents: Agents, submitter: Submitter) -> Runs:
        """Return the same on top of another store."""
        return Runs(store, hub, agents, submitter, self._stop, self.drained)

    async def submit_run(
        self,
        spec: RunSpec,
        key: IdempotencyKey | None = None,
        *,
        staged: Sequence[StagedFile] = (),
        coalesce: bool = False,
    ) -> AcceptedRun:
        """Accept a run: when this returns, it is on disk and will be done.

        Args:
            staged: those of its attachments that are not stored yet.
            coalesce: let a run that waits in the session with the same input stand for this one.

        Raises:
            Conflict: the idempotency key was used with another body, or the session is busy and
                its agent takes no more then.
            AgentBusy: it is assigned, and all slots of its agent are taken.
            StorageFull, Unavailable: it was not accepted.
            TooDeep: agents have asked one another too often.
            InvalidRequest: its agent certainly does not take its model.
        """
        spec, admission = self._submitter.prepare_run(spec, coalesce=coalesce)
        if (refusal := self._agents.explain_wrong_model(spec.agent, spec.model)) is not None:
            admission = msgspec.structs.replace(admission, refusal=refusal)
        return await self._submitter.await_acceptance(spec, self._store.runs.accept(spec, key, admission, staged))

    async def release_run(self, run_id: str, key: IdempotencyKey | None = None) -> Run:
        """Queue a run that is held.

        Raises:
            RunNotFound: there is no such run.
            Conflict: it is not held, or its session is busy and its agent rejects runs for a busy session.
            AgentNotFound, InvalidRequest: its agent does not exist, or is disabled.
        """
        run = await self._store.runs.get(run_id)
        agent = self._agents.choose_agent(run.spec.agent)
        accepting = self._store.runs.release(run.id, agent.session_mode, key)
        return (await self._submitter.await_acceptance(run.spec, accepting)).run

    async def wait_for_run(self, run_id: str, seconds: float) -> Run:
        """Wait until a run has ended, and return it. A caller that stops waiting does not stop the run.

        Raises:
            TimedOut: the run has not ended in that time; it goes on.
            Unavailable: this gateway is stopping; the run goes on after the next start.
        """
        with self._hub.expect_end(run_id) as end:
            run = await self._store.runs.get(run_id)
            if not (run.status.is_final or self.drained.is_set):
                await asyncio.wait({end}, timeout=seconds)
                run = (end.result() if end.done() else None) or await self._store.runs.get(run_id)
        if run.status.is_final:
            return run
        details = {"run_id": run_id}
        if self.drained.is_set:
            raise Unavailable("the gateway is stopping; the run goes on when it is back.", details=details)
        raise TimedOut(f"no answer within {seconds:g} s; the run goes on.", details=details)

    def watch_run(self, run_id: str, after: int = 0) -> AsyncGenerator[Event, None]:
        """Yield a run's events after number `after`, stored and then live, up to its end."""
        return self._hub.follow_run(run_id, after)

    async def follow_changes(self, after: int | None) -> Reader[Change]:
        """Return a reader of the changes after a position, stored and then live; of new changes only if it is None."""
        return await self._hub.follow_changes(after)

    async def cancel_run(self, run_id: str, key: IdempotencyKey | None = None) -> Run:
        """Cancel a run: a queued one at once, a running one within seconds.

        Raises:
            RunNotFound: there is no such run.
            Conflict: it has ended, and no earlier request with this idempotency key cancelled it.
        """
        run = await self._store.runs.cancel((await self._store.runs.get(run_id)).id, key)
        if run.status is Status.RUNNING:
            self._stop(run.id)
        return run

    async def retry_run(self, run_id: str, key: IdempotencyKey | None = None) -> Run:
        """Submit a failed or cancelled run again, as a new one.

        Raises:
            RunNotFound: there is no such run.
            Conflict: it has not ended, or it succeeded.
        """
        run = await self._store.runs.get(run_id)
        if run.status not in (Status.FAILED, Status.CANCELLED):
            raise Conflict(f"cannot retry a task that is {run.status}.")
        spec = msgspec.structs.replace(run.spec, retry_of=run.id, run_at=None, held=False, submitted_by=None)
        return (await self.submit_run(spec, key)).run

    async def import_run(self, run: Run, key: IdempotencyKey, *, dry_run: bool = False) -> Run | None:
        """Store a run of another system that has ended or is held; it never runs by itself.

        Returns:
            the run that was imported earlier under this key; None if this is a new one.
        """
        return await self._store.runs.import_run(run, key, dry_run=dry_run)

    async def get_run(self, run_id: str) -> Run:
        """Return a run.

        Raises:
            RunNotFound: there is no such run.
        """
        return await self._store.runs.get(run_id)

    async def list_runs(self, which: RunFilter, page: Page) -> Sequence[Run]:
        """Return a page of runs, with long texts shortened."""
        return await self._store.runs.list(which, page)

    async def read_events(self, run_id: str, after: int, limit: int, size: int | None = None) -> Sequence[Event]:
        """Return a run's events after number `after`: at most `limit` and `size` bytes, but at least one."""
        return await self._store.events.read_after((await self._store.runs.get(run_id)).id, after, limit, size)
