"""What a limited token reaches: some agents, some sessions."""

from __future__ import annotations

from msgspec import Struct


class Reach(Struct, frozen=True, kw_only=True):
    """The agents and sessions that a caller may see and touch. Both limits hold."""

    #: ids of agents; None is all
    agents: tuple[str, ...] | None = None
    #: keys of sessions, or their beginnings and an asterisk; None is all
    sessions: tuple[str, ...] | None = None

    def covers_agent(self, agent_id: str) -> bool:
        """Return whether an agent is reached: one whose sessions are all out of reach is not."""
        if self.agents is not None and agent_id not in self.agents:
            return False
        return self.sessions is None or any(one.partition(":")[0] == agent_id for one in self.sessions)

    def covers_session(self, key: str) -> bool:
        """Return whether a session is reached, by its key."""
        if self.agents is not None and key.partition(":")[0] not in self.agents:
            return False
        return self.sessions is None or any(
            key.startswith(one[:-1]) if one.endswith("*") else key == one for one in self.sessions
        )
