"""Turns of the real opencode, offline, with a scripted model behind it."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import aclosing
from typing import Any

import psutil
import pytest

from gateway.backends.opencode import connection
from gateway.domain.event import Log, Notice, Text, Thinking, Tool, ToolEnd, Usage
from gateway.domain.ports.backend import SessionRef
from gateway.domain.run import FinishReason
from harness.waiting import PATIENCE, until
from tests.backends.opencode.rig import Rig, find_commands, pid_of_server, present
from tests.support.turns import exchange

pytestmark = [
    pytest.mark.agents("opencode"),
    pytest.mark.asyncio(loop_scope="module"),
]


# --- a turn -----------------------------------------------------------------------------------


async def test_a_turn_yields_its_session_then_text_then_usage_and_the_reply(rig: Rig) -> None:
    answered = await rig.ask("[[say hello you]]")

    assert answered.error is None
    assert isinstance(answered.said[0], SessionRef)
    assert answered.text == answered.reply == "hello you"
    [usage] = answered.of(Usage)
    assert usage.input > 100
    assert usage.output == 2


async def test_text_comes_as_it_is_written(rig: Rig) -> None:
    came = 0
    async with aclosing(rig.turn("[[slow 5000 100]]", rig.workspace())) as said:
        async for one in said:
            came += isinstance(one, Text)
            if came == 4:
                break
        assert rig.model.counters.active == 1


async def test_a_session_remembers_its_turns(rig: Rig) -> None:
    workspace = rig.workspace()
    first = await rig.ask("[[say noted]] the word is heliotrope", workspace)

    second = await rig.ask("[[history]]", workspace, first.ref)
    third = await rig.ask("[[recall]]", workspace, second.ref)

    assert first.ref == second.ref == third.ref
    assert second.reply.endswith("user,assistant,user")
    assert "heliotrope" in third.reply


async def test_a_tool_has_a_start_and_an_end_and_all_steps_are_counted(rig: Rig) -> None:
    answered = await rig.ask('[[tool bash {"command": "echo out of the shell", "description": "x"}]]')

    [tool], [end], [usage] = answered.of(Tool), answered.of(ToolEnd), answered.of(Usage)
    assert (tool.name, tool.args["command"]) == ("bash", "echo out of the shell")
    assert (end.id, end.name, end.is_error, end.output) == (tool.id, "bash", False, "out of the shell\n")
    assert answered.reply == "tool result: out of the shell\n"
    alone = await rig.ask("[[say x]]")
    assert usage.input > 1.5 * alone.of(Usage)[0].input, "two calls of the model"


async def test_a_tool_works_in_the_workspace(rig: Rig) -> None:
    workspace = rig.workspace()

    await rig.ask(f'[[tool write {{"filePath": "{workspace}/made.txt", "content": "by an agent"}}]]', workspace)

    assert (workspace / "made.txt").read_text() == "by an agent"


async def test_reasoning_is_separate_from_the_answer(rig: Rig) -> None:
    answered = await rig.ask("[[think let me see]]")

    assert "".join(one.delta for one in answered.of(Thinking)) == "let me see"
    assert answered.reply == answered.text == "done thinking"


async def test_a_prompt_is_data_whatever_it_looks_like(rig: Rig) -> None:
    prompt = "--help $(touch /tmp/x) `id` \x00 é 😀 @README.md /init " + "0123456789 " * 20_000

    answered = await rig.ask(prompt)

    assert answered.error is None
    [body] = [r["body"] for r in rig.model.requests if "--help $(touch" in json.dumps(r["body"])]
    sent = [message["content"] for message in body["messages"] if message["role"] == "user"][-1]
    assert (sent if isinstance(sent, str) else sent[0]["text"]) == prompt


async def test_half_a_character_breaks_neither_the_turn_nor_the_session(rig: Rig) -> None:
    workspace = rig.workspace()

    first = await rig.ask("[[say half \ud83d of it]]", workspace)
    second = await rig.ask("[[say more]]", workspace, first.ref)

    assert (first.error, first.reply) == (None, "half \N{REPLACEMENT CHARACTER} of it")
    assert (second.error, second.reply, second.ref) == (None, "more", first.ref)


async def test_the_model_and_the_system_prompt_are_passed_on(rig: Rig) -> None:
    answered = await rig.but(system_prompt="You are a lighthouse.").ask(
        "[[say beam]] far out", model="scripted/scripted-b"
    )

    assert answered.reply == "beam"
    [body] = [r["body"] for r in rig.model.requests if "far out" in json.dumps(r["body"])]
    assert body["model"] == "scripted-b"
    assert "You are a lighthouse." in json.dumps(body["messages"])


async def test_sessions_at_the_same_time_do_not_mix(rig: Rig) -> None:
    workspace = rig.workspace()
    alone = [rig.ask(f"[[say {name} {name} {name}]]", rig.workspace()) for name in ("ash", "elm", "fir")]
    together = [rig.ask("[[slow 10 30]]", workspace), rig.ask("[[say oak]]", workspace)]

    answers = await asyncio.gather(*alone, *together)

    replies = [(answered.text, answered.reply) for answered in answers]
    expected = ["ash ash ash", "elm elm elm", "fir fir fir", "".join(f"w{n} " for n in range(10)), "oak"]
    # opencode cuts white space off the end of a finished text
    assert [(text.rstrip(), reply.rstrip()) for text, reply in replies] == [(e.rstrip(),) * 2 for e in expected]
    assert len({answered.ref for answered in answers}) == 5


async def test_agents_with_the_same_options_share_one_server(rig: Rig) -> None:
    await rig.ask("[[say x]]")
    other = rig.but(id="other", system_prompt="Be another.")
    started = len(rig.ledger.seen)
    await other.ask("[[say y]]")

    assert present(other) is present(rig)
    assert len(rig.ledger.seen) == started


async def test_an_unknown_session_is_replaced_with_a_warning(rig: Rig) -> None:
    answers = [await rig.ask("[[history]]", ref=ref) for ref in ("ses_000000000000AAAAAAAAAAAAAA", "../nonsense")]

    for answered in answers:
        [log] = answered.of(Log)
        assert "does not know the conversation any more: the agent begins a new conversation" in log.message
        assert log.notice is Notice.SESSION_RESTARTED
        assert answered.ref.startswith("ses_")
        assert answered.reply.endswith(": system,user")


@pytest.mark.parametrize("lost", [None, "ses_000000000000AAAAAAAAAAAAAA"])
async def test_opencode_without_the_conversation_of_a_session_is_given_the_transcript(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, lost: str | None
) -> None:
    monkeypatch.setattr(rig, "history", exchange("I am Ada", "Hello Ada", "r1"))
    workspace = rig.workspace()

    told = await rig.ask("What is my name?", workspace, lost)
    again = await rig.ask("And now?", workspace, told.ref)

    assert "User: I am Ada" in json.dumps([request["body"] for request in rig.model.requests])
    assert [log.notice for log in told.of(Log)] == [Notice.SESSION_RESTARTED]
    assert again.of(Log) == []


async def test_a_session_does_not_follow_the_agent_into_another_workspace(rig: Rig) -> None:
    first = await rig.ask("[[say x]]")

    moved = await rig.ask('[[tool bash {"command": "pwd", "description": "x"}]]', ref=first.ref)

    assert moved.ref != first.ref
    assert "workspace has changed" in moved.of(Log)[0].message
    assert f"work{rig.count}" in moved.reply


async def test_unused_directories_are_disposed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_IDLE_DIRECTORIES", 1)
    workspace = rig.workspace()
    first = await rig.ask("[[say x]]", workspace)
    process = psutil.Process(pid_of_server(rig))
    threads = process.num_threads()

    await rig.ask("[[say y]]")
    await rig.ask("[[say z]]")

    # Each prepared directory has three threads or more; the pool of the rest comes and goes.
    await until(lambda: process.num_threads() < threads + 6, "the directories are let go")
    again = await rig.ask("[[history]]", workspace, first.ref)
    assert again.reply.endswith("user,assistant,user")


# --- what goes wrong --------------------------------------------------------------------------


async def test_an_error_of_the_model_is_the_agents_error(rig: Rig) -> None:
    workspace = rig.workspace()
    answered = await rig.ask("[[error 401]]", workspace)

    assert answered.error is not None
    assert "scripted error 401" in answered.error.message
    assert "opencode auth login" in (answered.error.remedy or "")
    assert (await rig.ask("[[say better]]", workspace, answered.ref)).reply == "better"


@pytest.mark.parametrize(
    ("change", "name", "message"),
    [
        ({}, "just-a-name", "provider/model"),
        ({}, "scripted/unknown", "Model not found: scripted/unknown"),
        ({"options": {"agent": "nobody"}}, None, 'Agent not found: "nobody"'),
    ],
)
async def test_a_wrong_model_name_is_explained(
    rig: Rig, change: dict[str, Any], name: str | None, message: str
) -> None:
    answered = await rig.but(**change).ask("hi", model=name)

    assert answered.error is not None
    assert message in str(answered.error)


async def test_a_workspace_must_exist(rig: Rig) -> None:
    answered = await rig.ask("hi", rig.directory / "nowhere")

    assert answered.error is not None
    assert "nowhere does not exist" in answered.error.message


async def test_a_temporary_failure_of_the_model_is_logged_and_survived(rig: Rig) -> None:
    answered = await rig.ask("[[error 503 1 0]]")

    assert answered.reply == "recovered"
    assert "scripted error 503" in answered.of(Log)[0].message


async def test_a_model_that_only_fails_ends_the_turn_after_a_while(rig: Rig) -> None:
    workspace = rig.workspace()
    answered = await rig.but(options={"retry_timeout": 3.0}).ask("[[error 429]]", workspace)

    assert answered.error is not None
    assert answered.error.message.startswith("opencode cannot reach the model: scripted error 429 (")
    assert answered.of(Log)
    assert (await rig.ask("[[say on we go]]", workspace, answered.ref)).reply == "on we go"


async def test_a_next_try_that_is_too_late_is_not_waited_for(rig: Rig) -> None:
    answered = await rig.ask("[[error 429 9 3600]]")

    assert answered.error is not None
    assert "scripted error 429 (the next try is in 36" in answered.error.message
    assert answered.error.remedy == "The agent's `retry_timeout` lets it try longer."


async def test_a_turn_that_was_cut_says_why(rig: Rig) -> None:
    answered = await rig.ask("[[cut half of it]]")

    assert (answered.reply, answered.of(FinishReason)) == ("half of it", [FinishReason.LENGTH])


async def test_a_turn_without_an_answer_is_a_failure(rig: Rig) -> None:
    answered = await rig.ask("[[cut]]")

    assert answered.error is not None
    assert answered.error.message == "opencode ended the turn without an answer: length."


async def test_endless_retries_end_with_the_turn(rig: Rig) -> None:
    workspace = rig.workspace()
    turn = rig.turn("[[error 500]]", workspace)
    ref = None
    async for one in turn:
        if isinstance(one, SessionRef):
            ref = one.ref
        if isinstance(one, Log):
            break

    async with asyncio.timeout(PATIENCE):
        await turn.aclose()

    assert (await rig.ask("[[say on we go]]", workspace, ref)).reply == "on we go"


# --- cancelling -------------------------------------------------------------------------------


async def test_closing_a_turn_stops_the_work_and_the_session_goes_on(rig: Rig) -> None:
    workspace = rig.workspace()
    turn = rig.turn("[[slow 5000 100]]", workspace)
    ref = None
    async for one in turn:
        if isinstance(one, SessionRef):
            ref = one.ref
        if isinstance(one, Text):
            break
    assert rig.model.counters.active == 1

    async with asyncio.timeout(PATIENCE):
        await turn.aclose()
    await until(lambda: rig.model.counters.active == 0, "the model is left alone")

    after = await rig.ask("[[say still here]]", workspace, ref)
    assert after.reply == after.text == "still here"


async def test_closing_a_turn_ends_the_command_that_it_runs(rig: Rig) -> None:
    sleep = f"sleep 4711.{os.getpid()}"  # that of no other test
    turn = rig.turn(f'[[tool bash {{"command": "{sleep}; echo x", "description": "x"}}]]', rig.workspace())
    async for one in turn:
        if isinstance(one, Tool):
            break
    await until(lambda: find_commands(sleep), "the command runs")

    async with asyncio.timeout(PATIENCE):
        await turn.aclose()
    await until(lambda: not find_commands(sleep), "the command has ended")


@pytest.mark.parametrize("pause", [0.02, 0.1, 0.3, 0.6])
async def test_a_turn_that_is_closed_before_it_has_begun_does_not_begin(rig: Rig, pause: float) -> None:
    """opencode takes a prompt at once but begins later, and does not hear an abort in between."""
    workspace = rig.workspace()
    refs: list[str] = []

    async def take() -> None:
        async with aclosing(rig.turn("[[slow 5000 100]]", workspace)) as said:
            async for one in said:
                refs.extend([one.ref] if isinstance(one, SessionRef) else [])

    task = asyncio.create_task(take())
    await until(lambda: refs or task.done(), "the turn has a session")
    await asyncio.sleep(pause)
    task.cancel()
    await asyncio.wait([task])

    after = await rig.ask("[[say next]]", workspace, refs[0])
    assert after.reply == after.text == "next"
    await until(lambda: rig.model.counters.active == 0, "the model is left alone")
