"""A gateway in the test's own event loop: real store, real engine, real sockets on port 0."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from gateway import app, config
from gateway.api.routing import Control, ServerContext
from gateway.api.server import ApiServer
from gateway.assembly.checks import check_settings
from gateway.domain.times import Clock, wall_clock
from gateway.engine.execution.owner import Owner
from gateway.process import identity
from gateway.supervisor import port
from harness.live_store import LiveStore

ALONE = Control(restart=None, stop=lambda: None, notes={})
TOKEN = "test-token-of-more-than-24-characters"


class Serving:
    """A gateway that serves, and a client for it."""

    def __init__(self, context: ServerContext, client: aiohttp.ClientSession, bound: int) -> None:
        self.context = context
        self.client = client
        self.port = bound

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        return TOKEN

    @property
    def engine(self) -> Any:
        return self.context.engine


@asynccontextmanager
async def serving(
    home: Path,
    settings: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    clock: Clock = wall_clock,
    grace: float = 0.0,
    store: LiveStore | None = None,
    instance: str = "test-instance",
) -> AsyncIterator[Serving]:
    """Serve with these settings in addition to the usual ones: a scripted echo agent `main`, `TOKEN`, port 0.

    Args:
        store: where it keeps everything; a SQLite file in its directory if not given.
        instance: two that serve at the same time on one store have different ones.
    """
    home.mkdir(parents=True, exist_ok=True)
    given: dict[str, Any] = {
        "agents": {"list": [{"id": "main", "backend": "echo", "script": True}]},
        **(settings or {}),
    }
    given["gateway"] = {"port": 0, "auth": {"token": TOKEN}, **given.get("gateway", {})}
    (home / "config.json").write_text(json.dumps(given))
    loaded = config.load({"MOONGATE_HOME": str(home), "TZ": "UTC", **(store.env if store is not None else {})})
    listener = port.bind_port(loaded.gateway.host, loaded.gateway.port)
    owner = Owner(instance, identity.own_identity())
    env = environ if environ is not None else {"PATH": "/usr/bin:/bin", "HOME": str(home)}
    async with app.open_gateway(
        loaded, check_settings(loaded, env), owner, control=ALONE, environ=env, clock=clock
    ) as context:
        server = ApiServer(context)
        await server.start_serving(listener)
        await context.engine.start_leading()
        bound = listener.getsockname()[1]
        headers = {"Authorization": f"Bearer {TOKEN}"} if loaded.gateway.auth.mode == "token" else {}
        async with aiohttp.ClientSession(f"http://127.0.0.1:{bound}", headers=headers) as client:
            try:
                yield Serving(context, client, bound)
            finally:
                if not grace:
                    await client.close()  # else the server waits a moment for who keeps a connection
                listener.close()
                await server.close(grace, context.engine.drain_runs, handed_over=False)
