"""Checks whether the gateway would accept work now, and whether its default agent could do it.

Probes that come at nearly the same time share one check.
"""

from __future__ import annotations

import asyncio
import math
import time

from gateway import log
from gateway.domain.agent import Agent
from gateway.domain.ports.backend import AgentHealth
from gateway.engine.engine import Engine
from gateway.errors import GatewayError, StorageFull

#: seconds that a result is reused
STORAGE_ANSWER_LIFETIME_SECONDS = 2.0
#: seconds that a check may take
STORAGE_CHECK_TIMEOUT_SECONDS = 5.0
#: seconds that a good and a bad result of the default agent's check are reused
AGENT_ANSWER_LIFETIME_SECONDS, AGENT_FAILURE_LIFETIME_SECONDS = 60.0, 10.0
#: seconds that the check of the default agent may take, and seconds that a probe waits for the first one
AGENT_CHECK_TIMEOUT_SECONDS, FIRST_AGENT_CHECK_SECONDS = 15.0, 0.5

_log = log.get()


class StorageCheck:
    """Checks the storage and keeps the last result. The result names no paths, because probes need no token."""

    def __init__(self) -> None:
        self._at = -math.inf
        self._found = ""
        self._asking = asyncio.Lock()

    async def check_storage(self, engine: Engine) -> str:
        """Return `ok`, or why a write would fail."""
        async with self._asking:
            if time.monotonic() - self._at >= STORAGE_ANSWER_LIFETIME_SECONDS:
                self._found = await _ask_storage(engine)
                self._at = time.monotonic()
            return self._found


async def _ask_storage(engine: Engine) -> str:
    try:
        async with asyncio.timeout(STORAGE_CHECK_TIMEOUT_SECONDS):
            await engine.check_writable()
    except TimeoutError:
        return f"the disk has not answered for {STORAGE_CHECK_TIMEOUT_SECONDS:g} s."
    except StorageFull:
        return "the disk is full."
    except GatewayError as error:
        _log.warning("store.refuses", error=str(error))
        return "the database cannot be written; the log says why."
    return "ok"


class AgentCheck:
    """Checks whether the default agent is able to answer, and keeps the last result. Later checks delay no probe."""

    def __init__(self) -> None:
        self._at = -math.inf
        self._found: AgentHealth | None = None
        self._asking: asyncio.Task[None] | None = None

    async def check_agent(
        self, engine: Engine, agent: Agent, wait: float = FIRST_AGENT_CHECK_SECONDS
    ) -> AgentHealth | None:
        """Return the last result; None if there is none yet.

        Args:
            wait: seconds to wait for the first result.
        """
        good = self._found is None or self._found.ok
        lifetime = AGENT_ANSWER_LIFETIME_SECONDS if good else AGENT_FAILURE_LIFETIME_SECONDS
        if self._asking is None and time.monotonic() - self._at >= lifetime:
            self._asking = asyncio.create_task(self._ask_agent(engine, agent), name="agent-check")
        if self._found is None and self._asking is not None:
            await asyncio.wait([self._asking], timeout=wait)
        return self._found

    async def _ask_agent(self, engine: Engine, agent: Agent) -> None:
        try:
            async with asyncio.timeout(AGENT_CHECK_TIMEOUT_SECONDS):
                self._found = await engine.agents.check_health(agent)
        except TimeoutError:
            said = f"it has not answered for {AGENT_CHECK_TIMEOUT_SECONDS:g} s."
            self._found = AgentHealth(ok=False, detail=said)
        except Exception as error:  # as in plugins: foreign code may raise anything
            _log.exception("agent.check_broke", agent=agent.id)
            self._found = AgentHealth(ok=False, detail=f"its check raises {type(error).__name__}: {error}")
        finally:
            self._at, self._asking = time.monotonic(), None
