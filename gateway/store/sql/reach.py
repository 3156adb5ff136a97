"""Which rows a limited caller reaches, as a condition of a statement."""

from __future__ import annotations

from gateway.domain.reach import Reach
from gateway.store.sql.conditions import EVERY_ROW, Condition, begins_with, join_conditions


def make_condition(reach: Reach | None, agent: str = "agent", session: str = "session") -> Condition:
    """Return the condition of the rows that are reached; it is true for all if there is no limit.

    Args:
        agent, session: columns with the id of an agent, and the key of a session.
    """
    if reach is None:
        return EVERY_ROW
    parts: list[Condition] = []
    if reach.agents is not None:
        parts.append(make_agent_condition(reach.agents, agent))
    if reach.sessions is not None:
        choices = list_session_conditions(reach.sessions, session)
        text = " OR ".join(one.text for one in choices)
        parts.append(Condition(f"({text or 'FALSE'})", tuple(value for one in choices for value in one.values)))
    return join_conditions(parts)


def make_agent_condition(agents: tuple[str, ...], column: str = "agent") -> Condition:
    """Return the condition of the rows of some agents."""
    return Condition(f"{column} IN ({', '.join('?' * len(agents))})" if agents else "FALSE", agents)


def list_session_conditions(sessions: tuple[str, ...], column: str = "session") -> list[Condition]:
    """Return the conditions that together find the rows of some sessions; an index finds each.

    Args:
        sessions: as in a reach: keys, or their beginnings and an asterisk.
    """
    keys = tuple(one for one in sessions if not one.endswith("*"))
    choices = [Condition(f"{column} IN ({', '.join('?' * len(keys))})", keys)] if keys else []
    return choices + [begins_with(column, one[:-1]) for one in sessions if one.endswith("*")]
