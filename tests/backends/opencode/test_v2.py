"""opencode over version 2 of its API: a scripted server of 2.x, and the early form that the real 1.18 serves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from gateway.backends import BackendResources
from gateway.backends.opencode import events, permissions
from gateway.backends.opencode import turn as opencode_turn
from gateway.backends.opencode.backend import OpencodeBackend
from gateway.backends.opencode.calls import MAX_OPENCODE_ANSWER_BYTES
from gateway.backends.opencode.driven_server import Prompt
from gateway.backends.opencode.events import OPENCODE_SILENCE_SECONDS
from gateway.backends.opencode.options import Options
from gateway.backends.opencode.v2.api import OpencodeApi2
from gateway.domain.agent import Agent, PermissionPolicy
from gateway.domain.event import Permission, Text, Tool, ToolEnd, Usage
from gateway.domain.ports.backend import SessionRef
from gateway.domain.question import AnswerContent, FieldType, Question
from gateway.errors import AgentError
from gateway.process.child import Children
from harness.pictures import make_png
from harness.received_files import ReceivedFile, find_files
from harness.scripted_model import ScriptedModel, serve_model
from harness.waiting import PATIENCE, until
from tests.support import installed, opencode2
from tests.support import opencode as real
from tests.support.attachments import FileDesk, attach_all, make_pdf, make_zip
from tests.support.ledger import MemoryLedger
from tests.support.opencode2_server import SERVER_PASSWORD, ScriptedServer2, serve_opencode2
from tests.support.turns import Heard, exchange, listen, turn


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[OpencodeBackend]:
    environ = {"PATH": os.environ["PATH"]}
    children = Children(MemoryLedger(), environ)
    resources = BackendResources(children=children, environ=environ, directory=directory / "own")
    async with OpencodeBackend(resources) as backend:
        yield backend


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[OpencodeBackend]:
    async with opened(tmp_path) as backend:
        yield backend


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer2]:
    async with serve_opencode2() as server:
        yield server


@pytest.fixture
def agent(server: ScriptedServer2) -> Agent:
    options = Options(url=server.url, password=SERVER_PASSWORD)
    return Agent(id="main", backend="opencode", model="scripted/scripted", options=options)


# --- a scripted server of 2.x -------------------------------------------------------------------


async def test_a_turn_is_a_queued_prompt_with_our_id(
    backend: OpencodeBackend, server: ScriptedServer2, agent: Agent, tmp_path: Path
) -> None:
    heard = await listen(backend, turn(agent, "hello", workspace=tmp_path, run="run1"))

    assert "".join(said.delta for said in heard.of(Text)) == heard.answer == "echo: hello"
    assert heard.of(Usage) == [Usage(input=17, output=3, cached=3, cost=0.5)]
    [prompt] = server.prompts
    assert prompt == {"id": "msg_run1_1", "text": "hello", "delivery": "queue"}
    [session] = server.sessions.values()
    assert session["model"] == {"providerID": "scripted", "id": "scripted"}
    assert session["location"] == {"directory": str(tmp_path)}
    assert session["title"]
    found = await backend.check_health(agent)
    assert (found.ok, found.version) == (True, "2.1.0")


async def test_a_session_goes_on_and_the_system_prompt_is_said_once(
    backend: OpencodeBackend, server: ScriptedServer2, agent: Agent, tmp_path: Path
) -> None:
    agent = msgspec.structs.replace(agent, system_prompt="You are a lighthouse.")

    first = await listen(backend, turn(agent, "one", workspace=tmp_path, run="run1"))
    second = await listen(backend, turn(agent, "two", workspace=tmp_path, run="run2", session_ref=first.session_ref))

    assert first.session_ref == second.session_ref
    assert [prompt["text"].count("lighthouse") for prompt in server.prompts] == [1, 0]
    assert second.answer == "echo: two"


async def test_the_system_prompt_is_said_in_a_session_whose_first_turn_failed_before_its_prompt(
    backend: OpencodeBackend, server: ScriptedServer2, agent: Agent, tmp_path: Path
) -> None:
    agent = msgspec.structs.replace(agent, system_prompt="You are a lighthouse.")
    heard = Heard()
    with pytest.raises(AgentError):
        await listen(backend, turn(agent, "one", workspace=tmp_path, run="run1", model="scripted/other"), heard)

    await listen(backend, turn(agent, "two", workspace=tmp_path, run="run2", session_ref=heard.session_ref))

    [prompt] = server.prompts
    assert prompt["text"] == "<instructions>\nYou are a lighthouse.\n</instructions>\n\ntwo"


async def test_a_tool_has_its_name_its_input_and_its_output(
    backend: OpencodeBackend, agent: Agent, tmp_path: Path
) -> None:
    heard = await listen(backend, turn(agent, "[[tool]]", workspace=tmp_path))

    [tool], [end] = heard.of(Tool), heard.of(ToolEnd)
    assert (tool.name, tool.args) == ("shell", {"command": "pwd"})
    assert (end.id, end.output, end.is_error) == (tool.id, "/here", False)


async def test_a_session_with_much_output_of_tools_goes_on(
    backend: OpencodeBackend, server: ScriptedServer2, agent: Agent, tmp_path: Path
) -> None:
    first = await listen(backend, turn(agent, "one", workspace=tmp_path, run="run1"))
    assert first.session_ref is not None
    done = {"status": "completed", "content": [{"type": "text", "text": "x" * (MAX_OPENCODE_ANSWER_BYTES // 10)}]}
    tool = {"type": "tool", "id": "call", "name": "shell", "state": done}
    at = {"created": 1, "completed": 2}
    large = {"type": "assistant", "content": [tool], "finish": "stop", "time": at}
    server.messages[first.session_ref] += [{"id": f"msg_large_{number}", **large} for number in range(12)]

    second = await listen(backend, turn(agent, "two", workspace=tmp_path, run="run2", session_ref=first.session_ref))

    assert second.answer == "echo: two"


@pytest.mark.parametrize(("policy", "reply"), [(PermissionPolicy.ALLOW, "once"), (PermissionPolicy.DENY, "reject")])
async def test_a_permission_request_gets_the_answer_of_the_policy(
    backend: OpencodeBackend,
    server: ScriptedServer2,
    agent: Agent,
    tmp_path: Path,
    policy: PermissionPolicy,
    reply: str,
) -> None:
    agent = msgspec.structs.replace(agent, permissions=policy)

    heard = await listen(backend, turn(agent, "[[ask]]", workspace=tmp_path))

    assert [sent["reply"] for sent in server.replies] == [reply]
    assert [asked.action for asked in heard.of(Permission)] == ["shell: touch made"]


async def test_people_are_asked_a_form_and_its_fields_are_answered_by_their_keys(
    backend: OpencodeBackend, server: ScriptedServer2, agent: Agent, tmp_path: Path
) -> None:
    asked: list[Question] = []

    async def answer(question: Question) -> AnswerContent:
        asked.append(question)
        return {"color": "red", "count": 2}

    given = msgspec.structs.replace(turn(agent, "[[form]]", workspace=tmp_path), ask_question=answer)
    heard = await listen(backend, given)

    [question] = asked
    assert question.message == "Which?"
    assert [(one.name, one.type, one.required) for one in question.fields] == [
        ("color", FieldType.CHOICE, False),
        ("count", FieldType.INTEGER, True),
    ]
    assert server.answers == [{"answer": {"color": "red", "count": 2}}]
    assert "red" in heard.answer


async def test_a_form_that_nobody_answers_is_cancelled(
    backend: OpencodeBackend, server: ScriptedServer2, agent: Agent, tmp_path: Path
) -> None:
    heard = await listen(backend, turn(agent, "[[form]]", workspace=tmp_path))

    assert server.answers == [{"cancelled": True}]
    assert "cancelled" in heard.answer


@pytest.mark.parametrize(
    "form",
    [
        {"fields": []},
        {"fields": "none"},
        {"fields": [{"key": "when", "type": "date"}]},
        {"fields": [{"key": 3, "type": "string"}]},
        {"fields": [{"key": "n", "type": "number", "options": [{"value": 1, "label": "one"}]}]},
        {"title": "Sign in", "mode": "url", "url": "http://127.0.0.1/"},
    ],
)
async def test_a_form_that_people_cannot_be_asked_is_cancelled(
    backend: OpencodeBackend, server: ScriptedServer2, agent: Agent, tmp_path: Path, form: dict[str, Any]
) -> None:
    server.form = form

    async with asyncio.timeout(PATIENCE):
        await listen(backend, msgspec.structs.replace(turn(agent, "[[form]]", workspace=tmp_path), ask_question=fail))

    assert server.answers == [{"cancelled": True}]


async def fail(question: Question) -> AnswerContent:
    raise AssertionError(question)


async def test_a_form_may_leave_everything_out_but_the_names_of_its_answers(
    backend: OpencodeBackend, server: ScriptedServer2, agent: Agent, tmp_path: Path
) -> None:
    field = {"key": "count", "title": None, "description": None, "required": None, "options": None, "custom": None}
    server.form = {"title": None, "fields": [field, {"key": "color"}]}

    async with asyncio.timeout(PATIENCE):
        given = msgspec.structs.replace(turn(agent, "[[form]]", workspace=tmp_path), ask_question=answer_form)
        await listen(backend, given)

    assert server.answers == [{"answer": {"color": "red", "count": 2}}]


async def test_a_form_of_which_no_event_tells_is_found_while_the_agent_is_silent(
    backend: OpencodeBackend, server: ScriptedServer2, agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opencode_turn, "POLL_INTERVAL_SECONDS_2", 0.05)

    async with asyncio.timeout(PATIENCE):
        await listen(backend, turn(agent, "[[quiet]]", workspace=tmp_path))

    assert server.answers == [{"cancelled": True}]


async def answer_form(_: Question) -> AnswerContent:
    return {"color": "red", "count": 2}


@pytest.mark.parametrize("text", ["[[ask]]", "[[form]]"])
@pytest.mark.parametrize(("refusals", "failing_lists"), [([500], 0), ([0, 503], 0), ([503], 1)])
async def test_an_answer_that_does_not_arrive_is_sent_again(
    backend: OpencodeBackend,
    server: ScriptedServer2,
    agent: Agent,
    tmp_path: Path,
    text: str,
    refusals: list[int],
    failing_lists: int,
) -> None:
    server.refusals, server.failing_lists = refusals, failing_lists
    given = msgspec.structs.replace(turn(agent, text, workspace=tmp_path), ask_question=answer_form)

    async with asyncio.timeout(PATIENCE):
        await listen(backend, given)

    assert [sent.get("reply") or sent["answer"]["count"] for sent in server.replies + server.answers] == (
        ["reject"] if text == "[[ask]]" else [2]
    )


@pytest.mark.parametrize("policy", [PermissionPolicy.DENY, PermissionPolicy.ASK])
async def test_a_turn_fails_when_the_server_takes_no_answer(
    backend: OpencodeBackend,
    server: ScriptedServer2,
    agent: Agent,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    policy: PermissionPolicy,
) -> None:
    monkeypatch.setattr(permissions, "ANSWER_RETRY_SECONDS", (0.01, 0.01))
    server.refusals = [500] * 10
    agent = msgspec.structs.replace(agent, permissions=policy)

    async with asyncio.timeout(PATIENCE):
        with pytest.raises(AgentError, match="not so"):
            await listen(backend, turn(agent, "[[ask]]", workspace=tmp_path))

    assert server.interrupts, "the agent waits no longer"


async def test_an_answer_that_the_server_refuses_becomes_no_answer_and_is_told(
    backend: OpencodeBackend, server: ScriptedServer2, agent: Agent, tmp_path: Path
) -> None:
    server.refusals = [400]
    given = msgspec.structs.replace(turn(agent, "[[form]]", workspace=tmp_path), ask_question=answer_form)

    async with asyncio.timeout(PATIENCE):
        heard = await listen(backend, given)

    assert server.answers == [{"cancelled": True}]
    assert ["its server did not take the answer: opencode answered 400" in said for said in heard.logs] == [True]


async def test_a_failed_turn_says_why(backend: OpencodeBackend, agent: Agent, tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="the model is out of order"):
        await listen(backend, turn(agent, "[[fail]]", workspace=tmp_path))


async def test_a_model_that_is_tried_again_too_late_fails_the_turn(
    backend: OpencodeBackend, server: ScriptedServer2, agent: Agent, tmp_path: Path
) -> None:
    with pytest.raises(AgentError, match="too many requests"):
        await listen(backend, turn(agent, "[[retry]]", workspace=tmp_path))

    assert server.interrupts, "it does not go on"


async def test_after_a_cut_of_the_events_the_answer_comes_from_the_messages(
    backend: OpencodeBackend, agent: Agent, tmp_path: Path
) -> None:
    heard = await listen(backend, turn(agent, "[[cut]] hello", workspace=tmp_path))

    assert heard.answer == "echo: [[cut]] hello"


async def test_after_a_cut_in_the_middle_of_the_answer_the_rest_comes_once_and_in_order(
    backend: OpencodeBackend, agent: Agent, tmp_path: Path
) -> None:
    heard = await listen(backend, turn(agent, "[[gap]]", workspace=tmp_path))

    assert [said.delta for said in heard.of(Text)][:2] == ["one ", "two "]
    assert "".join(said.delta for said in heard.of(Text)) == heard.answer == "one two echo: [[gap]]"
    assert [said.name for said in heard.said if isinstance(said, Tool | ToolEnd)] == ["shell", "shell"]


async def test_a_helper_that_began_during_a_cut_of_the_events_has_its_answers(
    backend: OpencodeBackend, agent: Agent, tmp_path: Path
) -> None:
    async with asyncio.timeout(PATIENCE):
        assert (await listen(backend, turn(agent, "[[helper]]", workspace=tmp_path))).answer == "reject"


async def test_the_end_of_a_turn_interrupts_the_work(
    backend: OpencodeBackend, server: ScriptedServer2, agent: Agent, tmp_path: Path
) -> None:
    async def begin() -> None:
        await listen(backend, turn(agent, "[[hang]]", workspace=tmp_path))

    work = asyncio.create_task(begin())
    await until(lambda: len(server.prompts) == 1, "the prompt")
    work.cancel()
    await asyncio.wait([work])

    await until(lambda: server.interrupts > 0, "the interrupt")


async def test_an_attempt_after_a_crash_takes_over_the_prompt_of_the_first(
    backend: OpencodeBackend, server: ScriptedServer2, agent: Agent, tmp_path: Path
) -> None:
    first = await listen(backend, turn(agent, "hello", workspace=tmp_path, run="run1"))
    again = msgspec.structs.replace(
        turn(agent, "hello", workspace=tmp_path, run="run1", session_ref=first.session_ref), attempt=2
    )

    second = await listen(backend, again)

    assert second.answer == "echo: hello"
    assert len(server.prompts) == 1, "the model has it once"


async def begin_prompt(server: ScriptedServer2, session: str, text: str, attempt: int) -> None:
    """Begin a prompt of run1, as a gateway that is killed then."""
    gone = OpencodeApi2(server.url, SERVER_PASSWORD)
    at = await gone.read_session(session)
    prompt = Prompt(
        text=text,
        model=None,
        agent=None,
        system_prompt=None,
        run="run1",
        attempt=attempt,
        round=1,
        begins_session=False,
    )
    await gone.find_earlier_attempt(at, prompt)
    told = len(server.messages[session])
    await gone.send_prompt(at, prompt)
    await gone.close()
    await until(lambda: len(server.messages[session]) > told, "the work has begun")


async def test_an_attempt_after_a_crash_takes_over_work_that_still_runs_and_answers_what_it_asks(
    backend: OpencodeBackend, server: ScriptedServer2, agent: Agent, tmp_path: Path
) -> None:
    before = await listen(backend, turn(agent, "hello", workspace=tmp_path, run="run0"))
    assert before.session_ref is not None
    await begin_prompt(server, before.session_ref, "[[ask]]", attempt=1)
    again = turn(agent, "[[ask]]", workspace=tmp_path, run="run1", session_ref=before.session_ref)

    async with asyncio.timeout(OPENCODE_SILENCE_SECONDS / 2):  # by then, no lost connection made it look again
        heard = await listen(backend, msgspec.structs.replace(again, attempt=2))

    assert heard.answer == "reject"
    assert [prompt["id"] for prompt in server.prompts] == ["msg_run0_1", "msg_run1_1"]
    assert server.interrupts == 0


async def test_a_third_attempt_takes_over_the_work_of_the_second_and_not_the_failure_of_the_first(
    backend: OpencodeBackend, server: ScriptedServer2, agent: Agent, tmp_path: Path
) -> None:
    heard = Heard()
    with pytest.raises(AgentError):
        await listen(backend, turn(agent, "[[fail]]", workspace=tmp_path, run="run1"), heard)
    assert heard.session_ref is not None
    await begin_prompt(server, heard.session_ref, "[[ask]]", attempt=2)
    again = turn(agent, "[[ask]]", workspace=tmp_path, run="run1", session_ref=heard.session_ref)

    async with asyncio.timeout(OPENCODE_SILENCE_SECONDS / 2):
        third = await listen(backend, msgspec.structs.replace(again, attempt=3))

    assert third.answer == "reject"
    assert [prompt["id"] for prompt in server.prompts] == ["msg_run1_1", "msg_run1_2"]


async def test_an_answer_that_was_stopped_is_not_taken_over(
    backend: OpencodeBackend, agent: Agent, tmp_path: Path
) -> None:
    heard = Heard()
    with pytest.raises(AgentError, match="told to stop"):
        await listen(backend, turn(agent, "[[stop]]", workspace=tmp_path, run="run1"), heard)
    again = turn(agent, "hello", workspace=tmp_path, run="run1", session_ref=heard.session_ref)

    assert (await listen(backend, msgspec.structs.replace(again, attempt=2))).answer == "echo: hello"


async def test_an_attempt_that_begins_another_session_has_a_prompt_of_its_own(
    backend: OpencodeBackend, server: ScriptedServer2, agent: Agent, tmp_path: Path
) -> None:
    first = await listen(backend, turn(agent, "hello", workspace=tmp_path, run="run1"))
    assert first.session_ref is not None
    server.sessions[first.session_ref]["location"] = {"directory": "/elsewhere"}
    again = turn(agent, "hello", workspace=tmp_path, run="run1", session_ref=first.session_ref)

    async with asyncio.timeout(PATIENCE):
        assert (await listen(backend, msgspec.structs.replace(again, attempt=2))).answer == "echo: hello"
    assert [prompt["id"] for prompt in server.prompts] == ["msg_run1_1", "msg_run1_2"]


async def test_a_prompt_whose_id_belongs_to_another_one_is_refused(
    backend: OpencodeBackend, agent: Agent, tmp_path: Path
) -> None:
    await listen(backend, turn(agent, "hello", workspace=tmp_path, run="run1"))

    async with asyncio.timeout(PATIENCE):
        with pytest.raises(AgentError, match="conflicts with an existing record"):
            await listen(backend, turn(agent, "other", workspace=tmp_path, run="run1"))


async def test_each_round_of_a_goal_has_a_prompt_of_its_own_and_is_continued_by_the_next_attempt(
    backend: OpencodeBackend, server: ScriptedServer2, agent: Agent, tmp_path: Path
) -> None:
    first = await listen(backend, turn(agent, "one", workspace=tmp_path, run="run1"))
    second = turn(agent, "two", workspace=tmp_path, run="run1", session_ref=first.session_ref)

    async with asyncio.timeout(PATIENCE):
        begun = await listen(backend, msgspec.structs.replace(second, round=2))
        again = await listen(backend, msgspec.structs.replace(second, round=2, attempt=2))
        third = await listen(backend, msgspec.structs.replace(second, round=3, attempt=2, input="three"))

    assert [begun.answer, again.answer, third.answer] == ["echo: two", "echo: two", "echo: three"]
    assert [prompt["text"] for prompt in server.prompts] == ["one", "two", "three"]


async def test_an_attempt_after_one_that_failed_has_a_prompt_of_its_own(
    backend: OpencodeBackend, server: ScriptedServer2, agent: Agent, tmp_path: Path
) -> None:
    heard = Heard()
    with pytest.raises(AgentError):
        await listen(backend, turn(agent, "[[fail]]", workspace=tmp_path, run="run1"), heard)
    again = turn(agent, "hello", workspace=tmp_path, run="run1", session_ref=heard.session_ref)

    second = await listen(backend, msgspec.structs.replace(again, attempt=2))

    assert second.answer == "echo: hello"
    assert [prompt["id"] for prompt in server.prompts] == ["msg_run1_1", "msg_run1_2"]


async def test_a_model_that_the_server_does_not_have_is_refused_before_the_prompt(
    backend: OpencodeBackend, server: ScriptedServer2, agent: Agent, tmp_path: Path
) -> None:
    with pytest.raises(AgentError, match="no model scripted/other"):
        await listen(backend, turn(agent, "hello", workspace=tmp_path, model="scripted/other"))

    assert server.prompts == []


async def test_a_session_that_the_server_does_not_know_is_begun_again(
    backend: OpencodeBackend, agent: Agent, tmp_path: Path
) -> None:
    heard = await listen(backend, turn(agent, "hello", workspace=tmp_path, session_ref="ses_gone"))

    assert heard.answer == "echo: hello"
    assert heard.session_ref == "ses_0"


async def test_a_server_that_lacks_routes_cannot_be_used_by_its_url(
    backend: OpencodeBackend, agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lack(*_: object) -> bool:
        return False

    monkeypatch.setattr(OpencodeApi2, "has_needed_routes", lack)

    with pytest.raises(AgentError, match=r"opencode 2\.1\.0, which lacks routes") as raised:
        await listen(backend, turn(agent, "hello", workspace=tmp_path))
    assert "opencode acp" in str(raised.value.remedy)


@asynccontextmanager
async def serve_version_1() -> AsyncIterator[int]:
    """Serve a server of version 1 that has no sessions; give its port."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/global/event":
            stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await stream.prepare(request)
            await stream.write(b":\n\n")
            await asyncio.Event().wait()
        known = request.path == "/global/health"
        return web.json_response({"version": "1.18.34"}, status=200 if known else 400)

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def test_a_server_that_is_upgraded_in_its_place_is_driven_as_what_it_is_now(
    backend: OpencodeBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "RECONNECT_TIMEOUT_SECONDS", 1.0)
    async with serve_version_1() as port:
        agent = Agent(
            id="main", backend="opencode", options=Options(url=f"http://127.0.0.1:{port}", password=SERVER_PASSWORD)
        )
        with pytest.raises(AgentError, match="answered 400 to /session"):
            await listen(backend, turn(agent, "hello", workspace=tmp_path))

    async with serve_opencode2(port), asyncio.timeout(PATIENCE):
        heard = Heard()
        while not heard.answer:
            with contextlib.suppress(AgentError):  # until the old connection counts as lost
                await listen(backend, turn(agent, "hello", workspace=tmp_path), heard)

    assert heard.answer == "echo: hello"


