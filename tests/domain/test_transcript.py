"""The turns of a transcript that fit into a budget of tokens."""

from __future__ import annotations

import pytest

from gateway.domain.transcript import estimate_tokens, select_last_turns
from tests.support.turns import exchange


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("a" * 400, 100),
        ("汉" * 100, 100),
        ("日本語テキスト", 7),
        ("한국어", 3),
        ("Привет, мир!", 5),
        ("हिन्दी", 6),
        ("😀" * 10, 20),
        ("abcd汉é\ud800", 3),
    ],
)
def test_tokens_are_estimated_by_script(text: str, tokens: int) -> None:
    assert abs(estimate_tokens(text) - tokens) <= max(1, tokens // 20)


def test_the_last_turns_that_fit_are_selected() -> None:
    history = [said for n in range(5) for said in exchange(f"{n}" * 40, "b" * 40, f"r{n}")]

    kept = select_last_turns(history, 60)

    assert [message.run for message in kept.messages] == ["r3", "r3", "r4", "r4"]
    assert (kept.tokens, kept.left_out) == (56, 3)
