"""Failures of the model under the real ACP agents: told at once, ended in time, and no memory lost in silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway.agent_setup.entries import parse_entry
from gateway.backends import BackendResources
from gateway.backends.acp.backend import AcpBackend
from gateway.domain.agent import Agent
from gateway.domain.event import Log, Notice
from gateway.errors import AgentError
from gateway.process.child import Children
from harness.scripted_anthropic import serve_anthropic
from harness.scripted_gemini import serve_gemini
from harness.scripted_model import serve_model
from harness.waiting import until
from tests.support import claude, codex, gemini, installed, opencode
from tests.support.ledger import MemoryLedger
from tests.support.turns import Heard, exchange, listen, turn

#: seconds for a real agent to start, and for its model to fail three times
PATIENCE = 90.0


class Real(NamedTuple):
    """A real agent, and the server of its scripted model."""

    program: str
    serve: Callable[[], AbstractAsyncContextManager[Any]]
    entry: Callable[[str, Path], dict[str, Any]]


def _codex(name: str) -> Real:
    def entry(url: str, home: Path) -> dict[str, Any]:
        agent = codex.agent(url, home, name)
        config = home / "config.toml"  # as codex sets it itself
        config.write_text(config.read_text().replace("stream_max_retries = 0", "stream_max_retries = 5"))
        return agent

    return Real(name, serve_model, entry)


def _opencode(url: str, home: Path) -> dict[str, Any]:
    opencode.home(home, url)
    command, env = [installed.program("opencode"), "acp"], opencode.environment(home)
    return {"id": "main", "backend": "acp", "preset": "opencode-acp", "command": command, "env": env}


CLAUDE = Real("claude-agent-acp", serve_anthropic, claude.agent)
CODEX, CODEX_ZED = _codex("codex-acp"), _codex("codex-acp-zed")
GEMINI = Real("gemini", serve_gemini, gemini.agent)
OPENCODE = Real("opencode", serve_model, _opencode)


class Rig:
    """A real agent in an ACP backend."""

    def __init__(self, agent: Agent, directory: Path) -> None:
        self._agent = agent
        self._directory = directory
        self.heard = Heard()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AcpBackend]:
        children = Children(MemoryLedger(), {"PATH": "/usr/bin:/bin"})
        resources = BackendResources(children=children, environ={}, directory=self._directory)
        async with AcpBackend(resources) as backend:
            yield backend

    async def ask(self, backend: AcpBackend, text: str, **about: Any) -> Heard:
        self.heard = Heard()
        asked = turn(self._agent, text, workspace=self._directory, **about)
        async with asyncio.timeout(PATIENCE):
            return await listen(backend, asked, self.heard)

    @property
    def tries(self) -> list[str]:
        """What was told of failed tries."""
        return [log.message for log in self.heard.of(Log) if "(failed try " in log.message]


@asynccontextmanager
async def rig(real: Real, directory: Path) -> AsyncIterator[Rig]:
    workspace = directory / "work"
    workspace.mkdir()
    async with real.serve() as model:
        yield Rig(parse_entry("agents", real.entry(model.base_url, directory / "home")), workspace)


@pytest.mark.parametrize(
    ("real", "status"),
    [
        pytest.param(real, status, marks=pytest.mark.agents(real.program), id=real.program)
        for real, status in ((CLAUDE, 429), (CODEX, 503), (CODEX_ZED, 503), (GEMINI, 503), (OPENCODE, 429))
    ],
)
async def test_a_failed_try_is_told_while_the_agent_tries_again(real: Real, status: int, tmp_path: Path) -> None:
    async with rig(real, tmp_path) as each, each.open() as backend:
        asking = asyncio.ensure_future(each.ask(backend, f"[[error {status}]]"))
        try:
            await until(lambda: each.tries or asking.done(), "a failed try is told", PATIENCE)
            assert not asking.done()
        finally:
            asking.cancel()
            await asyncio.wait({asking})

    assert each.tries[0].startswith(f"the model's server answers {status}: ")
    assert each.tries[0].endswith(" (failed try 1)")


@pytest.mark.parametrize(
    "real",
    [
        pytest.param(real, marks=pytest.mark.agents(real.program), id=real.program)
        for real in (CLAUDE, CODEX, CODEX_ZED, GEMINI, OPENCODE)
    ],
)
async def test_a_refused_credential_ends_the_turn_with_the_way_to_sign_in(real: Real, tmp_path: Path) -> None:
    """claude-agent-acp alone would try for three minutes."""
    async with rig(real, tmp_path) as each, each.open() as backend:
        with pytest.raises(AgentError, match="wants its user to sign in") as raised:
            await each.ask(backend, "[[error 401]]")

    assert raised.value.remedy is not None
    assert "Sign in" in raised.value.remedy


@pytest.mark.agents("codex-acp")
async def test_an_error_that_codex_writes_as_its_answer_is_an_error(tmp_path: Path) -> None:
    async with rig(CODEX, tmp_path) as each, each.open() as backend:
        with pytest.raises(AgentError, match="limits the requests: exceeded retry limit, last status: 429"):
            await each.ask(backend, "[[error 429]]")


@pytest.mark.agents("gemini")
async def test_what_gemini_forgets_is_told_and_handed_over(tmp_path: Path) -> None:
    """It finds no conversation that began in the same minute. At the turn of a minute it does, and nothing is told."""
    async with rig(GEMINI, tmp_path) as each:
        async with each.open() as backend:
            first = await each.ask(backend, "I am Ada")
        async with each.open() as backend:
            again = await each.ask(
                backend,
                "[[recall]]",
                session_ref=first.session_ref,
                history=exchange("I am Ada", first.answer, "r1"),
            )

    if Notice.SESSION_RESTARTED in [log.notice for log in again.of(Log)]:
        assert "User: I am Ada" in again.answer
    else:
        assert (again.answer, again.session_ref) == ("I am Ada", first.session_ref)


@pytest.mark.agents("gemini")
async def test_gemini_remembers_after_its_model_has_failed(tmp_path: Path) -> None:
    """Its process is kept: another one would not find a conversation that began in the same minute."""
    async with rig(GEMINI, tmp_path) as each, each.open() as backend:
        first = await each.ask(backend, "I am Ada")
        with pytest.raises(AgentError):
            await each.ask(backend, "[[midfail]]", session_ref=first.session_ref)
        again = await each.ask(backend, "[[recall]]", session_ref=first.session_ref)

    assert (again.answer, again.session_ref) == ("I am Ada", first.session_ref)
    assert [log for log in again.of(Log) if log.notice is not None] == [], "what it wrote of the failure may come late"
