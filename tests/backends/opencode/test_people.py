"""Permissions and questions of the real opencode: what people are asked, and what a policy decides."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpServer

from gateway.backends.opencode import turn as opencode_turn
from gateway.backends.opencode import wire
from gateway.domain.agent import PermissionPolicy
from gateway.domain.event import Permission, ToolEnd
from gateway.domain.permission import PERMISSION_CHOICES, Answer
from gateway.domain.question import FieldType
from harness.scripted_model import ScriptedModel
from harness.waiting import until
from tests.backends.opencode.rig import Rig, pid_of_server, present, rigged
from tests.support import opencode as real

pytestmark = [
    pytest.mark.agents("opencode"),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file outside of any workspace: opencode asks before it reads that."""
    path = tmp_path / "outside.txt"
    path.write_text("kept outside")
    return path


@pytest.fixture
def asking(rig: Rig) -> Rig:
    """The same with people who are asked."""
    return rig.but(permissions=PermissionPolicy.ASK)


# --- permissions ------------------------------------------------------------------------------


async def test_a_request_for_permission_is_denied_by_policy_and_the_agent_is_told(rig: Rig, outside: Path) -> None:
    answered = await rig.ask(f'[[tool read {{"filePath": "{outside}"}}]]')

    [permission] = answered.of(Permission)
    assert permission.action.startswith("external_directory: ")
    assert permission.answer == "deny"
    assert answered.of(ToolEnd)[0].is_error
    assert "Denied by policy" in answered.reply
    assert "kept outside" not in answered.reply


async def test_a_request_for_permission_is_granted_by_policy(rig: Rig, outside: Path) -> None:
    answered = await rig.but(permissions=PermissionPolicy.ALLOW).ask(f'[[tool read {{"filePath": "{outside}"}}]]')

    assert answered.of(Permission)[0].answer == "allow"
    assert "kept outside" in answered.reply


async def test_people_are_asked_and_allow_it(asking: Rig, outside: Path) -> None:
    asking.people.says = Answer.ALLOW

    answered = await asking.ask(f'[[tool read {{"filePath": "{outside}"}}]]')

    [asked] = asking.people.asked
    assert (asked.action.split(": ")[0], asked.choices) == ("external_directory", PERMISSION_CHOICES)
    assert "kept outside" in answered.reply
    assert answered.of(Permission) == []


async def test_people_are_asked_and_deny_it(asking: Rig, outside: Path) -> None:
    asking.people.says = Answer.DENY

    answered = await asking.ask(f'[[tool read {{"filePath": "{outside}"}}]]')

    assert answered.of(ToolEnd)[0].is_error
    assert "Denied by the user" in answered.reply
    assert "kept outside" not in answered.reply


async def test_what_people_always_allow_they_are_not_asked_again(asking: Rig, outside: Path) -> None:
    asking.people.says = Answer.ALLOW_ALWAYS
    workspace = asking.workspace()

    first = await asking.ask(f'[[tool read {{"filePath": "{outside}"}}]]', workspace)
    second = await asking.ask(f'[[tool read {{"filePath": "{outside}"}}]]', workspace, first.ref)

    assert "kept outside" in second.reply
    assert len(asking.people.asked) == 1


