"""What the engine asks of a store for runs: the runs themselves, their events and their permission requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from gateway.domain.agent import SessionMode
from gateway.domain.event import AnyEventData, Change, Event
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.permission import Answer, AskedPermission, DenialReason, PermissionQuestion, PermissionRequest
from gateway.domain.ports.file_store import StagedFile
from gateway.domain.question import AnswerContent
from gateway.domain.queue import AdmissionRules, BackgroundCounts, GatewayCounts, RunBlockers, RunLimits
from gateway.domain.reach import Reach
from gateway.domain.run import (
    AcceptedRun,
    AttemptResult,
    EndedRun,
    GoalRound,
    Run,
    RunBatch,
    RunCounts,
    RunFilter,
    RunSpec,
)


class Fenced(Exception):
    """This attempt is no longer the run's: another claim, or its end, came first. Write nothing."""


class RunStore(Protocol):
    """Runs, from their acceptance to their end."""

    async def accept(
        self,
        spec: RunSpec,
        key: IdempotencyKey | None = None,
        admission: AdmissionRules | None = None,
        staged: Sequence[StagedFile] = (),
    ) -> AcceptedRun:
        """Queue a run and create its session if there is none.

        Args:
            admission: the rules of the run's agent; without them a run only waits for its turn.
            staged: those of its attachments that are not stored yet; they are stored with it.

        Raises:
            Conflict: the idempotency key was used with another body.
            FileUnknown: one of its attachments is not stored.
            AgentNotFound, AgentDisabled, AgentBusy: `admission` refuses the run. Nothing was written.
        """
        ...

    async def find_accepted(self, key: IdempotencyKey) -> Run | None:
        """Return the run that was accepted under a key, or None.

        Raises:
            Conflict: the key was used with another body.
        """
        ...

    async def find_batch(self, key: IdempotencyKey | None) -> RunBatch | None:
        """Return the runs that were chosen for a batch under a key, or None.

        Raises:
            Conflict: the key was used with another body.
        """
        ...

    async def remember_batch(self, chosen: RunBatch, key: IdempotencyKey) -> RunBatch:
        """Keep which runs were chosen for a batch; return those that were chosen earlier under this key, if any."""
        ...

    async def import_run(self, run: Run, key: IdempotencyKey, *, dry_run: bool = False) -> Run | None:
        """Store a run of another system that has ended or is held. It gets an id of its own, and never runs by itself.

        Args:
            run: its id is the one that the other system gave it. A stored run with that id is the same run.
            key: names the run in the other system.
            dry_run: check, and store nothing.

        Returns:
            the run that was stored earlier; None if this is a new one.
        """
        ...

    async def claim(self, owner: str, limits: RunLimits) -> Sequence[Run]:
        """Claim as many queued runs as the limits allow, one at a time for each session.

        The result also holds runs that a budget has refused: they have failed. Listeners are told of those that begin,
        and whether there may be more to claim.
        """
        ...

    async def save_backend_ref(self, run_id: str, epoch: int, backend_ref: str) -> None:
        """Store the backend's own id for the run's session."""
        ...

    async def end_round(
        self,
        run_id: str,
        epoch: int,
        ended: GoalRound,
        said: Sequence[AnyEventData],
        staged: Sequence[StagedFile] = (),
    ) -> None:
        """Store a round of a goal that goes on: its events, transcript, usage and files.

        Args:
            staged: those of its files that are not stored yet; they are stored with it.
        """
        ...

    async def finish(
        self,
        run_id: str,
        epoch: int,
        result: AttemptResult,
        said: Sequence[AnyEventData],
        staged: Sequence[StagedFile] = (),
    ) -> Run:
        """End a run: store its last events, final status, transcript and files, after those of its earlier rounds.

        Args:
            staged: those of the result's files that are not stored yet; they are stored with it.
        """
        ...

    async def requeue(self, run_id: str, epoch: int, why: str) -> Run:
        """Queue an interrupted run again, or fail it, by its policy."""
        ...

    async def change_input(self, run_id: str, content: str) -> bool:
        """Change the input of a run that no agent has seen; return False if it is too late.

        Raises:
            RunNotFound: there is no such run.
        """
        ...

    async def cancel(self, run_id: str, key: IdempotencyKey | None = None) -> Run:
        """Cancel a queued run at once; flag a running one for its owner.

        Raises:
            RunNotFound: there is no such run.
            Conflict: it has ended.
        """
        ...

    async def release(self, run_id: str, busy: SessionMode, key: IdempotencyKey | None = None) -> AcceptedRun:
        """Queue a held run.

        Raises:
            RunNotFound: there is no such run.
            Conflict: it is not held.
            AgentBusy: its session is busy, and `busy` is `SessionMode.REJECT`.
        """
        ...

    async def abandon(self, agent: str, limit: int, name: str) -> Sequence[Run]:
        """Fail up to `limit` queued runs of an agent that no longer exists: nobody would ever claim them.

        Args:
            name: what people called the agent; the error of each run has it.
        """
        ...

    async def get(self, run_id: str) -> Run:
        """Return a run by its id, or by a part of it that fits exactly one run.

        Raises:
            RunNotFound: no run fits, or more than one.
        """
        ...

    async def list(self, which: RunFilter, page: Page) -> Sequence[Run]:
        """Return a page of runs, newest first, with long texts shortened: `Run.shortened` says so."""
        ...

    async def count(self, which: RunFilter) -> RunCounts:
        """Count the runs that a filter matches by status, without its own statuses; not all if there are very many."""
        ...

    async def list_ids(self, which: RunFilter, limit: int) -> Sequence[str]:
        """Return the ids of the newest runs, oldest first."""
        ...

    async def list_finished_ids(self, label: str, limit: int) -> Sequence[str]:
        """Return the ids of ended runs that have a label of that name and are not hidden, the latest end first."""
        ...

    async def read_batch(self, ids: Sequence[str], size: int, *, shortened: bool) -> tuple[int, Sequence[Run]]:
        """Look up some runs in this order, until they have `size` characters of text; long texts may be shortened.

        Returns how many were looked up, at least one, and those of them that are still there.
        """
        ...

    async def find_blockers(self, runs: Sequence[Run], limits: RunLimits) -> Mapping[str, RunBlockers]:
        """Return what keeps queued runs from beginning, by their ids."""
        ...

    async def hide_finished(self, label: str) -> int:
        """Leave the ended runs with that label out of `list_finished_ids` from now on. Returns their number."""
        ...

    async def list_ended(self, agents: Sequence[str], each: int) -> Mapping[str, Sequence[EndedRun]]:
        """Return the last `each` runs of some agents that have ended, by agent, the earliest end first."""
        ...

    async def count_backlog(self) -> BackgroundCounts: ...

    async def next_due_at(self) -> int | None:
        """Return when the next delayed run is due, in milliseconds since 1970 UTC."""
        ...

    async def count_totals(self, since: int) -> GatewayCounts:
        """Count runs and sessions; ended runs only since that moment, in milliseconds since 1970 UTC."""
        ...

    async def find_cancel_requested(self, ids: Sequence[str]) -> Sequence[str]:
        """Return those of some running runs for which a cancel was requested."""
        ...