# --- the real 1.18 ------------------------------------------------------------------------------


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with serve_model() as model:
        yield model


@pytest.mark.agents("opencode")
async def test_the_real_program_works_over_the_early_form_of_the_api(
    model: ScriptedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opencode_turn, "POLL_INTERVAL_SECONDS_2", 0.5)
    home = real.home(tmp_path / "home", model.base_url)  # this form of the API reads no configuration but the files
    workspace = tmp_path / "work"
    workspace.mkdir()
    (workspace / "opencode.json").write_text(json.dumps({"permission": {"bash": "ask"}}))
    agent = Agent(
        id="main",
        backend="opencode",
        model="scripted/scripted",
        options=Options(command=[installed.program("opencode")]),
        env=real.environment(home),
    )
    call = json.dumps({"command": "touch made", "description": "x"})

    with opencode2.ask_for_version_2():
        async with opened(tmp_path) as backend:
            first = await listen(backend, turn(agent, "[[say noted]] heliotrope", workspace=workspace, run="run1"))
            ref = first.session_ref
            second = await listen(
                backend,
                turn(
                    agent, "[[recall]]", workspace=workspace, run="run2", session_ref=ref, model="scripted/scripted-b"
                ),
            )
            denied = await listen(
                backend, turn(agent, f"[[tool bash {call}]]", workspace=workspace, run="run3", session_ref=ref)
            )
            assert not (workspace / "made").exists()
            may = msgspec.structs.replace(agent, permissions=PermissionPolicy.ALLOW)
            allowed = await listen(
                backend, turn(may, f"[[tool bash {call}]]", workspace=workspace, run="run4", session_ref=ref)
            )
            assert (workspace / "made").exists()
            sent = len(model.requests)
            again = turn(agent, "[[recall]]", workspace=workspace, run="run2", session_ref=ref)
            taken = await listen(backend, msgspec.structs.replace(again, attempt=2))
            assert len(model.requests) == sent, "the model has it once"
            async with aclosing(
                backend.stream_turn(turn(agent, "[[slow 1000 100]]", workspace=workspace, run="run5", session_ref=ref))
            ) as stream:
                async for said in stream:
                    if isinstance(said, Text):
                        break
            await until(lambda: model.counters.active == 0, "the model has nothing to do")

    assert first.answer == "noted"
    assert first.usage.input > 100
    assert "heliotrope" in second.answer
    assert taken.answer == second.answer
    assert model.requests[1]["body"]["model"] == "scripted-b"
    assert [tool.name for tool in denied.of(Tool)] == ["bash"]
    assert denied.of(ToolEnd)[0].is_error
    assert [asked.answer for asked in denied.of(Permission)] == ["deny"]
    assert not allowed.of(ToolEnd)[0].is_error