async def until_looked_at(rig: Rig, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Wait until the turn has asked the server three times what is open."""
    api, found = present(rig).api, []
    ask = getattr(api, what)

    async def count(session: wire.Session, sessions: Collection[str]) -> object:
        found.append(await ask(session, sessions))
        return found[-1]

    monkeypatch.setattr(api, what, count)
    await until(lambda: len(found) >= 3, "the server was asked again and again")


async def test_people_may_take_long(asking: Rig, outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opencode_turn, "POLL_INTERVAL_SECONDS", 0.05)
    turn = asyncio.create_task(asking.ask(f'[[tool read {{"filePath": "{outside}"}}]]'))
    await until(lambda: asking.people.asked, "people are asked")
    monkeypatch.setattr(opencode_turn, "STALL_TIMEOUT_SECONDS", 0.0)
    await until_looked_at(asking, monkeypatch, "list_permission_requests")
    assert (turn.done(), asking.people.given_up) == (False, 0)

    turn.cancel()
    await asyncio.wait({turn})
    assert asking.people.given_up == 1
    monkeypatch.undo()
    assert (await asking.ask("[[say next]]")).reply == "next"


async def test_people_are_no_longer_asked_what_was_answered_elsewhere(asking: Rig, outside: Path) -> None:
    workspace = asking.workspace()
    turn = asyncio.create_task(asking.ask(f'[[tool read {{"filePath": "{outside}"}}]]', workspace))
    await until(lambda: asking.people.asked, "people are asked")
    api = present(asking).api
    here = wire.Session("", str(workspace))
    [asked] = await api.list_permission_requests(here, ())
    await api.answer_permission(asked, here, {"reply": "once"})

    assert "kept outside" in (await turn).reply
    assert asking.people.given_up == 1


async def test_a_server_that_dies_while_people_are_asked_is_an_error_at_once(asking: Rig, outside: Path) -> None:
    turn = asyncio.create_task(asking.ask(f'[[tool read {{"filePath": "{outside}"}}]]'))
    await until(lambda: asking.people.asked, "people are asked")
    os.kill(pid_of_server(asking), signal.SIGKILL)

    answered = await turn
    assert "opencode is gone" in str(answered.error)
    assert asking.people.given_up == 1


# --- questions --------------------------------------------------------------------------------


def call_question_tool(*questions: dict[str, Any]) -> str:
    """Return a prompt that makes the model ask these questions."""
    return f"[[tool question {json.dumps({'questions': questions})} ]]".replace("]}", "] }")


def one_question(text: str, *labels: str, **more: Any) -> dict[str, Any]:
    options = [{"label": label, "description": f"it is {label}"} for label in labels]
    return {"question": text, "header": f"About {text}", "options": options, **more}


WHICH = one_question("Which?", "Red", "Green")


async def test_people_are_asked_a_question_and_the_agent_goes_on_with_the_answer(asking: Rig) -> None:
    asking.people.content = {"1": "Green"}

    answered = await asking.ask(call_question_tool(WHICH))

    [asked] = asking.people.questions
    [field] = asked.fields
    assert (asked.message, field.title, field.type, field.required, field.custom) == (
        "Which?",
        "About Which?",
        FieldType.CHOICE,
        True,
        True,
    )
    assert [(one.value, one.description) for one in field.options] == [("Red", "it is Red"), ("Green", "it is Green")]
    assert 'answered your questions: "Which?"="Green"' in answered.reply
    assert asking.people.asked == []


async def test_several_questions_are_asked_at_once(asking: Rig) -> None:
    asking.people.content = {"1": "as you like", "2": ["x", "y"]}
    many = [WHICH, one_question("How?", "x", "y", "z", multiple=True), one_question("Why?", "a", multiple=True)]

    answered = await asking.ask(call_question_tool(*many))

    [asked] = asking.people.questions
    assert asked.message == "1. Which?\n2. How?\n3. Why?"
    assert [(one.name, one.multiple, one.required) for one in asked.fields] == [
        ("1", False, True),
        ("2", True, False),
        ("3", True, False),
    ]
    assert '"Which?"="as you like", "How?"="x, y", "Why?"="Unanswered"' in answered.reply


async def test_an_agent_whose_question_nobody_answers_is_told_so_and_goes_on(asking: Rig) -> None:
    asking.people.says = Answer.DENY

    answered = await asking.ask(call_question_tool(WHICH))

    assert '"Which?"="Unanswered"' in answered.reply


async def test_an_agent_that_may_not_ask_people_has_no_tool_for_questions(rig: Rig) -> None:
    answered = await rig.ask(call_question_tool(WHICH))

    assert "unavailable tool 'question'" in answered.reply
    assert rig.people.questions == []


async def test_an_earlier_conversation_follows_a_change_of_the_policy(rig: Rig) -> None:
    workspace, prompt = rig.workspace(), call_question_tool(WHICH)
    before = await rig.ask("[[say hello]]", workspace)
    asking = rig.but(permissions=PermissionPolicy.ASK)
    asking.people.content = {"1": "Red"}
    asked = await asking.ask(prompt, workspace, before.ref)
    again = await rig.ask(prompt, workspace, before.ref)

    assert '"Which?"="Red"' in asked.reply
    assert "unavailable tool 'question'" in again.reply


async def test_a_question_that_another_client_answers_is_withdrawn(asking: Rig) -> None:
    workspace = asking.workspace()
    turn = asyncio.create_task(asking.ask(call_question_tool(WHICH), workspace))
    await until(lambda: asking.people.questions, "people are asked")
    api = present(asking).api
    here = wire.Session("", str(workspace))
    [asked] = await api.list_questions(here, ())
    await api.answer_question(asked, here, {"1": "Red"})

    assert '"Which?"="Red"' in (await turn).reply
    assert asking.people.given_up == 1


async def test_people_may_take_long_for_a_question(asking: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opencode_turn, "POLL_INTERVAL_SECONDS", 0.05)
    turn = asyncio.create_task(asking.ask(call_question_tool(WHICH)))
    await until(lambda: asking.people.questions, "people are asked")
    monkeypatch.setattr(opencode_turn, "STALL_TIMEOUT_SECONDS", 0.0)
    await until_looked_at(asking, monkeypatch, "list_questions")
    assert (turn.done(), asking.people.given_up, len(asking.people.questions)) == (False, 0, 1)

    turn.cancel()
    await asyncio.wait({turn})
    assert asking.people.given_up == 1
    monkeypatch.undo()
    assert (await asking.ask("[[say next]]")).reply == "next"


#: a text, or tools and their arguments
Decided = str | list[tuple[str, dict[str, Any]]]
Decide = Callable[[list[dict[str, Any]]], Decided]


def improvised(decide: Decide) -> web.Application:
    """Return a model that answers what `decide` says."""

    async def chat(request: web.Request) -> web.StreamResponse:
        decided = decide((await request.json())["messages"])
        delta: dict[str, Any] = {"role": "assistant", "content": decided}
        if not isinstance(decided, str):
            delta["content"] = None
            delta["tool_calls"] = [
                {"index": index, "id": f"call_{time.monotonic_ns()}", "type": "function"}
                | {"function": {"name": name, "arguments": json.dumps(arguments)}}
                for index, (name, arguments) in enumerate(decided)
            ]
        reason = "stop" if isinstance(decided, str) else "tool_calls"
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for piece, finish in ((delta, None), ({}, reason)):
            choice = {"index": 0, "delta": piece, "finish_reason": finish}
            chunk = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m"}
            await response.write(f"data: {json.dumps(chunk | {'choices': [choice]})}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    app = web.Application(client_max_size=1 << 24)
    app.router.add_post("/v1/chat/completions", chat)
    return app


async def test_helpers_ask_by_policy_too_and_a_model_that_repeats_itself_is_cut_off(
    model: ScriptedModel, tmp_path: Path, outside: Path, aiohttp_server: AiohttpServer
) -> None:
    def decide(messages: list[dict[str, Any]]) -> Decided:
        asked = [json.dumps(message["content"]) for message in messages if message["role"] == "user"][-1]
        results = [message for message in messages if message["role"] == "tool"]
        if "go round in circles" in asked:
            return [("bash", {"command": "true", "description": "nothing"})] * 4
        if "peek" in asked:
            return "the helper is done" if results else [("read", {"filePath": str(outside)})]
        if results:
            return "delegated"
        return [("task", {"description": "d", "prompt": "peek", "subagent_type": "general"})]

    server = await aiohttp_server(improvised(decide), shutdown_timeout=0.1)
    async with rigged(tmp_path, model, config=real.config(str(server.make_url("/v1")))) as rig:
        helped = await rig.ask("delegate")
        looped = await rig.ask("go round in circles")

    assert helped.reply == "delegated"
    assert [one.answer for one in helped.of(Permission)] == ["deny"]
    assert "peek" not in helped.text
    assert "the helper is done" not in helped.text
    assert looped.error is not None
    assert "denied by policy (doom_loop" in looped.error.message
    assert looped.error.remedy is not None


def call_shell(command: str) -> str:
    return f"[[tool bash {json.dumps({'command': command, 'description': 'x'})}]]"


@pytest.mark.parametrize("own", ["allow", {"*": "allow"}, {"*": "ask", "bash": {"touch *": "allow"}}], ids=json.dumps)
async def test_what_permissions_say_counts_more_than_opencodes_own_files(asking: Rig, own: object) -> None:
    workspace = asking.workspace()
    (workspace / "opencode.json").write_text(json.dumps({"permission": own}))

    denied = await asking.but(permissions=PermissionPolicy.DENY).ask(call_shell("touch made"), workspace)

    assert denied.of(ToolEnd)[0].is_error
    assert os.listdir(workspace) == ["opencode.json"]


async def test_opencodes_own_rules_count_if_permissions_are_not_set(rig: Rig) -> None:
    workspace = rig.workspace()

    await rig.ask(call_shell("touch made"), workspace)

    assert os.listdir(workspace) == ["made"]


async def test_rules_of_the_agents_entry_count_more_than_what_permissions_say(
    model: ScriptedModel, tmp_path: Path
) -> None:
    rules = {"bash": {"*": "ask", "touch fine*": "allow"}}
    async with rigged(tmp_path, model, config={**real.config(model.base_url), "permission": rules}) as rig:
        workspace = rig.workspace()
        careful = rig.but(permissions=PermissionPolicy.DENY)
        await careful.ask(call_shell("touch fine"), workspace)
        await careful.ask(call_shell("touch denied"), workspace)
        await careful.ask(f'[[tool write {{"filePath": "{workspace}/written", "content": "x"}}]]', workspace)

    assert os.listdir(workspace) == ["fine"]


async def test_helpers_do_not_run_what_is_denied_either(
    model: ScriptedModel, tmp_path: Path, aiohttp_server: AiohttpServer
) -> None:
    def decide(messages: list[dict[str, Any]]) -> Decided:
        asked = [json.dumps(message["content"]) for message in messages if message["role"] == "user"][-1]
        if any(message["role"] == "tool" for message in messages):
            return "done"
        if "create it" in asked:
            return [("bash", {"command": "touch made", "description": "x"})]
        return [("task", {"description": "d", "prompt": "create it", "subagent_type": "general"})]

    server = await aiohttp_server(improvised(decide), shutdown_timeout=0.1)
    async with rigged(tmp_path, model, config=real.config(str(server.make_url("/v1")))) as rig:
        workspace = rig.workspace()
        people = rig.but(permissions=PermissionPolicy.ASK)
        people.people.says = Answer.DENY
        denied = await people.ask("delegate", workspace)
        left = os.listdir(workspace)
        people.people.says = Answer.ALLOW
        allowed = await people.ask("delegate", workspace)

    assert (denied.reply, allowed.reply) == ("done", "done")
    assert left == []
    assert os.listdir(workspace) == ["made"]
