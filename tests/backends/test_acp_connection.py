"""The connection to an ACP agent, whatever the agent sends: scripted agents."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gateway.backends.acp import transport
from gateway.domain.agent import PermissionPolicy
from gateway.domain.permission import Answer, PermissionQuestion
from gateway.errors import AgentError
from tests.support.acp import Rig, text
from tests.support.people import People


class Groups(People):
    """People who answer four requests together, and count how many wait."""

    def __init__(self) -> None:
        super().__init__(says=Answer.ALLOW)
        self.barrier = asyncio.Barrier(4)
        self.waiting = self.most = 0

    async def ask(self, wanted: PermissionQuestion) -> Answer:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        await self.barrier.wait()
        self.waiting -= 1
        return await super().ask(wanted)


async def test_an_agent_with_many_requests_has_to_wait_for_the_answers(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_UNANSWERED_REQUESTS", 4)
    rig.but(permissions=PermissionPolicy.ASK)
    rig.people = people = Groups()

    assert text(await rig.ask("[[beg 40]]")) == "begged"

    assert (len(people.asked), people.most) == (40, 4)


@pytest.mark.parametrize(
    "error",
    ["no money", {"code": "ECONNRESET", "message": "no money"}, {"message": "no money"}],
    ids=["a text", "a code that is a text", "no code"],
)
async def test_an_error_in_another_form_than_the_protocols_is_the_error_of_the_turn(rig: Rig, error: Any) -> None:
    with pytest.raises(AgentError, match="the agent refused: no money"):
        await rig.ask(f"[[answer {json.dumps({'error': error})}]]")


async def test_an_answer_to_nothing_is_passed_over(rig: Rig) -> None:
    stray = '{"jsonrpc": "2.0", "id": [1], "result": {}}'

    assert text(await rig.ask(f"[[print {stray} ]]")) == "printed"
