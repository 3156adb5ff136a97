"""Reads the tokens that an agent says it has used. Each agent tells them in its own way, and some not at all."""

from __future__ import annotations

from typing import Any

from acp.schema import PromptResponse
from acp.schema import Usage as ToldUsage

from gateway.domain.event import Usage

#: more tokens than any turn can use; a larger number is a mistake
_MAX_TOKENS = 10**12


def read_answer_usage(answer: PromptResponse) -> Usage | None:
    """Return what the answer to a prompt tells about the whole turn; None if it tells nothing.

    The protocol has `usage`. Gemini CLI tells `_meta.quota.token_count` instead.
    """
    if answer.usage is not None:
        return _read_protocol_usage(answer.usage)
    told = _get(_get(answer.field_meta, "quota"), "token_count")
    return _make_usage(input=_get(told, "input_tokens"), output=_get(told, "output_tokens"))


def read_step_usage(meta: dict[str, Any] | None) -> Usage | None:
    """Return what `_meta.usage` of a piece of text tells about one request to the model (Qwen Code)."""
    told = _get(meta, "usage")
    return _make_usage(
        input=_get(told, "inputTokens"), output=_get(told, "outputTokens"), cached=_get(told, "cachedReadTokens")
    )


def _read_protocol_usage(told: ToldUsage) -> Usage | None:
    """Return the protocol's usage as ours: the input with what came from caches, the output with the reasoning.

    The protocol does not say what includes what; the total shows it.
    """
    caches = (told.cached_read_tokens or 0) + (told.cached_write_tokens or 0)
    thoughts = told.thought_tokens or 0
    apart = told.total_tokens - told.input_tokens - told.output_tokens
    more_input = caches if apart in (caches, caches + thoughts) else 0
    more_output = thoughts if apart in (thoughts, caches + thoughts) else 0
    return _make_usage(
        input=told.input_tokens + more_input,
        output=told.output_tokens + more_output,
        cached=told.cached_read_tokens,
    )


def _make_usage(*, input: Any, output: Any, cached: Any = None) -> Usage | None:  # noqa: A002 the event's words
    """Return the usage; None if no number makes sense, or all are zero, which some agents tell of a cancelled turn."""
    given, made, known = (_read_count(told) for told in (input, output, cached))
    return Usage(input=given, output=made, cached=known) if given or made else None


def _read_count(told: Any) -> int:
    is_count = isinstance(told, int) and not isinstance(told, bool) and 0 <= told <= _MAX_TOKENS
    return told if is_count else 0


def _get(told: Any, name: str) -> Any:
    return told.get(name) if isinstance(told, dict) else None
