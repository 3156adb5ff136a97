"""The turns of a transcript that fit into a budget of tokens, and the recap of a lost conversation."""

from __future__ import annotations

import msgspec
import pytest

from gateway.domain.agent import Agent
from gateway.domain.event import Notice
from gateway.domain.session import Role
from gateway.domain.transcript import (
    MAX_RECAP_MESSAGE_CHARACTERS,
    estimate_tokens,
    select_last_turns,
    write_recap,
)
from tests.support.attachments import attach
from tests.support.turns import exchange, message, turn


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


def test_a_recap_tells_the_end_of_the_transcript_and_then_the_prompt() -> None:
    history = [said for n in range(5) for said in exchange(f"q{n} " * 20, f"a{n}", f"r{n}")]

    recap = write_recap(history, "and now?", 60)

    assert "q2" not in recap.prompt
    assert recap.prompt.index("User: q3") < recap.prompt.index("Assistant: a4") < recap.prompt.index("and now?")
    assert recap.prompt.endswith("and now?")
    assert (recap.turns, recap.left_out) == (2, 3)


def test_a_very_long_message_is_shortened_in_a_recap_and_not_left_out() -> None:
    history = exchange("begin " + "x" * 100_000, "y" * 100_000 + " end", "r1")

    recap = write_recap(history, "and now?", 16_000)

    assert "begin" in recap.prompt
    assert "end" in recap.prompt
    assert len(recap.prompt) < 2 * MAX_RECAP_MESSAGE_CHARACTERS + 500


async def test_a_conversation_restarts_only_where_there_was_one() -> None:
    agent = Agent(id="main", backend="any")
    first = turn(agent, "hello")
    failed_before = turn(agent, "hello", history=[message(Role.USER, "never answered")])
    lost_at_once = turn(agent, "hello", session_ref="s-1")

    assert await first.restart_conversation("gone") is None
    assert await failed_before.restart_conversation("gone") is None
    restarted = await lost_at_once.restart_conversation("it is gone.")
    assert restarted is not None
    assert (restarted.turn.input, restarted.turn.session_ref) == ("hello", None)
    assert restarted.remark.notice is Notice.SESSION_RESTARTED
    assert restarted.remark.message.startswith("it is gone: the agent begins a new conversation, and there is no")


def test_a_message_with_a_file_and_no_words_is_told_and_counted() -> None:
    picture = attach("cat.png", "image/png", b"x" * 70).file
    history = [msgspec.structs.replace(message(Role.USER, "", "r1"), files=(picture,)), message(Role.USER, "", "r2")]

    kept = select_last_turns(history, 1000)
    recap = write_recap(history, "and now?", 1000)

    assert [one.run for one in kept.messages] == ["r1"], "a message with nothing in it is left out"
    assert kept.tokens > estimate_tokens("[attached: cat.png]")
    assert "User: [attached: cat.png (image/png, 70 bytes)]\n" in recap.prompt
    assert recap.prompt.count("cat.png") == 1


def test_the_names_of_files_stay_in_a_recap_that_shortens_their_message() -> None:
    picture = attach("cat.png", "image/png", b"x").file
    long = msgspec.structs.replace(message(Role.USER, "x" * 100_000, "r1"), files=(picture,))

    assert "cat.png" in write_recap([long], "and now?", 16_000).prompt


def test_a_caller_may_count_the_tokens_of_messages_itself() -> None:
    history = [said for n in range(5) for said in exchange("a", "b", f"r{n}")]

    assert len(select_last_turns(history, 60, lambda _: 10).messages) == 6
