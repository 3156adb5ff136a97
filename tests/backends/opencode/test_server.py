"""The server that turns share, without the program."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import NoReturn

import pytest

from gateway.backends.opencode import server
from gateway.backends.opencode.server import SharedServer
from gateway.errors import AgentError


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
