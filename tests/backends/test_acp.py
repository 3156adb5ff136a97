"""The ACP backend against a scripted agent: sessions, permissions, models, and what goes wrong."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway import config
from gateway.assembly.checks import check_settings
from gateway.backends.acp import connection
from gateway.backends.acp.backend import describe_agent
from gateway.backends.acp.connection import MAX_LOADED_SESSIONS
from gateway.backends.acp.detection import detect_agent
from gateway.backends.acp.options import Options
from gateway.backends.acp.presets import KNOWN_AGENTS, AgentPreset
from gateway.domain.agent import Agent, PermissionPolicy
from gateway.domain.event import Log, Notice, Permission, Text, Tool, ToolEnd, Usage
from gateway.domain.permission import PERMISSION_CHOICES, Answer, PermissionQuestion
from gateway.domain.ports.backend import Abilities, SessionRef, TurnOutput
from gateway.domain.run import FinishReason
from gateway.errors import AgentError, ConfigError
from gateway.process import identity
from harness.waiting import until
from tests.support.acp import Rig, after, of, ref, text
from tests.support.turns import Heard, exchange, listen, turn

# --- sessions ---------------------------------------------------------------------------------


async def test_a_session_is_resumed_after_a_restart_without_repeating_its_history(rig: Rig) -> None:
    first = ref(await rig.ask("one"))
    await rig.again()

    said = await rig.ask("[[history]]", first)

    assert (text(said), ref(said)) == ("1 prompts before", first)


async def test_an_agent_that_cannot_resume_a_session_starts_a_new_one_with_a_warning(rig: Rig) -> None:
    rig.but("--no-load")
    first = ref(await rig.ask("one"))
    await rig.again()

    said = await rig.ask("[[history]]", first)

    assert text(said) == "0 prompts before"
    assert "cannot resume a conversation" in of(said, Log)[0].message
    assert of(said, Log)[0].notice is Notice.SESSION_RESTARTED


async def test_a_session_that_the_agent_has_lost_is_replaced(rig: Rig) -> None:
    said = await rig.ask("Hello", "s-unknown")

    assert text(said) == "echo: Hello"
    assert "begins a new conversation, and there is no transcript to give it" in of(said, Log)[0].message


async def test_a_history_that_comes_after_the_session_is_loaded_is_not_in_the_answer(rig: Rig) -> None:
    rig.but("--late")
    first = ref(await rig.ask("one"))
    await rig.again()

    said = await rig.ask("[[history]]", first)

    assert (text(said), ref(said), of(said, Log)) == ("1 prompts before", first, [])


async def test_a_session_that_is_loaded_without_its_history_is_replaced(rig: Rig) -> None:
    rig.but("--blank")
    rig.history = exchange("I am Ada", "Hello Ada", "r1")
    first = ref(await rig.ask("I am Ada"))
    await rig.again()

    said = await rig.ask("What is my name?", first)

    assert "has loaded its session without a message: the agent begins a new" in of(said, Log)[0].message
    assert of(said, Log)[0].notice is Notice.SESSION_RESTARTED
    assert "User: I am Ada\n\nAssistant: Hello Ada" in text(said)
    assert ref(said) != first


@pytest.mark.parametrize("lost", [None, "s-unknown"])
async def test_an_agent_without_the_conversation_of_its_session_is_given_the_transcript(
    rig: Rig, lost: str | None
) -> None:
    rig.but(system_prompt="Be brief.")
    rig.history = exchange("I am Ada", "Hello Ada", "r1")

    said = await rig.ask("What is my name?", lost)
    again = await rig.ask("And now?", ref(said))

    assert text(said).startswith("echo: Be brief.\n\nYou and the user have talked before")
    assert "User: I am Ada\n\nAssistant: Hello Ada" in text(said)
    assert text(said).endswith("What is my name?")
    assert [log.notice for log in of(said, Log)] == [Notice.SESSION_RESTARTED]
    assert (text(again), of(again, Log)) == ("echo: And now?", [])


async def test_a_conversation_that_fails_to_begin_again_is_not_continued(rig: Rig) -> None:
    rig.history = exchange("I am Ada", "Hello Ada", "r1")
    said: list[TurnOutput] = []

    with pytest.raises(AgentError, match="ended by signal 9"):
        await rig.ask("[[die]]", "s-unknown", said=said)
    again = await rig.ask("What is my name?", ref(said) if of(said, SessionRef) else "s-unknown")

    assert "User: I am Ada" in text(again)


async def test_the_system_prompt_goes_before_the_first_prompt_only(rig: Rig) -> None:
    rig.but(system_prompt="Be brief.")
    first = await rig.ask("one")
    second = await rig.ask("two", ref(first))

    assert (text(first), text(second)) == ("echo: Be brief.\n\none", "echo: two")


async def test_a_process_is_used_again_and_ended_when_idle(rig: Rig) -> None:
    rig.but(idle_stop=3)
    first = ref(await rig.ask("one"))
    [process] = rig.ledger.recorded
    await rig.ask("two", first)

    assert list(rig.ledger.recorded) == [process]
    await until(lambda: not rig.ledger.recorded, "the process is ended")


async def test_a_process_closes_the_sessions_that_it_used_longest_ago_and_loads_them_again(rig: Rig) -> None:
    rig.but("--closes")
    first, second = ref(await rig.ask("one")), ref(await rig.ask("two"))
    await rig.ask("one again", first)
    for _ in range(MAX_LOADED_SESSIONS - 1):
        await rig.ask("another")
    closed = (rig.workspace / "closed").read_text().split()

    assert closed == [second]
    assert text(await rig.ask("[[history]]", second)) == "1 prompts before"
    assert len(rig.ledger.seen) == 1


async def test_a_process_that_cannot_close_sessions_is_ended_when_it_has_many(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MAX_UNCLOSED_SESSIONS", 2)
    first = ref(await rig.ask("one"))
    await rig.ask("one again", first)
    await rig.ask("two")
    processes = len(rig.ledger.seen)

    assert text(await rig.ask("[[history]]", first)) == "2 prompts before"
    assert (processes, len(rig.ledger.seen)) == (1, 2)


# --- the start --------------------------------------------------------------------------------


async def test_a_process_is_not_used_for_a_session_that_went_on_in_another(rig: Rig) -> None:
    """It would not remember the turn that the other process has done."""
    first = ref(await rig.ask("one"))
    (process,) = rig.ledger.alive()
    busy = rig.workspace / f"busy-{process.pid}"
    await until(lambda: not busy.exists(), "the first process rests")
    other_session = asyncio.ensure_future(rig.ask("[[hang]]"))
    await until(busy.exists, "the first process works")
    await rig.ask("two", first)
    other_session.cancel()
    await asyncio.wait({other_session})
    await until(lambda: rig.ledger.alive() == [process], "the second process has ended")

    assert text(await rig.ask("[[history]]", first)) == "2 prompts before"

    await until(lambda: process not in rig.ledger.alive(), "the third process has replaced the first")


def held(rig: Rig) -> int:
    return len(list(rig.workspace.glob("held-*")))


async def test_the_first_process_of_a_home_starts_alone_and_the_later_ones_together(rig: Rig) -> None:
    rig.but("--held")
    first = [asyncio.create_task(rig.ask(f"[[say {number}]]")) for number in range(3)]
    await until(lambda: held(rig), "one is starting")
    alone = len(rig.ledger.recorded)
    (rig.workspace / "go").touch()
    await until(lambda: held(rig) == 3, "the others are starting")
    (rig.workspace / "go").unlink()
    rig.but("--held", pass_env=["SCRIPTED_KEY"])
    second = [asyncio.create_task(rig.ask(f"[[say {number}]]")) for number in range(3, 5)]
    await until(lambda: held(rig) == 5, "two are starting together")
    (rig.workspace / "go").touch()

    assert alone == 1
    assert [text(said) for said in await asyncio.gather(*first, *second)] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("cancelled", [0, 1], ids=["its start goes on", "it has not begun to start"])
async def test_the_process_of_a_turn_that_is_cancelled_is_there_for_the_next(rig: Rig, cancelled: int) -> None:
    """If it were killed at its first steps, what it leaves in its home could keep the next one from a start."""
    rig.but("--held")
    turns = [asyncio.create_task(rig.ask(f"[[say {number}]]")) for number in range(2)]
    await until(lambda: held(rig), "the first one is starting, and the second one waits")
    await _cancel(turns.pop(cancelled))
    (rig.workspace / "go").touch()

    assert text(await turns[0]) == str(1 - cancelled)
    assert text(await rig.ask("[[say 2]]")) == "2"
    assert len(rig.ledger.seen) == 1


async def test_a_start_whose_turn_was_cancelled_ends_with_the_backend(rig: Rig) -> None:
    rig.but("--held")
    turn = asyncio.create_task(rig.ask("[[say 1]]"))
    await until(lambda: held(rig), "it is starting")
    await _cancel(turn)

    await rig.backend.__aexit__()

    assert not rig.ledger.alive()


async def _cancel(turn: asyncio.Task[list[TurnOutput]]) -> None:
    turn.cancel()
    await asyncio.wait({turn})


@pytest.mark.parametrize("deaths", ["1", "2"])
async def test_a_process_that_ends_before_initialize_is_started_again(rig: Rig, deaths: str) -> None:
    rig.but("--weak", deaths)

    assert text(await rig.ask("Hello")) == "echo: Hello"


async def test_a_process_that_ends_each_time_is_an_error_with_its_last_words(rig: Rig) -> None:
    rig.but("--weak", "9")

    with pytest.raises(AgentError, match=r"ended with status 1.*CREATE TABLE workspace failed"):
        await rig.ask("Hello")

    assert (rig.workspace / "died").read_text() == "xxx"


async def test_what_an_agent_started_in_a_session_of_its_own_ends_with_it(rig: Rig) -> None:
    rig.but(idle_processes=0)

    stray = int(text(await rig.ask("[[stray]]")))
    await until(lambda: not rig.ledger.recorded, "the process is ended")

    assert identity.identify_process(stray) is None


# --- what it tells and asks -------------------------------------------------------------------


async def test_tool_calls_are_reported(rig: Rig) -> None:
    said = await rig.ask("[[tool ls]]")

    assert of(said, Tool) == [Tool(id="t1", name="ls", args={"a": 1})]
    assert of(said, ToolEnd)[0].output == "output"


@pytest.mark.parametrize(
    ("policy", "answer"),
    [(PermissionPolicy.ALLOW, "allow_once"), (PermissionPolicy.DENY, "reject_once")],
    ids=["allow", "deny"],
)
async def test_permissions_are_answered_by_policy(rig: Rig, policy: PermissionPolicy, answer: str) -> None:
    rig.but(permissions=policy)

    said = await rig.ask("[[ask rm -rf]]")

    assert text(said) == answer
    assert of(said, Permission) == [Permission(id="t1", action="rm -rf", answer=answer)]


@pytest.mark.parametrize(
    ("says", "answer"),
    [(Answer.ALLOW, "allow_once"), (Answer.ALLOW_ALWAYS, "allow_always"), (Answer.DENY, "reject_once")],
)
async def test_people_are_asked_and_their_answer_is_reported(rig: Rig, says: Answer, answer: str) -> None:
    rig.but(permissions=PermissionPolicy.ASK)
    rig.people.says = says

    said = await rig.ask("[[ask rm -rf]]")

    assert text(said) == answer
    assert rig.people.asked == [PermissionQuestion(action="rm -rf", choices=PERMISSION_CHOICES)]
    assert of(said, Permission) == []


@pytest.mark.parametrize("policy", [PermissionPolicy.DENY, PermissionPolicy.ASK])
async def test_an_agent_without_text_after_a_denial_has_failed(rig: Rig, policy: PermissionPolicy) -> None:
    rig.but(permissions=policy)
    rig.people.says = Answer.DENY

    with pytest.raises(AgentError, match="stopped when it was not allowed: rm -rf") as raised:
        await rig.ask("[[sulk rm -rf]]")

    assert bool(raised.value.remedy) is (policy is PermissionPolicy.DENY)
    assert text(await rig.ask("next")) == "echo: next"


async def test_an_agent_without_text_after_a_grant_has_not_failed(rig: Rig) -> None:
    rig.but(permissions=PermissionPolicy.ALLOW)

    assert text(await rig.ask("[[sulk rm -rf]]")) == ""


async def test_people_are_offered_only_what_the_agent_offers(rig: Rig) -> None:
    rig.but(permissions=PermissionPolicy.ASK)
    rig.people.says = Answer.ALLOW_ALWAYS

    said = await rig.ask("[[offer allow_always]]")

    assert (text(said), rig.people.asked[0].choices) == ("allow_always", (Answer.ALLOW_ALWAYS, Answer.DENY))


async def test_people_are_told_what_always_means_to_the_agent(rig: Rig) -> None:
    rig.but(permissions=PermissionPolicy.ASK)
    rig.people.says = Answer.ALLOW

    await rig.ask("[[tempt Yes, and use auto mode]]")
    await rig.ask("[[tempt Always allow]]")

    assert [asked.action for asked in rig.people.asked] == ["plan (always: Yes, and use auto mode)", "plan"]


FORM = {
    "message": "Which?",
    "requestedSchema": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
}


async def elicit(rig: Rig, **more: Any) -> Any:
    """Have the agent ask with a form; return the response that it gets."""
    said = await rig.ask(f"[[form {json.dumps(FORM | more)} ]]")
    return json.loads(text(said))


async def test_people_answer_a_form_of_the_agent(rig: Rig) -> None:
    rig.but(permissions=PermissionPolicy.ASK)
    rig.people.content = {"a": 3}

    assert await elicit(rig) == {"action": "accept", "content": {"a": 3}}
    [asked] = rig.people.questions
    assert (asked.message, [field.name for field in asked.fields]) == ("Which?", ["a"])


async def test_a_form_that_nobody_answers_is_declined(rig: Rig) -> None:
    rig.but(permissions=PermissionPolicy.ASK)
    rig.people.says = Answer.DENY

    assert await elicit(rig) == {"action": "decline"}


async def test_a_subagent_may_ask_in_a_session_of_its_own(rig: Rig) -> None:
    rig.but(permissions=PermissionPolicy.ASK)
    rig.people.content = {"a": 3}

    assert (await elicit(rig, sessionId="of-a-subagent"))["action"] == "accept"


async def test_a_page_that_the_user_should_open_is_declined(rig: Rig) -> None:
    rig.but(permissions=PermissionPolicy.ASK)

    assert await elicit(rig, mode="url", url="https://example.org", elicitationId="1") == {"action": "decline"}
    assert rig.people.questions == []


@pytest.mark.parametrize(
    ("policy", "offered"),
    [(PermissionPolicy.ASK, {"form": {}}), (PermissionPolicy.DENY, None), (PermissionPolicy.ALLOW, None)],
)
async def test_an_agent_is_offered_forms_only_if_people_answer(
    rig: Rig, policy: PermissionPolicy, offered: dict[str, Any] | None
) -> None:
    rig.but(permissions=policy)

    assert json.loads(text(await rig.ask("[[able]]"))).get("elicitation") == offered


async def test_a_cancel_while_people_are_asked_a_form_ends_the_turn_and_keeps_the_process(rig: Rig) -> None:
    rig.but(permissions=PermissionPolicy.ASK)
    turn = asyncio.create_task(elicit(rig))
    await until(lambda: rig.people.questions, "people are asked")
    turn.cancel()
    await asyncio.wait({turn})

    assert rig.people.given_up == 1
    assert text(await rig.ask("again")) == "echo: again"
    assert len(rig.ledger.recorded) == 1


async def test_a_cancel_while_people_are_asked_ends_the_turn_and_keeps_the_process(rig: Rig) -> None:
    rig.but(permissions=PermissionPolicy.ASK)
    turn = asyncio.create_task(rig.ask("[[ask rm -rf]]"))
    await until(lambda: rig.people.asked, "people are asked")
    turn.cancel()
    await asyncio.wait({turn})

    assert rig.people.given_up == 1
    assert len(rig.ledger.recorded) == 1
    assert text(await rig.ask("next")) == "echo: next"


async def test_an_agent_that_dies_while_people_are_asked_is_an_error_at_once(rig: Rig) -> None:
    rig.but(permissions=PermissionPolicy.ASK)
    turn = asyncio.create_task(rig.ask("[[ask rm -rf]]"))
    await until(lambda: rig.people.asked, "people are asked")
    [busy] = rig.workspace.glob("busy-*")
    os.kill(int(busy.name.partition("-")[2]), signal.SIGKILL)

    with pytest.raises(AgentError, match="signal 9"):
        await turn
    await until(lambda: rig.people.given_up, "nobody waits for people any more")


async def test_the_cost_of_a_session_is_reported_turn_by_turn(rig: Rig) -> None:
    first = await rig.ask("[[cost]]")
    second = await rig.ask("[[cost]]", ref(first))

    assert [of(said, Usage)[0].cost for said in (first, second)] == [1.0, 1.0]


async def test_a_failed_turn_reports_its_cost_too(rig: Rig) -> None:
    heard = Heard()
    with pytest.raises(AgentError, match="refusal"):
        await listen(rig.backend, turn(rig.agent, "[[balk]]", workspace=rig.workspace), heard)

    assert sum(used.cost for used in heard.of(Usage)) == 1.0
    assert sum(used.input for used in heard.of(Usage)) == 1


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("max_turn_requests", FinishReason.LENGTH),
        ("refusal", FinishReason.CONTENT_FILTER),
    ],
)
async def test_the_end_of_a_turn_has_its_reason(rig: Rig, reason: str, finish: FinishReason) -> None:
    said = await rig.ask(f"[[cut {reason} half]]")

    assert (text(said), of(said, FinishReason)) == ("half", [finish])


@pytest.mark.parametrize("reason", ["end_turn", "max_tokens", "max_turn_requests", "refusal"])
async def test_a_turn_without_an_answer_is_a_failure(rig: Rig, reason: str) -> None:
    with pytest.raises(AgentError, match=f"without an answer: {reason}"):
        await rig.ask(f"[[cut {reason}]]")


@pytest.mark.parametrize("unseen", ["\u200b", "\x1b[0m", "\x07"])
async def test_an_answer_that_shows_nothing_is_none(rig: Rig, unseen: str) -> None:
    with pytest.raises(AgentError, match="without an answer: end_turn"):
        await rig.ask(f"[[cut end_turn {unseen}]]")


async def test_a_command_of_the_agents_own_may_end_without_a_word(rig: Rig) -> None:
    assert text(await rig.ask("/compact [[cut end_turn]]")) == ""


async def test_model_and_mode_are_set(rig: Rig) -> None:
    await rig.ask("one", model="large")
    assert rig.chosen == "large"

    rig.but(mode="plan")
    await rig.ask("two")
    assert rig.chosen == "plan"


async def test_a_mode_is_set_again_in_a_process_that_is_used_again(rig: Rig) -> None:
    rig.but(mode="plan")
    first = ref(await rig.ask("one"))

    assert text(await rig.ask("two", first)) == "echo: two"


async def test_a_model_is_set_again_by_the_name_that_the_agent_has_for_its_option(rig: Rig) -> None:
    rig.but("--odd")
    first = ref(await rig.ask("one", model="small"))
    await rig.ask("two", first, model="large")

    assert rig.chosen == "large"


async def test_the_model_of_one_turn_is_not_used_for_the_next(rig: Rig) -> None:
    first = ref(await rig.ask("one", model="large"))
    await rig.ask("two", first)

    assert rig.chosen == "small"


async def test_the_cost_before_a_restart_is_not_reported_again(rig: Rig) -> None:
    first = ref(await rig.ask("[[cost]]"))
    await rig.again()

    assert of(await rig.ask("[[cost]]", first), Usage)[0].cost == 1.0


# --- what goes wrong --------------------------------------------------------------------------


async def test_the_process_of_an_agent_that_ignores_a_cancel_is_ended(rig: Rig) -> None:
    stream = rig.backend.stream_turn(turn(rig.agent, "[[deaf 1000 50]]", workspace=rig.workspace))
    async for said in stream:
        if isinstance(said, Text):
            break
    await stream.aclose()

    assert not rig.ledger.recorded
    assert text(await rig.ask("next")) == "echo: next"


async def test_half_a_character_is_shown_as_an_unknown_one(rig: Rig) -> None:
    said = await rig.ask("[[half]]")

    assert (text(said), of(said, Tool)[0].args) == (
        "half \N{REPLACEMENT CHARACTER}",
        {"text": "\N{REPLACEMENT CHARACTER}"},
    )


async def test_a_cost_that_is_no_number_does_not_count(rig: Rig) -> None:
    first = await rig.ask("[[endless]]")
    second = await rig.ask("[[cost]]", ref(first))

    assert [of(said, Usage)[0].cost for said in (first, second)] == [0.0, 2.0]


async def test_a_process_that_reports_a_failure_is_used_again(rig: Rig) -> None:
    """A new one might not find the conversation: Gemini CLI loses it within the same minute."""
    first = ref(await rig.ask("one"))
    before = rig.ledger.alive()
    with pytest.raises(AgentError, match="the agent refused: Internal error: overloaded"):
        await rig.ask("[[fail overloaded]]", first)

    assert text(await rig.ask("[[history]]", first)) == "2 prompts before"

    assert rig.ledger.alive() == before


async def test_a_process_that_wants_a_sign_in_is_not_used_again(rig: Rig) -> None:
    first = ref(await rig.ask("one"))
    before = rig.ledger.alive()
    with pytest.raises(AgentError, match="sign in"):
        await rig.ask("[[fail 401 Unauthorized]]", first)

    assert text(await rig.ask("[[history]]", first)) == "2 prompts before"

    assert rig.ledger.alive() != before


async def test_a_process_that_closed_its_output_is_not_used_again(rig: Rig) -> None:
    first = ref(await rig.ask("[[hangup Bye]]"))
    await until(lambda: all(one.is_gone for kept in rig.backend._idle.values() for one in kept), "it is heard")

    assert text(await rig.ask("Hello", first)) == "echo: Hello"


#: sets a title and shows the cursor, without a line end
TITLE = r"printf '\033]0;{agent}\007\033[?25h'; "


async def test_what_a_program_writes_for_a_terminal_does_not_hide_its_first_message(rig: Rig) -> None:
    after(rig, TITLE)

    assert text(await rig.ask("hello")) == "echo: hello"


async def test_text_before_the_first_message_is_passed_over(rig: Rig) -> None:
    after(rig, "echo Welcome; printf 'config: {}\\nLoading {1} '; ")

    assert text(await rig.ask("hello")) == "echo: hello"


async def test_what_an_agent_wrote_instead_of_a_message_is_in_the_error(rig: Rig) -> None:
    after(rig, TITLE + r"printf '\033[1mPlease log in.\033[0m\nCode: '; exec sleep 600;")
    options = msgspec.structs.replace(rig.agent.options, start_timeout=5.0)
    rig.agent = msgspec.structs.replace(rig.agent, options=options)

    with pytest.raises(AgentError, match=r"`initialize` within 5 s\. It wrote: Please log in\.\nCode:$"):
        await rig.ask("hello")


async def test_what_an_agent_wrote_before_it_ended_is_in_the_error(rig: Rig) -> None:
    after(rig, "echo 'No licence.'; echo 'see log' >&2; exit 7;")

    with pytest.raises(AgentError, match=r"ended with status 7\. see log It wrote: No licence\.$"):
        await rig.ask("hello")


async def test_a_missing_sign_in_is_explained(rig: Rig) -> None:
    rig.but("--no-auth", preset=AgentPreset.CLAUDE)

    with pytest.raises(AgentError, match="Authentication required") as raised:
        await rig.ask("Hello")

    assert raised.value.remedy == KNOWN_AGENTS[AgentPreset.CLAUDE].sign_in


async def test_a_missing_program_comes_with_its_install_command(rig: Rig) -> None:
    rig.agent = msgspec.structs.replace(rig.agent, options=Options(preset=AgentPreset.GEMINI))

    with pytest.raises(AgentError, match="gemini") as raised:
        await rig.ask("Hello")

    assert raised.value.remedy == KNOWN_AGENTS[AgentPreset.GEMINI].install
    assert KNOWN_AGENTS[AgentPreset.GEMINI].install in (await rig.backend.check_health(rig.agent)).detail


@pytest.mark.parametrize("preset", [AgentPreset.CLAUDE, AgentPreset.CODEX, AgentPreset.GEMINI])
@pytest.mark.skipif(sys.platform == "darwin", reason="credentials are in the keychain there")
async def test_a_missing_credential_comes_with_the_way_to_sign_in(rig: Rig, preset: AgentPreset) -> None:
    known = KNOWN_AGENTS[preset]
    rig.but(preset=preset, env={"HOME": str(rig.directory)})
    lacking = await rig.backend.check_health(rig.agent)
    rig.but(env={"HOME": str(rig.directory), known.keys[0]: "k"})
    with_key = await rig.backend.check_health(rig.agent)
    file = rig.directory / known.files[0]
    file.parent.mkdir()
    file.touch()
    rig.but(env={"HOME": str(rig.directory)})
    signed_in = await rig.backend.check_health(rig.agent)

    assert (lacking.ok, with_key.missing, signed_in.missing) == (True, "", "")
    assert known.keys[0] in lacking.missing
    assert str(file) in lacking.missing
    assert known.sign_in in lacking.missing


def test_a_known_agent_is_found_on_path(tmp_path: Path) -> None:
    program = tmp_path / "claude-agent-acp"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    settings = config.load({"MOONGATE_HOME": str(tmp_path)})

    found = detect_agent({"PATH": str(tmp_path)}, settings)

    assert found is not None
    assert found.options.preset is AgentPreset.CLAUDE
    assert detect_agent({"PATH": "/nowhere"}, settings) is None


def test_a_command_of_the_user_is_described_by_the_name_of_its_program() -> None:
    gemini, unknown = (
        describe_agent(Agent(id="main", backend="acp", options=Options(command=command)))
        for command in (["/opt/gemini", "--acp"], ["my-agent"])
    )

    assert gemini == KNOWN_AGENTS[AgentPreset.GEMINI].abilities
    assert unknown == Abilities()


def test_options_without_preset_and_command_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"agents": {"list": [{"id": "main", "backend": "acp"}]}}')

    with pytest.raises(ConfigError, match="preset"):
        check_settings(config.load({"MOONGATE_HOME": str(tmp_path)}), {})
