"""Asks an agent one real question, without a gateway."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

from gateway import backends
from gateway.backends import BackendResources
from gateway.config import Config
from gateway.domain.agent import Agent
from gateway.domain.event import Text
from gateway.domain.ports.backend import Backend, FullReply, Turn
from gateway.domain.session import Message
from gateway.errors import AgentError, TimedOut
from gateway.process.child import Children
from gateway.process.identity import Identity
from gateway.process.scratch import ScratchSpace

#: seconds that an agent has to answer the question of the guide
TRIAL_TIMEOUT_SECONDS = 120.0
#: what it is asked
TRIAL_QUESTION = "Say hello in one short sentence. Use no tools."


def ask_agent(agent: Agent, settings: Config, environ: Mapping[str, str]) -> str:
    """Return the answer of an agent to one question. Its permission requests are denied.

    Raises:
        GatewayError: it cannot answer; the error says why.
    """
    return asyncio.run(_ask(agent, settings.known_environment(environ)))


async def _ask(agent: Agent, environ: Mapping[str, str]) -> str:
    with tempfile.TemporaryDirectory(prefix="moongate-setup-", ignore_cleanup_errors=True) as directory:
        workspace = tempfile.mkdtemp(dir=directory)
        children = Children(_NoProcessRecords(), environ, ScratchSpace(Path(directory, "scratch")))
        kind = backends.find_backends()[agent.backend]
        resources = BackendResources(children=children, environ=environ, directory=Path(directory, "backend"))
        turn = Turn(
            run="setup",
            attempt=1,
            agent=agent,
            input=TRIAL_QUESTION,
            model=agent.model,
            session="setup",
            session_ref=None,
            workspace=workspace if kind.uses_workspace else "",
            read_history=_read_no_history,
        )
        try:
            async with asyncio.timeout(TRIAL_TIMEOUT_SECONDS), kind.open(resources) as backend:
                return await _collect_answer(backend, turn)
        except TimeoutError as error:
            raise TimedOut(f"it has not answered within {TRIAL_TIMEOUT_SECONDS:.0f} s.") from error


async def _collect_answer(backend: Backend, turn: Turn) -> str:
    pieces: list[str] = []
    async with aclosing(backend.stream_turn(turn)) as stream:
        async for made in stream:
            if isinstance(made, Text):
                pieces.append(made.delta)
            elif isinstance(made, FullReply):
                pieces = [made.text]
    answer = "".join(pieces).strip()
    if not answer:
        raise AgentError("it answered nothing.")
    return answer


async def _read_no_history() -> Sequence[Message]:
    return ()


class _NoProcessRecords:
    """Records no processes: those that are started here end with the question."""

    async def record_process(self, who: Identity, run: str | None) -> None: ...

    async def forget_process(self, who: Identity) -> None: ...
