"""What a model is given of a conversation: as much of its end as fits, with room for the answer."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from gateway.backends.openai.options import Options
from gateway.backends.openai.refusal import PromptTooLong
from gateway.domain.ports.backend import Turn
from gateway.domain.session import Message
from gateway.domain.transcript import estimate_message_tokens, select_last_turns

#: tokens that are kept free for the answer, at most, if the agent has no `max_tokens`
DEFAULT_ANSWER_TOKENS = 4096
#: seconds for which a reduced budget is kept, and how many are kept
REDUCED_BUDGET_SECONDS, MAX_REDUCED_BUDGETS = 3600.0, 256


class Context(NamedTuple):
    """The messages of a request."""

    messages: list[dict[str, str]]
    #: estimated tokens of the messages
    tokens: int
    #: number of older turns that did not fit
    left_out: int


def build_context(turn: Turn, history: Sequence[Message], budget: int) -> Context:
    """Return the system prompt, the last turns that fit into the budget of tokens, and the current input.

    The system prompt and the input are always there. Adjacent messages of one role are joined, because a failed turn
    has no answer, and many models need alternating roles.
    """
    system, given = turn.agent.system_prompt, turn.input
    fixed = estimate_message_tokens(system or "") + estimate_message_tokens(given)
    kept = select_last_turns(history, budget - fixed)
    talk = [*((message.role.value, message.content) for message in kept.messages), ("user", given)]
    joined = [
        {"role": role, "content": "\n\n".join(content for _, content in group)}
        for role, group in groupby(talk, key=lambda message: message[0])
    ]
    first = [{"role": "system", "content": system}] if system else []
    return Context([*first, *joined], fixed + kept.tokens, kept.left_out)


def compute_budget(window: int, max_tokens: int | None) -> int:
    """Return the tokens that messages may have in a window, after the room for the answer.

    Args:
        max_tokens: the limit of the answer, if the agent has one. At most half of the window is kept free for it.
    """
    room = min(DEFAULT_ANSWER_TOKENS, window // 4) if max_tokens is None else min(max_tokens, window // 2)
    return window - room


def compute_smaller_budget(sent: Context, error: PromptTooLong, max_tokens: int | None) -> int:
    """Return the budget for a second try after a server refused a context as too long.

    It follows the limit that the server names. If our estimate was lower than the server's count, the budget is
    smaller by the same factor. A server that names no limit gets a quarter.
    """
    if error.limit is None:
        return sent.tokens // 4
    budget = compute_budget(error.limit, max_tokens)
    counted = error.prompt_tokens or (2 * error.limit if sent.tokens <= error.limit else sent.tokens)
    if counted > sent.tokens:
        budget = budget * sent.tokens // counted
    return min(budget * 9 // 10, sent.tokens - 1)


class ContextBudgets:
    """The tokens that messages may have, by server and model: what the agent says, or less where that was refused.

    A smaller budget is forgotten after a while: the server may have been given a larger window.
    """

    def __init__(self) -> None:
        #: each budget, and until when it counts
        self._reduced: dict[tuple[str, str | None], tuple[int, float]] = {}

    def find_budget(self, turn: Turn) -> int:
        """Return the budget of a turn."""
        options: Options = turn.agent.options
        wanted = compute_budget(options.context_tokens, options.max_tokens)
        reduced, until = self._reduced.get(_model_of(turn), (wanted, math.inf))
        return min(wanted, reduced) if asyncio.get_running_loop().time() < until else wanted

    def reduce_budget(self, turn: Turn, sent: Context, error: PromptTooLong) -> int:
        """Return a smaller budget after a refusal, and keep it for the next turns with this model."""
        budget = compute_smaller_budget(sent, error, turn.agent.options.max_tokens)
        model = _model_of(turn)
        self._reduced.pop(model, None)
        if len(self._reduced) >= MAX_REDUCED_BUDGETS:
            del self._reduced[next(iter(self._reduced))]
        self._reduced[model] = budget, asyncio.get_running_loop().time() + REDUCED_BUDGET_SECONDS
        return budget


def _model_of(turn: Turn) -> tuple[str, str | None]:
    return turn.agent.options.base_url, turn.model or turn.agent.model