class EventStore(Protocol):
    """The events of each run, and the changes of everything."""

    async def append(self, run_id: str, epoch: int, said: Sequence[AnyEventData]) -> None:
        """Append events to the log of a running attempt."""
        ...

    async def read_after(self, run_id: str, after: int, limit: int, size: int | None = None) -> Sequence[Event]:
        """Return events with a number above `after`; with `size` at most that many bytes, but at least one event."""
        ...

    async def read_changes_after(self, after: int, limit: int) -> Sequence[Change]: ...

    async def last_change(self) -> int:
        """Return the number of the newest change, or 0."""
        ...


class PermissionStore(Protocol):
    """Permission requests. The transaction that ends an attempt withdraws what it still asks for."""

    async def ask(self, run_id: str, epoch: int, question: PermissionQuestion, expires: int) -> PermissionRequest:
        """Store a request of the running attempt; it expires at that moment, in milliseconds since 1970 UTC."""
        ...

    async def answer(
        self,
        run_id: str,
        n: int,
        answer: Answer,
        by: str,
        key: IdempotencyKey | None = None,
        content: AnswerContent | None = None,
    ) -> PermissionRequest:
        """Answer a request. `by` is the name of the token that answers; only answers to questions have a content.

        Raises:
            PermissionNotFound: there is no request with that number.
            Conflict: it was answered already, or the agent no longer waits for it.
        """
        ...

    async def close(self, run_id: str, n: int, why: DenialReason) -> PermissionRequest:
        """Deny a request unless somebody has answered it. Returns the request with its answer."""
        ...

    async def get(self, run_id: str, n: int) -> PermissionRequest:
        """Return a request by its number.

        Raises:
            PermissionNotFound: there is none.
        """
        ...

    async def list(self, run_id: str, page: Page) -> Sequence[PermissionRequest]:
        """Return a run's requests, newest first. The page counts by request number."""
        ...

    async def list_all(self, waiting: bool | None, page: Page, reach: Reach | None = None) -> Sequence[AskedPermission]:
        """Return the requests of all runs, newest first. The page counts by the order of asking.

        Args:
            waiting: only those that wait for an answer, or only the others; None means all. Only a run that is
                running can wait.
            reach: only those of runs that a limited caller reaches.
        """
        ...
