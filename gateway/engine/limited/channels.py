"""Channels as a limited caller uses them: to begin a run whose reply goes to a chat."""

from __future__ import annotations

from typing import Any

from gateway.domain.session import SessionKey
from gateway.engine.limited.refusal import make_refusal
from gateway.engine.messaging.channels import Channels
from gateway.engine.resources.agents import Agents


class LimitedChannels:
    """The channels of the gateway. Operations that it does not define are refused."""

    def __init__(self, channels: Channels, agents: Agents) -> None:
        """Args: agents: those that the caller reaches."""
        self._channels = channels
        self._agents = agents

    def __getattr__(self, name: str) -> Any:
        raise make_refusal()

    def sends_replies(self, name: str) -> bool:
        return self._channels.sends_replies(name)

    async def current_session_key(self, name: str, chat: str, agent: str | None) -> SessionKey:
        """Return the key of a chat's current session. Whether it is reached is checked when a run goes into it."""
        chosen = None if agent is None else self._agents.choose_agent(agent).id
        return await self._channels.current_session_key(name, chat, chosen)
