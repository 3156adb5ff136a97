"""The words of model servers, protocols and programs for the end of an answer."""

from __future__ import annotations

import re

from gateway.domain.run import FinishReason

#: the words for each reason, in lower case and with `_` between their parts
FINISH_WORDS = {
    FinishReason.STOP: ("stop", "stop_sequence", "end_turn", "eos", "eos_token", "complete", "completed", "success"),
    FinishReason.LENGTH: (
        "length",
        "max_tokens",
        "max_output_tokens",
        "max_turns",
        "max_turn_requests",
        "max_steps",
        "model_length",
        "model_context_window_exceeded",
        "error_limit",
        "error_max_turns",
    ),
    FinishReason.CONTENT_FILTER: (
        "content_filter",
        "content_filtered",
        "safety",
        "recitation",
        "blocklist",
        "prohibited_content",
        "sensitive",
        "refusal",
        "error_toxic",
        "guardrail_intervened",
    ),
}
_REASON_BY_WORD = {word: reason for reason, words in FINISH_WORDS.items() for word in words}


def normalize_finish_word(said: object) -> str:
    """Return a word for the end of an answer as the table has it; empty if it is no text."""
    # Google adds its own word: `content_filter: SAFETY`.
    found = re.match(r"[a-z_]+", said.lower().replace("-", "_")) if isinstance(said, str) else None
    return found[0] if found else ""


def find_finish_reason(said: object) -> FinishReason | None:
    """Return the reason that a word means, or None if the word is not known."""
    return _REASON_BY_WORD.get(normalize_finish_word(said))
