"""What a model is given of a conversation: as much of its end as fits, with room for the answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from gateway.backends.openai.files import NO_FILES, GivenFile, GivenFiles, join_texts
from gateway.backends.openai.inputs import ModelKey, make_model_key
from gateway.backends.openai.memory import Memory
from gateway.backends.openai.options import Options
from gateway.backends.openai.refusal import PromptTooLong
from gateway.domain.ports.backend import Turn
from gateway.domain.session import Message, Role
from gateway.domain.transcript import estimate_message_tokens, select_last_turns

#: tokens that are kept free for the answer, at most, if the agent has no `max_tokens`
DEFAULT_ANSWER_TOKENS = 4096

#: a message of the conversation: who says what, with which files in parts
_Said = tuple[Role, str, Sequence[GivenFile]]


class Context(NamedTuple):
    """The messages of a request."""

    messages: list[dict[str, Any]]
    #: estimated tokens of the messages
    tokens: int
    #: number of older turns that did not fit
    left_out: int
    #: the files in parts of the last message, and those of earlier ones
    new_files: Sequence[GivenFile] = ()
    old_files: Sequence[GivenFile] = ()


def build_context(turn: Turn, history: Sequence[Message], budget: int, files: GivenFiles = NO_FILES) -> Context:
    """Return the system prompt, the last turns that fit into the budget of tokens, and the current input.

    The system prompt and the input with its files are always there. Adjacent messages of one role are joined, because a
    failed turn has no answer, and many models need alternating roles.
    """
    system, given = turn.agent.system_prompt, join_texts(turn.input, files.new)
    new = [one for one in files.new if one.text is None]
    fixed = estimate_message_tokens(system or "") + estimate_message_tokens(given) + sum(one.tokens for one in new)
    kept = select_last_turns(history, budget - fixed, files.count_tokens)
    before = [(one.role, files.tell_message(one), files.pick_parts(one)) for one in kept.messages]
    said = _move_files_to_user([*before, (Role.USER, given, new)])
    joined = [
        {"role": role.value, "content": _make_content(list(group))}
        for role, group in groupby(said, key=lambda one: one[0])
    ]
    first = [{"role": "system", "content": system}] if system else []
    return Context(
        [*first, *joined], fixed + kept.tokens, kept.left_out, new, [one for *_, old in before for one in old]
    )


def _move_files_to_user(said: Iterable[_Said]) -> Iterator[_Said]:
    """Yield messages with the files that the model made in the user's next message: servers refuse them elsewhere."""
    made: list[GivenFile] = []
    for role, text, files in said:
        if role is Role.ASSISTANT:
            made += files
            yield role, text, ()
        else:
            yield role, text, [*made, *files]
            made = []


def _make_content(said: Sequence[_Said]) -> str | list[dict[str, Any]]:
    """Return the content of a message that joins several: a text, or parts if it has files."""
    text = "\n\n".join(filter(None, [text for _, text, _ in said]))
    parts = [file.make_part() for *_, files in said for file in files]
    if not parts:
        return text
    return [{"type": "text", "text": text}, *parts] if text else parts


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
    """The tokens that messages may have, by agent and model: what the agent says, or less where that was refused.

    A smaller budget is forgotten after a while: the server may have been given a larger window.
    """

    def __init__(self) -> None:
        self._reduced: Memory[ModelKey, int] = Memory()

    def find_budget(self, turn: Turn) -> int:
        """Return the budget of a turn."""
        options: Options = turn.agent.options
        wanted = compute_budget(options.context_tokens, options.max_tokens)
        reduced = self._reduced.find(make_model_key(turn.agent, turn.model))
        return wanted if reduced is None else min(wanted, reduced)

    def reduce_budget(self, turn: Turn, sent: Context, error: PromptTooLong) -> int:
        """Return a smaller budget after a refusal, and keep it for the next turns with this model."""
        budget = compute_smaller_budget(sent, error, turn.agent.options.max_tokens)
        self._reduced.keep(make_model_key(turn.agent, turn.model), budget)
        return budget
