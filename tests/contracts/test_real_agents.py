"""The agents that people have keep the contract, and the page for users says what they cannot do.

Those that a push leaves out are made like another one: `tests/acceptance/test_real_agents.py` has all of them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contracts import real_agents
from tests.contracts.agents import AgentContract
from tests.support.thorough import leave_out_on_push


@pytest.mark.agents(*real_agents.Opencode.needs)
class TestOpencode(AgentContract):
    subject = real_agents.Opencode()


@leave_out_on_push
@pytest.mark.agents(*real_agents.OpencodeOverAcp.needs)
class TestOpencodeOverAcp(AgentContract):
    subject = real_agents.OpencodeOverAcp()


@pytest.mark.agents(*real_agents.Claude.needs)
class TestClaude(AgentContract):
    subject = real_agents.Claude()


@pytest.mark.agents(*real_agents.Codex.needs)
class TestCodex(AgentContract):
    subject = real_agents.Codex()


@leave_out_on_push
@pytest.mark.agents(*real_agents.CodexZed.needs)
class TestCodexZed(AgentContract):
    subject = real_agents.CodexZed()


@pytest.mark.agents(*real_agents.Gemini.needs)
class TestGemini(AgentContract):
    subject = real_agents.Gemini()


@leave_out_on_push
@pytest.mark.agents(*real_agents.Qwen.needs)
class TestQwen(AgentContract):
    subject = real_agents.Qwen()


def test_the_page_of_agents_says_what_these_tests_found() -> None:
    page = (Path(__file__).parents[2] / "docs" / "agents.md").read_text().splitlines()

    wanted = real_agents.table()
    begins = page.index(wanted[0])
    assert page[begins : begins + len(wanted)] == wanted