@pytest.mark.agents("opencode")
async def test_a_program_that_does_not_read_the_configuration_is_refused(model: ScriptedModel, tmp_path: Path) -> None:
    home = real.home(tmp_path / "home", model.base_url)
    workspace = tmp_path / "work"
    workspace.mkdir()  # what its files say of the agent by which it is found out does not count
    (workspace / "opencode.json").write_text(json.dumps({"agent": {"title": {"disable": True}}}))
    options = Options(command=[installed.program("opencode")], config={"permission": {"bash": "deny"}})
    agent = Agent(id="main", backend="opencode", options=options, env=real.environment(home))

    with opencode2.ask_for_version_2():
        async with opened(tmp_path) as backend:
            with pytest.raises(AgentError, match="does not read the agent's `config`"):
                await listen(backend, turn(agent, "[[say x]]", workspace=workspace))
            careful = msgspec.structs.replace(
                agent, options=Options(command=agent.options.command), permissions=PermissionPolicy.DENY
            )
            with pytest.raises(AgentError, match="cannot be made to ask") as refused:
                await listen(backend, turn(careful, "[[say x]]", workspace=workspace))

    assert "remove `permissions`" in (refused.value.remedy or "")
    assert not model.requests


# --- files --------------------------------------------------------------------------------------


GIF, PNG = b"GIF89a" + bytes(20), make_png()


