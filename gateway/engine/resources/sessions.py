"""Sessions, as clients see them: which session a name means; open, find, search and delete sessions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.domain import ids
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.ports.store import Store
from gateway.domain.search import SearchHit, SearchQuery
from gateway.domain.session import ALL_SESSIONS, Message, Session, SessionFilter, SessionKey
from gateway.domain.times import Clock
from gateway.engine.resources.agents import Agents
from gateway.errors import InvalidRequest, SessionNotFound


class Sessions:
    """Opens, finds and deletes sessions."""

    def __init__(
        self, store: Store, agents: Agents, clock: Clock, stop: Callable[[str], None], deleted: Callable[[], None]
    ) -> None:
        """Args:
        stop: called with the id of each running run whose session is deleted.
        deleted: called when a session is deleted.
        """
        self._store = store
        self._agents = agents
        self._clock = clock
        self._stop = stop
        self._deleted = deleted

    def with_store(self, store: Store, agents: Agents) -> Sessions:
        """Return the same on top of another store."""
        return Sessions(store, agents, self._clock, self._stop, self._deleted)

    def resolve_key(self, name: str, channel: str, agent: str | None, *, field: str = "session") -> SessionKey:
        """Return the session key for a name from a client: a full key, or the name of a chat of this channel.

        Args:
            field: what the client calls the name.

        Raises:
            InvalidRequest: the name is not valid, or is the key of a session of another agent than `agent`.
            AgentNotFound: there is no such agent, or a limited caller does not reach it.
        """
        full = SessionKey.parse_key(name)
        if full is not None and self._agents.knows_name(full.agent):
            meant = self._agents.choose_agent(full.agent).id
            if agent is not None and self._agents.choose_agent(agent).id != meant:
                raise InvalidRequest(f"{field}: {name!r} is a session of {full.agent!r}, not of {agent!r}.")
            return full._replace(agent=meant)
        return SessionKey.from_parts(self._agents.choose_agent(agent).id, channel, name, field=field)

    async def open_session(
        self, channel: str, chat: str | None, agent: str | None, idempotent: IdempotencyKey | None
    ) -> Session:
        """Open the session of a chat. Without a chat, open the newest empty session, or else a new one."""
        chosen = self._agents.choose_agent(agent).id
        if chat is not None:
            return await self._store.sessions.open(SessionKey.from_parts(chosen, channel, chat), idempotent)
        fresh = SessionKey.from_parts(chosen, channel, ids.make_ulid(self._clock()).lower())
        return await self._store.sessions.open_empty(*fresh, idempotent)

    async def get_session(self, name: str) -> Session:
        """Return a session by its full key, or by the name of its chat.

        The default agent's session of that name comes first, then the one that was used last.

        Raises:
            SessionNotFound: there is none.
        """
        found = await self._store.sessions.find(self._expand_slug(name))
        if found is None:
            found = await self._store.sessions.find(str(SessionKey(self._agents.default_agent.id, "api", name)))
        if found is None:
            found = await self._store.sessions.find_newest(name)
        if found is None:
            raise SessionNotFound(f"there is no session {name[:200]!r}.")
        return found

    def _expand_slug(self, name: str) -> str:
        """Return a session key with the agent's slug replaced by the agent's id.

        A name that is not a full key, or whose agent is unknown, is returned unchanged.
        """
        full = SessionKey.parse_key(name)
        agent = self._agents.find_by_name(full.agent) if full else None
        return str(full._replace(agent=agent.id)) if full and agent else name

    async def list_sessions(self, page: Page, which: SessionFilter = ALL_SESSIONS) -> Sequence[Session]:
        """Return sessions, the last used one first."""
        return await self._store.sessions.list(page, which)

    async def rename_session(self, name: str, title: str) -> Session:
        """Give a session a title, which stays whatever is said in it.

        Raises:
            SessionNotFound: there is none.
            InvalidRequest: the title has only spaces.
        """
        shown = " ".join(title.split())
        if not shown:
            raise InvalidRequest("title: send more than spaces.")
        renamed = await self._store.sessions.rename((await self.get_session(name)).key, shown)
        if renamed is None:
            raise SessionNotFound(f"there is no session {name[:200]!r}.")
        return renamed

    async def read_history(self, key: str, page: Page) -> Sequence[Message]:
        """Return a page of a session's messages: the newest ones, oldest first."""
        if page.max_bytes is None:
            return await self._store.sessions.read_history(key, page.limit, page.before)
        return await self._store.sessions.read_history(key, page.limit, page.before, page.max_bytes)

    async def search_messages(self, query: SearchQuery, page: Page) -> Sequence[SearchHit]:
        """Return the messages that match, newest first."""
        return await self._store.sessions.search(query, page)

    async def delete_session(self, key: str, *, force: bool) -> None:
        """Delete a session with its transcript and its workspace.

        Raises:
            Conflict: it has queued or running runs, and `force` is False.
        """
        for run in await self._store.sessions.delete(key, force=force):
            self._stop(run)
        self._deleted()
