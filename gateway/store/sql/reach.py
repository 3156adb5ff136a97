"""Which rows a limited caller reaches, as a condition of a statement."""

from __future__ import annotations

from typing import Any, NamedTuple

from gateway.domain.reach import Reach


class ReachCondition(NamedTuple):
    """A condition, and the values of its parameters."""

    text: str
    values: tuple[Any, ...]


def make_condition(reach: Reach | None, agent: str = "agent", session: str = "session") -> ReachCondition:
    """Return the condition of the rows that are reached; it is true for all if there is no limit.

    Args:
        agent, session: columns with the id of an agent, and the key of a session.
    """
    if reach is None:
        return ReachCondition("TRUE", ())
    parts: list[str] = []
    values: list[Any] = []
    if reach.agents is not None:
        parts.append(f"{agent} IN ({', '.join('?' * len(reach.agents))})" if reach.agents else "FALSE")
        values += reach.agents
    if reach.sessions is not None:
        keys = [one for one in reach.sessions if not one.endswith("*")]
        beginnings = [one[:-1] for one in reach.sessions if one.endswith("*")]
        choices = [f"{session} IN ({', '.join('?' * len(keys))})"] if keys else []
        choices += [f"substr({session}, 1, {len(one)}) = ?" for one in beginnings]
        parts.append(f"({' OR '.join(choices) or 'FALSE'})")
        values += [*keys, *beginnings]
    return ReachCondition(" AND ".join(parts) or "TRUE", tuple(values))
