"""What the real ACP agents tell of their tools, texts and tokens, with scripted models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.agent import PermissionPolicy
from gateway.domain.event import Text, Tool, ToolEnd, Usage
from harness.directives import count_tokens
from tests.support.real_acp import EACH, REAL, Real, staged
from tests.support.turns import Heard

#: the names by which the agents call their shells; the others tell only what a call does
SHELLS = {"claude": "Bash", "qwen": "run_shell_command", "opencode": "bash"}
#: names for the command in the input of a shell
_COMMANDS = ("command", "cmd")
#: an agent that does not tell what a command writes
SILENT = "gemini"


def name_of(real: Real) -> str:
    return next(name for name, one in REAL.items() if one.program == real.program)


def words(heard: Heard) -> str:
    return "".join(one.delta for one in heard.of(Text))


def chat_inputs(requests: list[Any]) -> list[int]:
    messages = [one["body"]["messages"] for one in requests if one["body"].get("tools")]
    return [sum(count_tokens(text_of(message.get("content"))) for message in each) for each in messages]


def text_of(given: Any) -> str:
    """Return the text that the scripted model counts: without what Qwen adds by itself."""
    texts = [part.get("text", "") for part in given] if isinstance(given, list) else [given or ""]
    return "".join(text for text in texts if not text.startswith("<system-reminder>"))


def claude_inputs(requests: list[Any]) -> list[int]:
    bodies = [one["body"] for one in requests if one["body"].get("tools")]
    return [count_tokens(json.dumps(body["messages"])) for body in bodies]


def gemini_inputs(requests: list[Any]) -> list[int]:
    bodies = [one["body"] for one in requests if one["path"].endswith(":streamGenerateContent")]
    return [count_tokens(json.dumps(body["contents"])) for body in bodies]


def codex_inputs(requests: list[Any]) -> list[int]:
    return [5 for one in requests if one["path"].endswith("/responses")]


#: the input tokens of each call, as the scripted model reports them; and how many of two calls the agent tells
INPUTS: dict[str, tuple[Callable[[list[Any]], list[int]], int]] = {
    "claude": (claude_inputs, 2),
    "codex": (codex_inputs, 2),
    "codex-zed": (codex_inputs, 0),
    "gemini": (gemini_inputs, 2),
    "qwen": (chat_inputs, 2),
    "opencode": (chat_inputs, 1),
}


@pytest.mark.parametrize("real", EACH)
async def test_a_turn_tells_its_tool_once_parts_its_texts_and_counts_its_tokens(tmp_path: Path, real: Real) -> None:
    name = name_of(real)
    find_inputs, count = INPUTS[name]
    async with staged(real, tmp_path, permissions=PermissionPolicy.ALLOW) as stage:
        shell, given = real.run(stage.workspace / "run")
        given = {key: f"echo out; {value}" if key in _COMMANDS else value for key, value in given.items()}
        heard = await stage.call((shell, given))
        inputs = find_inputs(stage.model.requests)[:2]  # Qwen makes more, of its own
    [tool], [ended] = heard.of(Tool), heard.of(ToolEnd)
    before, _, after = words(heard).partition("tool result: ")
    used = sum(heard.of(Usage), Usage())
    outputs = [count_tokens(json.dumps(given)), count_tokens(f"tool result: {after}")]

    assert tool.name == SHELLS.get(name, tool.name)
    assert next(given[key] for key in _COMMANDS if key in given) in f"{tool.name} {tool.title} {tool.args}"
    assert (ended.id, ended.name, ended.is_error) == (tool.id, tool.name, False)
    assert name == SILENT or "out" in ended.output
    assert before == ("I use a tool.\n\n" if name == "claude" else "")
    assert len(inputs) == 2
    assert used.input == sum(inputs[2 - count :])
    if find_inputs is codex_inputs:  # the scripted model counts the JSON around the words, too
        assert (used.output > sum(outputs)) is (count > 0)
    else:
        assert used.output == sum(outputs[2 - count :])
