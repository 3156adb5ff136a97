"""Sessions by name: what a caller calls a conversation, and which one that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.domain import ids
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.ports.store import Store
from gateway.domain.search import Found, Search
from gateway.domain.session import Message, Session, SessionKey
from gateway.domain.times import Clock
from gateway.engine.resources.agents import Roster
from gateway.errors import InvalidRequest, SessionNotFound


class Sessions:
    """Opens, finds and deletes sessions."""

    def __init__(self, store: Store, roster: Roster, clock: Clock, stop: Callable[[str], None]) -> None:
        """Args:
        stop: called with each running run whose session is deleted.
        """
        self._store = store
        self._roster = roster
        self._clock = clock
        self._stop = stop

    def key(self, name: str, channel: str, agent: str | None) -> SessionKey:
        """Return the key that a name given to a door means: a full key, or a chat of its channel.

        Raises:
            InvalidRequest: the name cannot be one, or is a key of another agent than the one named.
            AgentNotFound: there is no such agent.
        """
        full = SessionKey.parse(name)
        if full is not None and self._roster.named(full.agent) is not None:
            meant = self._roster.choose(full.agent).id
            if agent is not None and self._roster.choose(agent).id != meant:
                raise InvalidRequest(f"session: {name!r} is a session of {full.agent!r}, not of {agent!r}.")
            return full._replace(agent=meant)
        return SessionKey.of(self._roster.choose(agent).id, channel, name)

    async def open(
        self, channel: str, chat: str | None, agent: str | None, idempotent: IdempotencyKey | None
    ) -> Session:
        """Open the session of a chat; without a chat the newest empty one, else a new one."""
        chosen = self._roster.choose(agent).id
        if chat is not None:
            return await self._store.sessions.open(SessionKey.of(chosen, channel, chat), idempotent)
        fresh = SessionKey.of(chosen, channel, ids.ulid(self._clock()).lower())
        return await self._store.sessions.open_empty(*fresh, idempotent)

    async def find(self, name: str) -> Session:
        """Find by full key, else the raw name: under the default agent first, else the newest match.

        Raises:
            SessionNotFound: nothing fits.
        """
        found = await self._store.sessions.find(self._in_full(name))
        if found is None:
            found = await self._store.sessions.find(str(SessionKey(self._roster.default.id, "api", name)))
        if found is None:
            found = await self._store.sessions.find_newest(name)
        if found is None:
            raise SessionNotFound(f"there is no session {name[:200]!r}.")
        return found

    def _in_full(self, name: str) -> str:
        """Return a full key with its agent's id, where it names the agent by its slug."""
        full = SessionKey.parse(name)
        agent = self._roster.named(full.agent) if full else None
        return str(full._replace(agent=agent.id)) if full and agent else name

    async def list(self, page: Page) -> Sequence[Session]:
        return await self._store.sessions.list(page)

    async def history(self, key: str, limit: int) -> Sequence[Message]:
        return await self._store.sessions.read_history(key, limit)

    async def search(self, wanted: Search, page: Page) -> Sequence[Found]:
        """Return messages that fit, newest first."""
        return await self._store.sessions.search(wanted, page)

    async def delete(self, key: str, *, force: bool) -> None:
        """Delete a session with its transcript.

        Raises:
            Conflict: it has queued or running runs, and not `force`.
        """
        for run in await self._store.sessions.delete(key, force=force):
            self._stop(run)
