"""Sessions, as clients see them: which session a name means; open, find, search and delete sessions."""

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

    def __init__(self, store: Store, agents: Roster, clock: Clock, stop: Callable[[str], None]) -> None:
        """Args:
        stop: called with the id of each running run whose session is deleted.
        """
        self._store = store
        self._agents = agents
        self._clock = clock
        self._stop = stop

    def key(self, name: str, channel: str, agent: str | None) -> SessionKey:
        """Return the session key for a name from a client: a full key, or the name of a chat of this channel.

        Raises:
            InvalidRequest: the name is not valid, or is the key of a session of another agent than `agent`.
            AgentNotFound: there is no such agent.
        """
        full = SessionKey.parse(name)
        if full is not None and self._agents.named(full.agent) is not None:
            meant = self._agents.choose(full.agent).id
            if agent is not None and self._agents.choose(agent).id != meant:
                raise InvalidRequest(f"session: {name!r} is a session of {full.agent!r}, not of {agent!r}.")
            return full._replace(agent=meant)
        return SessionKey.of(self._agents.choose(agent).id, channel, name)

    async def open(
        self, channel: str, chat: str | None, agent: str | None, idempotent: IdempotencyKey | None
    ) -> Session:
        """Open the session of a chat. Without a chat, open the newest empty session, or else a new one."""
        chosen = self._agents.choose(agent).id
        if chat is not None:
            return await self._store.sessions.open(SessionKey.of(chosen, channel, chat), idempotent)
        fresh = SessionKey.of(chosen, channel, ids.ulid(self._clock()).lower())
        return await self._store.sessions.open_empty(*fresh, idempotent)

    async def find(self, name: str) -> Session:
        """Return a session by its full key, or by the name of its chat.

        The default agent's session of that name comes first, then the one that was used last.

        Raises:
            SessionNotFound: there is none.
        """
        found = await self._store.sessions.find(self._in_full(name))
        if found is None:
            found = await self._store.sessions.find(str(SessionKey(self._agents.default.id, "api", name)))
        if found is None:
            found = await self._store.sessions.find_newest(name)
        if found is None:
            raise SessionNotFound(f"there is no session {name[:200]!r}.")
        return found

    def _in_full(self, name: str) -> str:
        """Return a full key with the id of its agent, if it names the agent by slug; else the name as it is."""
        full = SessionKey.parse(name)
        agent = self._agents.named(full.agent) if full else None
        return str(full._replace(agent=agent.id)) if full and agent else name

    async def list(self, page: Page) -> Sequence[Session]:
        return await self._store.sessions.list(page)

    async def history(self, key: str, limit: int) -> Sequence[Message]:
        return await self._store.sessions.read_history(key, limit)

    async def search(self, wanted: Search, page: Page) -> Sequence[Found]:
        """Return the messages that match, newest first."""
        return await self._store.sessions.search(wanted, page)

    async def delete(self, key: str, *, force: bool) -> None:
        """Delete a session with its transcript.

        Raises:
            Conflict: it has queued or running runs, and `force` is False.
        """
        for run in await self._store.sessions.delete(key, force=force):
            self._stop(run)