async def test_files_are_data_urls_of_the_prompt(
    backend: OpencodeBackend, server: ScriptedServer2, agent: Agent, tmp_path: Path
) -> None:
    files = attach_all({"a.png": PNG, "b.gif": GIF, "c.pdf": make_pdf(), "d.zip": make_zip()})

    given = FileDesk(tmp_path / "files").attach_to(turn(agent, "look", workspace=tmp_path, run="run-1"), files)
    heard = await listen(backend, given)

    [prompt] = server.prompts
    assert heard.answer.startswith("echo: look")
    assert [file["name"] for file in prompt["files"]] == ["a.png", "b.gif"]
    assert list(find_files(prompt)) == [ReceivedFile("image/png", PNG), ReceivedFile("image/gif", GIF)]
    for name in ("a.png", "b.gif", "c.pdf", "d.zip"):
        assert f"{tmp_path}/attachments/run-1/{name} (" in prompt["text"]


async def test_a_prompt_that_is_refused_with_its_files_is_sent_without_them_to_a_new_conversation(
    backend: OpencodeBackend, server: ScriptedServer2, agent: Agent, tmp_path: Path
) -> None:
    server.refuses_files = True
    first = await listen(backend, turn(agent, "one", workspace=tmp_path, run="run1"))
    given = turn(
        agent,
        "look",
        workspace=tmp_path,
        run="run2",
        session_ref=first.session_ref,
        history=exchange("the word is heliotrope", "noted", "run1"),
    )

    heard = await listen(backend, FileDesk(tmp_path / "files").attach_to(given, attach_all({"a.png": PNG})))

    _, refused, taken = server.prompts
    assert (refused["id"], taken["id"]) == ("msg_run2_1", "msg_run2_1_again")
    assert "files" not in taken
    assert "heliotrope" in taken["text"]
    assert "/attachments/run2/a.png (" in taken["text"]
    assert heard.answer == f"echo: {taken['text']}"
    assert heard.of(SessionRef)[0].ref == first.session_ref != heard.session_ref
    assert any("only names its files: a.png" in said for said in heard.logs)


