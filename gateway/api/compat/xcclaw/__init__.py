"""XCClaw's API: tasks that are created first and executed later, persistent sessions, and a history.

Its clients only need another base URL; `docs/clients/xcclaw.md` says what differs.
"""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec import Struct

from gateway.api.compat.xcclaw import changes, imports, schedules, sessions, tasks
from gateway.api.compat.xcclaw.wire import XCCLAW_DIALECT, XCCLAW_PATH
from gateway.api.routing import Call, Routes, Unheeded
from gateway.domain.ports.backend import AgentHealth
from gateway.domain.token import Scope
from gateway.engine.engine import Engine

#: seconds that an agent's health check may take
AGENT_HEALTH_TIMEOUT_SECONDS = 5.0

ROUTES = Routes("xcclaw", dialect=XCCLAW_DIALECT)


class OpencodeState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether opencode can answer now."""

    #: ok or unavailable
    status: str
    #: version of opencode; left out if it is not known
    version: str = ""


class XCClawHealth(Struct, frozen=True, kw_only=True):
    status: str = "ok"
    opencode: OpencodeState


@ROUTES.add("GET", f"{XCCLAW_PATH}/health", scope=Scope.READ, query=Unheeded, answer=XCClawHealth)
async def xcclaw_health(call: Call[Any, Unheeded]) -> XCClawHealth:
    """Show whether opencode can answer now."""
    return XCClawHealth(opencode=await _find_opencode_state(call.engine))


async def _find_opencode_state(engine: Engine) -> OpencodeState:
    for name in engine.agents.agent_ids:
        agent = engine.agents.find_by_id(name)
        if agent is None or agent.backend != "opencode" or not agent.enabled:
            continue
        try:
            async with asyncio.timeout(AGENT_HEALTH_TIMEOUT_SECONDS):
                found = await engine.agents.check_health(agent)
        except TimeoutError:
            found = AgentHealth(ok=False)
        if found.ok:
            return OpencodeState(status="ok", version=found.version or "unknown")
    return OpencodeState(status="unavailable")


ROUTES.listed += [route for part in (tasks, schedules, sessions, changes, imports) for route in part.ROUTES.listed]
