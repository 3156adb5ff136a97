"""What a limited caller is told, and a stand-in for what it may not use."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from gateway.domain.reach import Reach
from gateway.errors import Forbidden


def make_refusal() -> Forbidden:
    """Return the error for what is about all agents and sessions."""
    return Forbidden(
        "this token is limited to some agents or sessions, and this is about all of them.",
        remedy="Use a token without limits.",
    )


def check_session(reach: Reach, key: str) -> None:
    """Check that a session is reached. The answer is the same whether it exists or not.

    Raises:
        Forbidden: it is not.
    """
    if not reach.covers_session(key):
        raise Forbidden(
            f"this token does not reach the session {key[:200]!r}.",
            remedy="Name a session that it reaches: the owner sees its limits with gateway tokens list",
        )


def check_agent(reach: Reach, agent_id: str) -> None:
    """Check that an agent is reached.

    Raises:
        Forbidden: it is not.
    """
    if not reach.covers_agent(agent_id):
        raise Forbidden(
            f"this token does not reach the agent {agent_id[:64]!r}.",
            remedy="Name an agent that it reaches: the owner sees its limits with gateway tokens list",
        )


class Opened:
    """Lets through the named attributes of an object, and refuses all others."""

    def __init__(self, target: Any, names: Collection[str]) -> None:
        self._target = target
        self._names = frozenset(names)

    def __getattr__(self, name: str) -> Any:
        if name not in self._names:
            raise make_refusal()
        return getattr(self._target, name)
