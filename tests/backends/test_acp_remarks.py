"""What an agent tells next to its answer: at once in the run's log, and when it ends the turn."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from gateway.backends.acp.presets import KNOWN_AGENTS, AgentPreset
from gateway.domain.event import Log
from gateway.domain.ports.backend import TurnOutput
from gateway.errors import AgentError
from harness.waiting import until
from tests.support.acp import Rig, after, of, text


def messages(said: list[TurnOutput]) -> list[str]:
    return [log.message for log in of(said, Log)]


async def test_what_standard_error_says_is_told_while_the_agent_is_silent(rig: Rig) -> None:
    """The agent stays silent, so the end of the turn cannot be what tells it."""
    said: list[TurnOutput] = []
    asking = asyncio.ensure_future(rig.ask("[[mutter \x1b[31mthe model answers 401\x1b[0m]]", said=said))

    await until(lambda: "the agent writes: the model answers 401" in messages(said), "the line is told")

    asking.cancel()
    await asyncio.wait({asking})
    assert [log.level for log in of(said, Log)] == ["warning"]


async def test_the_process_can_be_used_again_after_a_silent_turn_was_cancelled(rig: Rig) -> None:
    asking = asyncio.ensure_future(rig.ask("[[mutter busy]]", said=(said := [])))
    await until(lambda: messages(said) == ["the agent writes: busy"], "the line is told")
    asking.cancel()
    await asyncio.wait({asking})
    before = rig.ledger.alive()

    assert text(await rig.ask("again")) == "echo: again"

    assert rig.ledger.alive() == before


async def test_what_standard_error_said_in_one_turn_is_not_told_in_the_next(rig: Rig) -> None:
    after(rig, "echo starting >&2;")

    first, second = await rig.ask("one"), await rig.ask("two")

    assert messages(first) == ["the agent writes: starting"]
    assert messages(second) == []


async def test_text_before_the_first_message_is_told(rig: Rig) -> None:
    after(rig, r"echo 'npm notice New version'; printf '\033[1mLoading...\033[0m\n';")

    said = await rig.ask("hello")

    assert messages(said) == ["the agent writes: npm notice New version", "the agent writes: Loading..."]
    assert text(said) == "echo: hello"


async def test_text_before_the_first_message_is_told_while_the_agent_starts(rig: Rig) -> None:
    after(rig, "echo 'Do you trust this folder?'; read answer; exit 1;")
    said: list[TurnOutput] = []
    asking = asyncio.ensure_future(rig.ask("hello", said=said))

    await until(lambda: "the agent writes: Do you trust this folder?" in messages(said), "the question is told")

    asking.cancel()
    await asyncio.wait({asking})


async def test_text_between_messages_is_told(rig: Rig) -> None:
    said = await rig.ask("[[print Update available]]")

    assert (messages(said), text(said)) == (["the agent writes: Update available"], "printed")


async def test_a_notice_is_told_and_what_the_protocol_does_not_know_is_passed_over(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    said = await rig.ask("[[notice Usage limit]]")

    assert (messages(said), text(said)) == (["the agent says: Usage limit: soon"], "noticed")
    assert caplog.records == []


async def test_failed_tries_of_the_model_are_told(rig: Rig) -> None:
    said: list[TurnOutput] = []
    asking = asyncio.ensure_future(rig.ask("[[retry 529 2 1]]", said=said))

    await until(lambda: len(messages(said)) == 2, "both tries are told")

    asking.cancel()
    await asyncio.wait({asking})
    assert messages(said) == [
        "the model's server answers 529: authentication_failed (failed try 1)",
        "the model's server answers 529: authentication_failed (failed try 2)",
    ]


async def test_a_credential_that_is_refused_again_and_again_ends_the_turn_with_the_way_to_sign_in(rig: Rig) -> None:
    rig.but("--modes", "default", preset=AgentPreset.CLAUDE)

    with pytest.raises(AgentError, match="wants its user to sign in: the model's server answers 401") as raised:
        await rig.ask("[[retry 401 3 1]]")

    assert raised.value.remedy == KNOWN_AGENTS[AgentPreset.CLAUDE].sign_in


async def test_a_model_that_only_fails_for_too_long_ends_the_turn(rig: Rig) -> None:
    rig.but(retry_timeout=60.0)

    with pytest.raises(AgentError, match=r"answers 503: .* \(the next try is in 61 s\)") as raised:
        await rig.ask("[[retry 503 1 61000]]")

    assert raised.value.remedy == "The agent's `retry_timeout` lets it try longer."
    assert text(await rig.ask("next")) == "echo: next"


async def test_an_error_that_an_agent_tells_as_its_answer_is_an_error(rig: Rig) -> None:
    with pytest.raises(AgentError, match="limits the requests: exceeded retry limit, last status: 429") as raised:
        await rig.ask("[[broken exceeded retry limit, last status: 429 Too Many Requests]]")

    assert raised.value.remedy == "Try again later, or lower `max_concurrent`."


async def test_routine_of_known_agents_is_not_in_an_error(rig: Rig) -> None:
    routine = "echo '[WARN] Ripgrep is not available. Falling back'; echo '[DEBUG] loaded {'; echo '  flags: []';"
    after(rig, f"({routine} echo 'no licence'; echo '  for this') >&2; exit 7;")

    with pytest.raises(AgentError, match=r"ended with status 7\. no licence\n  for this$"):
        await rig.ask("hello")


async def test_a_flood_on_standard_error_is_told_in_part(rig: Rig) -> None:
    after(rig, "seq 1 200000 >&2;")

    said = await rig.ask("hello")

    assert text(said) == "echo: hello"
    assert len(messages(said)) == 20


async def test_a_preset_makes_its_agent_tell_of_failed_tries(rig: Rig) -> None:
    after(rig, "echo set to $OPENCODE_LOG_LEVEL >&2;")
    rig.agent = msgspec.structs.replace(
        rig.agent, options=msgspec.structs.replace(rig.agent.options, preset=AgentPreset.OPENCODE)
    )
    assert messages(await rig.ask("one")) == ["the agent writes: set to ERROR"]

    rig.agent = msgspec.structs.replace(rig.agent, env={"OPENCODE_LOG_LEVEL": "WARN"})
    assert messages(await rig.ask("two")) == ["the agent writes: set to WARN"]
