"""A gateway that looks as if a small team used it for some days: for pictures and tests of the dashboard.

Its agents are scripted. Its clock is behind by as much as a run was longer ago; while an agent works, the clock goes
on without anybody waiting.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
from aiohttp import web

import gateway
from gateway.backends import BackendResources, acp, command, openai
from gateway.domain import times
from gateway.domain.agent import Agent
from gateway.domain.event import Usage
from gateway.domain.generation import GenerationRecord
from gateway.domain.permission import PermissionQuestion
from gateway.domain.ports.backend import Abilities, AgentHealth, Turn, TurnOutput
from gateway.domain.sample import Sample
from gateway.engine.execution import recorder
from gateway.engine.execution.owner import Owner
from gateway.errors import AgentError
from gateway.process import identity
from harness.waiting import PATIENCE, until
from tests.support.inprocess import Serving, serving
from tests.support.showcase_texts import Asked, build_history, build_present, build_routine

SETTINGS: dict[str, Any] = {
    "agents": {
        "list": [
            {"id": "atlas", "backend": "acp", "command": ["claude-agent-acp"], "model": "sonnet",
             "permissions": "allow", "budget": {"runs": 60, "tokens": 400_000, "cost": 5}},
            {"id": "scout", "backend": "openai", "base_url": "http://127.0.0.1:11434/v1", "model": "qwen3:14b"},
            {"id": "keeper", "backend": "acp", "command": ["opencode", "acp"], "permissions": "ask",
             "permission_timeout": 86_400, "max_concurrent": 3, "budget": {"runs": 40}},
            {"id": "ledger", "backend": "command", "command": ["ledger-agent"], "budget": {"tokens": 60_000}},
        ],
    },
    "webhooks": {"schedule": [0.0, 3600.0, 7200.0]},
    "inbound": {"github": {"secret": "a-secret-of-the-showcase-of-some-length"}},
    "cron": {"timezone": "UTC"},
}  # fmt: skip
#: seconds in which an event is usually written: its time is that of its write
_WRITE_SECONDS = 0.02
#: hours since the model server of `scout` went away
SCOUT_IS_DOWN_HOURS = 7
HOUR = 3_600_000
MINUTE = 60_000


class PastClock:
    """Tells a time before now, which approaches it as work is done."""

    def __init__(self) -> None:
        self._behind = 0

    def __call__(self) -> int:
        return times.wall_clock() - self._behind

    def go_back_to(self, hours: float) -> None:
        """Be so many hours before now, if that is later than what was told last: time never goes back."""
        wanted = round(hours * HOUR)
        self._behind = wanted if self._behind == 0 else min(self._behind, wanted)

    def work(self, seconds: float) -> None:
        self._behind = max(0, self._behind - round(seconds * 1000))


class Actor:
    """Does what the script says for a prompt."""

    def __init__(self, clock: PastClock, scripts: dict[str, Asked], waiting: set[str]) -> None:
        """Args:
        waiting: gets each prompt at which it asks, or works and works.
        """
        self._clock = clock
        self._scripts = scripts
        self._waiting = waiting

    async def __aenter__(self) -> Actor:
        return self

    async def __aexit__(self, *exc: object) -> None: ...

    async def check_health(self, agent: Agent) -> AgentHealth:
        if agent.backend == "openai":
            return AgentHealth(ok=False, detail="http://127.0.0.1:11434/v1 does not answer. Start the model server.")
        return AgentHealth(ok=True, version="1.4.2", detail=f"/usr/local/bin/{agent.id}")

    async def stream_turn(self, turn: Turn) -> AsyncGenerator[TurnOutput, None]:
        if turn.agent.backend == "openai" and self._clock() > times.wall_clock() - SCOUT_IS_DOWN_HOURS * HOUR:
            raise AgentError("cannot reach http://127.0.0.1:11434/v1: connection refused. Start the model server.")
        for step in self._scripts[turn.input.strip()].steps:
            self._clock.work(step.seconds)
            if step.does is None or isinstance(step.does, PermissionQuestion):
                self._waiting.add(turn.input.strip())
            if step.does is None:
                await asyncio.Event().wait()
            elif isinstance(step.does, AgentError):
                yield Usage(input=900, output=40, cost=0.0052)
                raise step.does
            elif isinstance(step.does, PermissionQuestion):
                await turn.ask_permission(step.does)
            else:
                yield step.does
                await asyncio.sleep(_WRITE_SECONDS)


@asynccontextmanager
async def open_showcase(home: Path) -> AsyncIterator[Serving]:
    """Serve a gateway that has work behind it, and work to do."""
    clock = PastClock()
    history, present = build_history(), build_present()
    waiting: set[str] = set()
    scripts = {one.prompt: one for one in [*history, *present, *build_routine()]}

    def open_actor(resources: BackendResources) -> Actor:
        return Actor(clock, scripts, waiting)

    def describe(agent: Agent) -> Abilities:
        return Abilities(tells_tokens=True, tells_cost=agent.backend == "acp")

    with ExitStack() as patched:
        patched.enter_context(mock.patch.object(recorder, "GATHER_SECONDS", 0))
        for kind in (acp, command, openai):
            scripted = msgspec.structs.replace(kind.BACKEND, open=open_actor, describe=describe)
            patched.enter_context(mock.patch.object(kind, "BACKEND", scripted))
        clock.go_back_to(50)
        async with _receiving() as receiver, serving(home, SETTINGS, clock=clock) as served:
            await _Filler(served, clock, receiver, waiting).fill(history, present)
            yield served


#: hours before now at which a serving process took over, and why the one before it ended
_RESTARTS = ((49.0, ""), (36.4, "restart"), (20.9, "crashed"), (3.0, "restart"))


class _Filler:
    def __init__(self, served: Serving, clock: PastClock, receiver: str, waiting: set[str]) -> None:
        self._served = served
        self._clock = clock
        self._receiver = receiver
        self._waiting = waiting

    async def fill(self, history: list[Asked], present: list[Asked]) -> None:
        await self._make_projects()
        jobs = await self._make_schedules()
        todo: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            *((one.ago, partial(self._finish, one)) for one in history),
            *((41 - 1.3 * n, partial(self._trigger, jobs[n % len(jobs)])) for n in range(31)),
            *((ago, partial(self._add_generation, n + 1, why)) for n, (ago, why) in enumerate(_RESTARTS)),
        ]
        for ago, act in sorted(todo, key=lambda row: -row[0]):
            self._clock.go_back_to(ago)
            await act()
        for asked in present:
            self._clock.go_back_to(asked.ago)
            await self._submit(asked)
            if asked.steps:
                await until(lambda prompt=asked.prompt: prompt in self._waiting, "the agent is at work")  # type: ignore[misc]
        self._clock.go_back_to(0)
        for job in jobs:  # the scheduler has not seen that time went on
            for enabled in (False, True):
                await self._post(f"/api/cron/{job}/toggle", {"enabled": enabled})
        await self._post("/api/tokens", {"name": "phone", "scope": "read"})
        await self._post("/api/tokens", {"name": "team-board", "scope": "write"})
        await self._add_trend()

    async def _make_projects(self) -> None:
        for slug, name, note in (
            ("exports", "Faster exports", "Customers with more than 50,000 rows wait too long."),
            ("release", "Release 2.0", "Candidate on Thursday; Ada decides."),
            ("archive", "Move the archive", "212 GB to the new disk, with four minutes of downtime."),
        ):
            await self._post("/api/projects", {"slug": slug, "name": name, "note": note})

    async def _make_schedules(self) -> list[str]:
        made = []
        for name, schedule, zone, prompt in zip(
            ("morning report", "backup of the ledger", "support queue"),
            ("30 8 * * mon-fri", "0 3 * * *", "every 90m"),
            ("Europe/Berlin", "UTC", "Asia/Shanghai"),
            build_routine(),
            strict=True,
        ):
            body = {
                "name": name,
                "schedule": schedule,
                "timezone": zone,
                "prompt": prompt.prompt,
                "agentId": prompt.agent,
            }
            made.append((await self._post("/api/cron/create", {**body, "misfire": "skip"}))["job"]["id"])
        return made

    async def _submit(self, asked: Asked) -> str:
        body: dict[str, Any] = {"input": asked.prompt, "agentId": asked.agent, "labels": asked.labels}
        body |= {"session": asked.session, "held": asked.held, "priority": asked.priority}
        if asked.webhook:
            body["webhook"] = f"{self._receiver}/{asked.webhook}"
        return str((await self._post("/api/tasks", body))["task"]["id"])

    async def _finish(self, asked: Asked) -> None:
        run = await self._submit(asked)
        assert await self._served.engine.runs.wait_for_run(run, PATIENCE)
        while asked.webhook and not (await self._get(f"/api/deliveries?task={run}"))["deliveries"][0]["attempt"]:
            await asyncio.sleep(_WRITE_SECONDS)

    async def _trigger(self, job: str) -> None:
        fired = await self._post("/api/cron/trigger", {"job_id": job})
        assert await self._served.engine.runs.wait_for_run(fired["run_id"], PATIENCE)

    async def _get(self, path: str) -> Any:
        async with self._served.client.get(path) as answer:
            assert answer.status == 200, f"{path}: {await answer.text()}"
            return await answer.json()

    async def _post(self, path: str, body: Any) -> Any:
        async with self._served.client.post(path, json=body) as answer:
            assert answer.status < 300, f"{path}: {await answer.text()}"
            return await answer.json()

    async def _add_generation(self, number: int, why_before: str) -> None:
        """Store that a serving process takes over, and why the one before it ended."""
        store, now = self._served.engine._store, self._clock()
        if number > 1:
            await store.generations.close(self._name_owner(number - 1), number - 1, why_before)
        owner = self._name_owner(number)
        record = GenerationRecord(
            owner=owner, generation=number, version=gateway.__version__, started=now - 900, ready=now
        )
        await store.generations.add(record)

    def _name_owner(self, number: int) -> str:
        """Return a process that is gone; the last one is this process."""
        own = identity.own_identity()
        return str(
            Owner("showcase", own if number == len(_RESTARTS) else own._replace(pid=40_000 + number, boot="before"))
        )

    async def _add_trend(self) -> None:
        """Store samples of a day."""
        store, now = self._served.engine._store, times.wall_clock()
        samples = []
        for minutes in range(24 * 60, 0, -1):
            day = math.sin(minutes / 229) ** 2
            wave = day * (1 + 0.3 * math.sin(minutes / 11))
            samples.append(
                Sample(
                    at=now - minutes * MINUTE,
                    running=round(6 * wave),
                    queued=max(0, round(9 * wave - 4)),
                    ended=round(5 * wave),
                    failed=int(minutes % 171 < 3),
                    accept_ms=1.1 + wave + (minutes % 37) / 40,
                    memory_bytes=round(71e6 + 9e6 * day + (minutes % 50) * 4e4),
                    cpu_percent=1.5 + 14 * wave,
                    loop_lag_ms=1 + 2 * wave + 18 * (minutes % 233 < 3),
                    database_bytes=round(41e6 + (1440 - minutes) * 9e3),
                )
            )
        await asyncio.gather(*map(store.samples.add, samples))


@asynccontextmanager
async def _receiving() -> AsyncIterator[str]:
    """Serve a receiver of webhooks: `/ok` takes them, `/gone` wants none, `/busy` never has time."""

    async def take(request: web.Request) -> web.Response:
        return web.Response(status={"ok": 200, "gone": 410}.get(request.match_info["kind"], 503))

    application = web.Application()
    application.router.add_post("/{kind}", take)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
