"""Drives an opencode whose server lacks routes that we need over `opencode acp`, with the backend for ACP."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import msgspec

from gateway.backends.acp.backend import AcpBackend
from gateway.backends.acp.options import Options as AcpOptions
from gateway.backends.acp.presets import AgentPreset
from gateway.backends.opencode.options import Options
from gateway.backends.opencode.refs import ConversationRef, parse_ref
from gateway.domain.agent import Agent
from gateway.domain.ports.backend import AgentHealth, SessionRef, Turn, TurnOutput

#: what opencode may do is what its configuration says, as it is over its server; the preset would have it ask for more
_KEPT_RULES = {
    "OPENCODE_PERMISSION": msgspec.json.encode(dict.fromkeys(("question", "plan_enter", "plan_exit"), "deny")).decode()
}


class AcpProgram:
    """Stands for the connection to a program that is driven over ACP: each turn has a process, so nothing is held."""

    #: why it is lost; it never is
    loss_reason = None

    def __init__(self, version: str) -> None:
        #: version of the program
        self.version = version

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""


async def stream_turn_over_acp(acp: AcpBackend, turn: Turn, env: Mapping[str, str]) -> AsyncGenerator[TurnOutput, None]:
    """Do a turn over `opencode acp`.

    A reference holds the directory of its session, because opencode 2 loads a session into the directory where the
    session began, whatever directory the turn names.

    Args:
        env: variables of opencode's process.
    """
    place = await asyncio.to_thread(os.path.realpath, turn.workspace)
    begun = parse_ref(turn.session_ref or "")
    known = begun.session if begun.session and begun.directory in ("", place) else None
    asked = msgspec.structs.replace(turn, agent=make_acp_agent(turn.agent, env), session_ref=known)
    async with aclosing(acp.stream_turn(asked)) as said:
        async for one in said:
            yield SessionRef(str(ConversationRef(one.ref, place))) if isinstance(one, SessionRef) else one


async def check_program_over_acp(
    acp: AcpBackend, agent: Agent, env: Mapping[str, str], program: AcpProgram
) -> AgentHealth:
    """Tell whether the program can be driven over ACP, and why it is."""
    found = await acp.check_health(make_acp_agent(agent, env))
    if not found.ok:
        return found
    why = "driven over `opencode acp`, because its server lacks routes that Moongate needs"
    return msgspec.structs.replace(found, version=program.version, detail=why)


def make_acp_agent(agent: Agent, env: Mapping[str, str]) -> Agent:
    """Return the agent as one of the backend for ACP; its settings keep their meaning."""
    options: Options = agent.options
    driven = AcpOptions(
        preset=AgentPreset.OPENCODE,
        command=[*options.command, "acp"],
        mode=options.agent,
        start_timeout=options.start_timeout,
        retry_timeout=options.retry_timeout,
        idle_stop=options.idle_stop,
    )
    return msgspec.structs.replace(agent, backend="acp", env={**_KEPT_RULES, **env}, options=driven)
