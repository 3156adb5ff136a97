"""The models that the real ACP agents offer, and what their model's server is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.real_acp import REAL, staged
from tests.support.turns import listen, turn

CHOSEN = {
    # the agent: the model of the task, the model that the server is asked for, a model that it certainly does not take
    "claude": ("haiku", "claude-haiku-5-5", "gpt-5"),
    "codex": ("gpt-6-sol[low]", "gpt-6-sol", None),
    "codex-zed": ("gpt-5.4-mini", "gpt-5.4-mini", None),
    "gemini": ("gemini-2.5-pro", "gemini-2.5-pro", None),
    "qwen": ("scripted", "scripted", "scripted-c"),
    "opencode": ("scripted/scripted-b", "scripted-b", "scripted/scripted-c"),
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.agents(REAL[name].program)) for name in CHOSEN])
async def test_a_model_is_offered_and_chosen(tmp_path: Path, name: str) -> None:
    wanted, asked, wrong = CHOSEN[name]
    async with staged(REAL[name], tmp_path) as stage:
        await listen(stage.backend, turn(stage.agent, "hello", workspace=stage.workspace, model=wanted))
        offer = stage.backend.find_offer(stage.agent)

    assert offer is not None
    assert wanted in {word for model in offer.models or () for word in (model.id, model.name)}
    told = [request["path"] if name == "gemini" else request["body"]["model"] for request in stage.model.requests]
    assert any(asked in model for model in told)
    assert wrong is None or not offer.takes_model(wrong)
