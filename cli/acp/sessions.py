"""The sessions of an editor: which session of the gateway each one is, and which agent it is with."""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from typing import Any

from cli.acp.gateway_calls import ACP_CHANNEL, GatewayCalls
from cli.acp.turns import Turn
from gateway.errors import AgentNotFound, Conflict, Unavailable

#: sessions that are remembered; an older one is looked up in the gateway again
MAX_SESSIONS = 1000


class EditorSession:
    """One session of the editor.

    Its id is the name of its chat if an editor opened it, and its whole key if it came from elsewhere. It belongs to
    the agent of its first prompt, which alone remembers the conversation.
    """

    def __init__(self, id_: str, agent: str, key: str | None = None, model: str | None = None) -> None:
        self.id = id_
        self.agent = agent
        #: the model of the next prompts; None leaves it to the agent
        self.model = model
        #: the models that the agent offers, as the API lists them; None if it has not told
        self.models: list[dict[str, Any]] | None = None
        #: the key in the gateway; None until it has accepted a prompt
        self._key = key
        self._lock = threading.Lock()
        self._turns: list[Turn] = []

    @property
    def is_idle(self) -> bool:
        return not self._turns

    @property
    def key(self) -> str:
        """The key in the gateway; before the first prompt, what it would be with the agent that is chosen now."""
        return self._key or f"{self.agent}:{ACP_CHANNEL}:{self.id}"

    @property
    def is_new(self) -> bool:
        """Whether the gateway has accepted no prompt yet, and so does not have the session."""
        with self._lock:
            return self._key is None and not any(turn.run for turn in self._turns)

    def choose_agent(self, agent: str) -> None:
        """Choose the agent of a session that has no prompt yet; one that was refused does not count.

        Raises:
            Conflict: the conversation is with another agent already.
        """
        with self._lock:
            if agent != self.agent and (self._key is not None or self._turns):
                raise Conflict(
                    f"this conversation is with the agent {self.agent}, and {agent} does not know it.",
                    remedy=f"Begin a new one to work with {agent}.",
                )
            if agent != self.agent:
                self.agent, self.model, self.models = agent, None, None

    def add_turn(self, turn: Turn) -> Turn | None:
        """Let a cancel of the session cancel this turn, too. Returns the turn before it, if one is at work."""
        with self._lock:
            earlier = self._turns[-1] if self._turns else None
            self._turns.append(turn)
            return earlier

    def remove_turn(self, turn: Turn) -> None:
        with self._lock:
            self._turns.remove(turn)
            if turn.run is not None:
                self._key = self.key  # from now on, the agent stays

    def shows(self, run: str) -> bool:
        """Return whether a run is shown already."""
        with self._lock:
            return any(turn.run == run and not turn.is_muted for turn in self._turns)

    def mute_turns(self) -> None:
        """Show no more of the runs at work, because they are shown again from their beginning."""
        with self._lock:
            turns = [*self._turns]
        for turn in turns:
            turn.mute()

    def cancel(self) -> None:
        """Cancel all turns, in threads of their own: the editor's next message must not wait."""
        with self._lock:
            turns = [*self._turns]
        for turn in turns:
            threading.Thread(target=turn.cancel, daemon=True).start()


class EditorSessions:
    """All sessions of one editor."""

    def __init__(self, gateway: GatewayCalls) -> None:
        self._gateway = gateway
        self._known: OrderedDict[str, EditorSession] = OrderedDict()

    def create(self, agents: list[dict[str, Any]]) -> EditorSession:
        """Begin a session with the default agent. The gateway has it from its first prompt on.

        Raises:
            AgentNotFound: no agent takes prompts.
        """
        if not agents:
            raise AgentNotFound("no agent is enabled.", remedy="See: gateway agents list")
        default = next((agent for agent in agents if agent["is_default"]), agents[0])
        return self._remember(EditorSession(str(uuid.uuid4()), default["id"]))

    def find(self, id_: str) -> EditorSession:
        """Return a session, which may have been opened by an earlier process.

        Raises:
            SessionNotFound: the gateway does not have it.
        """
        known = self._known.get(id_)
        if known is not None:
            self._known.move_to_end(id_)
            return known
        return self._remember(self._look_up(id_))

    def find_known(self, id_: str) -> EditorSession | None:
        return self._known.get(id_)

    def _look_up(self, id_: str) -> EditorSession:
        found = self._gateway.get_session(id_)
        return EditorSession(id_, found["agentId"], found["key"], self._gateway.get_last_model(found["key"]))

    def _remember(self, session: EditorSession) -> EditorSession:
        if len(self._known) >= MAX_SESSIONS:
            idle = next((id_ for id_, known in self._known.items() if known.is_idle), None)
            if idle is None:
                raise Unavailable(f"{MAX_SESSIONS} sessions are at work.")
            del self._known[idle]
        self._known[session.id] = session
        return session


def render_listed(session: dict[str, Any], cwd: str) -> dict[str, Any]:
    """Return a session of the gateway as `session/list` shows it.

    Args:
        cwd: the directory of the editor. The protocol wants one, and sessions of the gateway have none.
    """
    id_ = session["chat_id"] if session["channel"] == ACP_CHANNEL else session["key"]
    title = session["title"] or f"{session['channel']} {session['chat_id']}"
    return {"sessionId": id_, "cwd": cwd, "title": title, "updatedAt": session["last_activity"]}