async def test_an_attempt_after_a_crash_takes_over_a_prompt_that_was_sent_again_without_its_files(
    backend: OpencodeBackend, server: ScriptedServer2, agent: Agent, tmp_path: Path
) -> None:
    server.refuses_files = True
    before = await listen(backend, turn(agent, "one", workspace=tmp_path, run="run1"))
    given = turn(agent, "look", workspace=tmp_path, run="run2", session_ref=before.session_ref)
    given = FileDesk(tmp_path / "files").attach_to(given, attach_all({"a.png": PNG}))
    first = await listen(backend, given)

    async with asyncio.timeout(PATIENCE):
        second = await listen(backend, msgspec.structs.replace(given, attempt=2, session_ref=first.session_ref))

    assert second.answer == first.answer != ""
    assert [prompt["id"] for prompt in server.prompts] == ["msg_run1_1", "msg_run2_1", "msg_run2_1_again"]


@pytest.mark.agents("opencode")
async def test_the_model_gets_files_over_the_early_form_of_the_api(model: ScriptedModel, tmp_path: Path) -> None:
    home = real.home(tmp_path / "home", model.base_url)  # this form of the API reads no configuration but the files
    options = Options(command=[installed.program("opencode")])
    agent = Agent(id="main", backend="opencode", options=options, env=real.environment(home))
    desk, files = FileDesk(tmp_path / "files"), {"a.png": PNG, "report.log": b"a line"}

    with opencode2.ask_for_version_2():
        async with opened(tmp_path) as backend:
            given = turn(agent, "[[say seen]]", workspace=tmp_path)
            heard = await listen(backend, desk.attach_to(given, attach_all(files)))
            given = turn(agent, "[[error 400 1]]", workspace=tmp_path, run="run-2", session_ref=heard.session_ref)
            refused = await listen(backend, desk.attach_to(given, attach_all({"b.png": make_png("b")})))

    assert (heard.answer, refused.answer) == ("seen", "recovered")
    assert list(find_files(model.requests[0]["body"])) == [ReceivedFile("image/png", PNG)]
    assert list(find_files(model.last_prompt["body"])) == []
    assert "/attachments/run-1/report.log (" in json.dumps(model.requests[0]["body"])
    assert "only names its files: b.png" in refused.logs[0]
