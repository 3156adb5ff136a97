"""Failures of the model under the real ACP agents: told at once, ended in time, and no memory lost in silence.

The contract of the agents (`tests.contracts.agents`) has what is the same for all of them.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.event import Log, Notice
from gateway.errors import AgentError
from harness.waiting import PATIENCE, until
from tests.support.real_acp import REAL, Real, staged
from tests.support.turns import Heard, exchange


def _trying_again(real: Real) -> Real:
    """Return a Codex that tries again as often as it does by itself; other tests have it try once."""

    def entry(url: str, home: Path) -> dict[str, Any]:
        agent = real.entry(url, home)
        config = home / "config.toml"
        config.write_text(config.read_text().replace("stream_max_retries = 0", "stream_max_retries = 5"))
        return agent

    return real._replace(entry=entry)


CODEX, CODEX_ZED, GEMINI = _trying_again(REAL["codex"]), _trying_again(REAL["codex-zed"]), REAL["gemini"]
EACH_CODEX = [
    pytest.param(real, marks=pytest.mark.agents(real.program), id=real.program) for real in (CODEX, CODEX_ZED)
]


@pytest.mark.parametrize("real", EACH_CODEX)
async def test_a_failed_try_is_told_while_codex_tries_again(real: Real, tmp_path: Path) -> None:
    heard = Heard()

    def tries() -> list[str]:
        return [log for log in heard.logs if "(failed try " in log]

    async with staged(real, tmp_path) as stage:
        asking = asyncio.ensure_future(stage.ask("[[error 503]]", heard))
        try:
            await until(lambda: tries() or asking.done(), "a failed try is told")
            assert not asking.done()
        finally:
            asking.cancel()
            await asyncio.wait({asking})

    assert tries()[0].startswith("the model's server answers 503: ")
    assert tries()[0].endswith(" (failed try 1)")


@pytest.mark.parametrize("real", EACH_CODEX)
async def test_a_refused_credential_ends_the_turn_of_codex_with_the_way_to_sign_in(real: Real, tmp_path: Path) -> None:
    async with staged(real, tmp_path) as stage, asyncio.timeout(PATIENCE):
        with pytest.raises(AgentError, match="wants its user to sign in") as raised:
            await stage.ask("[[error 401]]")

    assert raised.value.remedy is not None
    assert "Sign in" in raised.value.remedy


@pytest.mark.agents("codex-acp")
async def test_an_error_that_codex_writes_as_its_answer_is_an_error(tmp_path: Path) -> None:
    async with staged(CODEX, tmp_path) as stage, asyncio.timeout(PATIENCE):
        with pytest.raises(AgentError, match="limits the requests: exceeded retry limit, last status: 429"):
            await stage.ask("[[error 429]]")


@pytest.mark.agents("gemini")
async def test_what_gemini_forgets_is_told_and_handed_over(tmp_path: Path) -> None:
    """It finds no conversation that began in the same minute. At the turn of a minute it does, and nothing is told."""
    async with staged(GEMINI, tmp_path) as stage:
        first = await stage.ask("I am Ada")
    history = exchange("I am Ada", first.answer, "r1")
    async with staged(GEMINI, tmp_path) as stage:
        again = await stage.ask("[[recall]]", session_ref=first.session_ref, history=history)

    if Notice.SESSION_RESTARTED in [log.notice for log in again.of(Log)]:
        assert "User: I am Ada" in again.answer
    else:
        assert (again.answer, again.session_ref) == ("I am Ada", first.session_ref)


@pytest.mark.agents("gemini")
async def test_gemini_remembers_after_its_model_has_failed(tmp_path: Path) -> None:
    """Its process is kept: another one would not find a conversation that began in the same minute."""
    async with staged(GEMINI, tmp_path) as stage:
        first = await stage.ask("I am Ada")
        with pytest.raises(AgentError):
            await stage.ask("[[midfail]]", session_ref=first.session_ref)
        again = await stage.ask("[[recall]]", session_ref=first.session_ref)

    assert (again.answer, again.session_ref) == ("I am Ada", first.session_ref)
    assert [log for log in again.of(Log) if log.notice is not None] == [], "what it wrote of the failure may come late"
