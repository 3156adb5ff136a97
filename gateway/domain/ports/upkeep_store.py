"""What the engine asks of a store to keep it in order: pruning, workspaces, and the rows that cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

from gateway.domain.unreadable import RowKind, UnreadableRow


class Pruned(Struct, frozen=True):
    """What one transaction forgot: little, so that others need not wait long."""

    #: whether there may be more to forget
    more: bool
    #: runs whose events are gone
    runs: tuple[str, ...] = ()


class ReleasedWorkspace(NamedTuple):
    """A workspace that is to be removed."""

    #: of its directory
    name: str
    #: whether an agent still works in it
    in_use: bool


class RetentionStore(Protocol):
    """Deletes what is old, a little in each transaction, so that others need not wait long."""

    async def prune_expired(self) -> None:
        """Delete expired idempotency keys, notes, fires, usage, samples, and old generations and changes."""
        ...

    async def prune_events(self, before: int | None, newest: int | None) -> Pruned:
        """Delete the events of some runs that ended before then, or are not among the `newest` ended ones.

        The last event of each run stays.
        """
        ...

    async def prune_runs(self, before: int) -> Pruned:
        """Delete some runs that ended before then and that nothing needs."""
        ...

    async def prune_dead_letters(self, before: int) -> Pruned:
        """Delete some deliveries that were given up before then."""
        ...

    async def prune_sessions(self, before: int) -> Pruned:
        """Delete some sessions that were not used since then, with their transcripts."""
        ...


class UnreadableStore(Protocol):
    """The rows that could not be decoded. They are set aside; others of their kind go on without them."""

    def note(self, kind: RowKind, key: Sequence[str], error: Exception) -> None:
        """Add a row whose content the caller could not decode."""
        ...

    def list_found(self) -> Sequence[UnreadableRow]:
        """Return the rows that were found so far, without looking whether they are still there."""
        ...

    async def list(self) -> Sequence[UnreadableRow]:
        """Return the rows that were found so far and are still there."""
        ...

    async def remove(self, kind: RowKind, id_: str) -> None:
        """Delete such a row.

        Raises:
            NotFound: no such row is known to be unreadable.
        """
        ...

    async def retry(self) -> None:
        """Try to read again what was set aside before. A process does this when it begins to lead."""
        ...


class WorkspaceStore(Protocol):
    """Which directory is the workspace of which session.

    The end of a session releases its workspace. A released one is removed, and only then forgotten.
    """

    async def open(self, session: str, seq: int) -> str:
        """Return the name of the directory of a run's session, marked as used now; a new name if it has none.

        Args:
            session: key of the session.
            seq: number of the run. If its own session was deleted and another one of the same key has begun, it gets a
                new directory that is already released.
        """
        ...

    async def release_unused(self, before: int) -> int:
        """Release some workspaces that were not used since then, and have no open run. Returns their number."""
        ...

    async def list_released(self, after: str = "") -> Sequence[ReleasedWorkspace]:
        """Return some released workspaces, sorted by name: the first ones after a name."""
        ...

    async def forget(self, names: Sequence[str]) -> None:
        """Forget released workspaces whose directories are removed."""
        ...
