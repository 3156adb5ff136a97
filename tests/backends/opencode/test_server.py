"""The server that turns share, without the program."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn, cast

import msgspec
import pytest

from gateway.backends import BackendResources
from gateway.backends.opencode import backend as opencode
from gateway.backends.opencode import server
from gateway.backends.opencode.backend import OpencodeBackend
from gateway.backends.opencode.options import Options
from gateway.backends.opencode.server import SharedServer
from gateway.domain.agent import Agent
from gateway.errors import AgentError
from gateway.process.child import Children
from tests.support.ledger import MemoryLedger


async def test_a_server_that_fails_again_and_again_is_not_started_without_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []

    async def connect() -> NoReturn:
        raise AgentError("no luck")

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(server, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep}))
    failing = SharedServer(connect, idle_stop=60, backoff=(0.0, 0.0, 300.0))
    for _ in range(3):
        with pytest.raises(AgentError, match="no luck"):
            async with failing.use_connection():
                pass
    await failing.close()

    assert pauses[:2] == [0.0, 0.0]
    assert 200 < pauses[2] <= 300


async def test_servers_of_agents_that_were_changed_are_forgotten_unless_a_turn_has_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(opencode, "MAX_KNOWN_SERVERS", 3)
    resources = BackendResources(children=Children(MemoryLedger(), {}), environ={}, directory=tmp_path)
    async with OpencodeBackend(resources) as backend:
        agents = [
            Agent(id="main", backend="opencode", options=Options(url=f"http://127.0.0.1:{port}")) for port in range(6)
        ]
        used = backend._find_server(agents[0])
        used._users += 1
        for agent in agents:
            backend._find_server(agent)
        known = [msgspec.json.decode(key)[0][-1] for key in backend._servers]
        is_same = backend._find_server(agents[0]) is used
        used._users -= 1

    assert (known, is_same) == (["0", "4", "5"], True)


async def test_a_server_is_unused_when_its_connection_is_closed_after_a_while() -> None:
    async def connect() -> server.Connection:
        async def close() -> None: ...

        return cast("server.Connection", SimpleNamespace(loss_reason=None, close=close))

    shared = SharedServer(connect, idle_stop=0.01, backoff=(0.0,))
    found = [shared.is_unused]
    async with shared.use_connection():
        found.append(shared.is_unused)
    found.append(shared.is_unused)
    assert shared._idle_timer is not None
    await shared._idle_timer
    await asyncio.sleep(0)

    assert [*found, shared.is_unused] == [True, False, False, True]
