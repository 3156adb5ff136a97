"""What agents tell in a turn becomes events. The messages are as the real agents sent them to scripted models."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from acp.schema import PromptResponse, SessionNotification, ToolCallUpdate

from gateway.backends.acp import tool_calls
from gateway.backends.acp.connection import LoadedSession
from gateway.backends.acp.permissions import AnsweredRequest
from gateway.backends.acp.updates import UpdateReader
from gateway.domain.agent import PermissionPolicy
from gateway.domain.event import BackendEvent, Log, Permission, Text, Thinking, Tool, ToolEnd, Usage
from gateway.errors import AgentError
from harness.waiting import until
from tests.support.acp import Rig, of

COMMAND = {"command": "touch hi.txt; echo hi"}


def update(kind: str, /, **about: Any) -> Any:
    """Return an update as the library reads it."""
    told = {"sessionId": "s", "update": {"sessionUpdate": kind, **about}}
    return SessionNotification.model_validate(told).update


def text(said: str, message: str | None = None, **about: Any) -> Any:
    return update("agent_message_chunk", content={"type": "text", "text": said}, messageId=message, **about)


def call(**about: Any) -> Any:
    return update("tool_call", **({"toolCallId": "1", "title": "Terminal", "status": "pending"} | about))


def progress(**about: Any) -> Any:
    return update("tool_call_update", **({"toolCallId": "1"} | about))


def permission(**about: Any) -> Any:
    return ToolCallUpdate.model_validate({"toolCallId": "1", "status": "pending"} | about)


def content(said: str) -> list[dict[str, Any]]:
    return [{"type": "content", "content": {"type": "text", "text": said}}]


def read(*updates: Any, end: dict[str, Any] | None = None, agent: str = "") -> list[BackendEvent]:
    """Return the events of a turn with these updates, and with this answer to its prompt."""
    reader, session = UpdateReader(agent), LoadedSession()
    said = [event for one in updates for event in reader.read_update(session, one)]
    answer = PromptResponse.model_validate({"stopReason": "end_turn"} | (end or {}))
    return said + reader.read_end(answer)


def written(events: Sequence[BackendEvent]) -> str:
    return "".join(event.delta for event in events if isinstance(event, Text))


# --- tools ----------------------------------------------------------------------------------------


async def test_a_call_is_shown_when_its_input_is_known() -> None:
    meta = {"claudeCode": {"toolName": "Bash"}}
    events = read(
        call(rawInput={}, _meta=meta),
        progress(rawInput=COMMAND, title=COMMAND["command"], _meta=meta),
        progress(status="completed", rawOutput="hi", content=content("```console\nhi\n```"), _meta=meta),
    )

    assert events == [
        Tool(id="1", name="Bash", title=COMMAND["command"], args=COMMAND),
        ToolEnd(id="1", name="Bash", output="hi"),
    ]


async def test_an_input_that_comes_in_parts_is_shown_when_it_is_whole() -> None:
    reader, session = UpdateReader(), LoadedSession()
    for part in (call(rawInput={}), progress(rawInput={"path": "a"}), progress(rawInput={"path": "a", "content": "x"})):
        assert reader.read_update(session, part) == []

    said = reader.read_update(session, update("usage_update", used=2555, size=1_000_000))

    assert said == [Tool(id="1", name="Terminal", args={"path": "a", "content": "x"})]


async def test_a_piece_without_text_does_not_show_a_call_whose_input_is_not_told() -> None:
    events = read(call(rawInput={}), text(""), permission(rawInput=COMMAND), progress(status="completed"))

    assert events == [Tool(id="1", name="Terminal", args=COMMAND), ToolEnd(id="1", name="Terminal")]


async def test_the_files_stand_for_an_input_that_the_agent_does_not_tell() -> None:
    place = [{"path": "/work/a.txt"}]
    events = read(call(title="a.txt", status="in_progress", locations=place), progress(status="completed"))

    assert events[0] == Tool(id="1", name="a.txt", args={"locations": ["/work/a.txt"]})


async def test_the_pieces_of_a_terminal_are_the_output() -> None:
    pieces = [progress(_meta={"terminal_output_delta": {"data": data}}) for data in ("one\n", "two\n")]
    events = read(call(status="in_progress", rawInput=COMMAND), *pieces, progress(status="failed"))

    assert events[-1] == ToolEnd(id="1", name="Terminal", is_error=True, output="one\ntwo\n")


async def test_an_endless_terminal_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool_calls, "MAX_TERMINAL_CHARACTERS", 5)
    pieces = [progress(_meta={"terminal_output_delta": {"data": "abc"}}) for _ in range(3)]

    assert read(call(status="in_progress"), *pieces)[-1] == ToolEnd(id="1", name="Terminal", output="abcab")


async def test_a_changed_file_is_told_with_what_the_tool_returned() -> None:
    change = [{"type": "diff", "path": "/work/a.txt", "oldText": None, "newText": "x"}]
    events = read(
        call(title="Preparing file"),
        progress(rawInput={"file_path": "/work/a.txt"}, content=change),
        progress(status="completed", rawOutput="File created."),
    )

    assert events[-1] == ToolEnd(id="1", name="Preparing file", output="changed a.txt\nFile created.")


async def test_a_change_that_is_told_as_an_object_too_is_told_once() -> None:
    change = [{"type": "diff", "path": "/work/a.txt", "oldText": "", "newText": "x"}]
    end = progress(status="completed", content=change, rawOutput={"fileDiff": "+x", "fileName": "a.txt"})

    assert read(call(status="in_progress"), end)[-1] == ToolEnd(id="1", name="Terminal", output="changed a.txt")


@pytest.mark.parametrize(
    "meta", [{"claudeCode": 1}, {"claudeCode": {"toolName": 1}}, {"toolName": None}, {"terminal_output_delta": [1]}]
)
async def test_metadata_of_another_shape_is_passed_over(meta: dict[str, Any]) -> None:
    assert read(call(status="in_progress", _meta=meta))[0] == Tool(id="1", name="Terminal")


async def test_the_input_of_a_call_may_come_with_a_permission_request() -> None:
    meta = {"toolName": "run_shell_command"}
    events = read(
        call(title="Shell", rawInput={}, _meta=meta),
        permission(title=COMMAND["command"], rawInput=COMMAND, _meta=meta),
        progress(status="completed", content=content("Output: hi"), rawOutput={"output": "hi"}, _meta=meta),
    )

    assert events == [
        Tool(id="1", name="run_shell_command", title=COMMAND["command"], args=COMMAND),
        ToolEnd(id="1", name="run_shell_command", output="Output: hi"),
    ]


async def test_a_call_that_only_a_permission_request_tells_is_shown_with_its_end() -> None:
    change = [{"type": "diff", "path": "/work/a.txt", "oldText": "", "newText": "x"}]
    events = read(
        permission(title="Writing to a.txt", kind="edit", content=change),
        progress(title="Writing to a.txt", kind="edit", status="completed", content=change),
    )

    assert events == [
        Tool(id="1", name="Writing to a.txt"),
        ToolEnd(id="1", name="Writing to a.txt", output="changed a.txt"),
    ]


async def test_a_first_input_that_is_not_whole_is_not_shown() -> None:
    events = read(
        call(title="bash", rawInput={"cwd": "/work"}),
        progress(status="in_progress", title=COMMAND["command"], rawInput=COMMAND | {"cwd": "/work"}),
        progress(status="in_progress", title=COMMAND["command"], content=content("h")),
        progress(status="completed", title=COMMAND["command"], content=content("hi\n")),
    )

    assert events == [
        Tool(id="1", name="bash", title=COMMAND["command"], args=COMMAND | {"cwd": "/work"}),
        ToolEnd(id="1", name="bash", output="hi\n"),
    ]


async def test_a_call_that_has_begun_is_shown_at_once() -> None:
    reader = UpdateReader()

    said = reader.read_update(LoadedSession(), call(title="nope.txt", status="in_progress", kind="read"))

    assert said == [Tool(id="1", name="nope.txt")]


async def test_a_call_is_not_held_back_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool_calls, "HOLD_SECONDS", 0.0)
    reader = UpdateReader()
    assert reader.seconds_to_wait is None

    assert reader.read_update(LoadedSession(), call()) == []
    assert reader.seconds_to_wait == 0.0

    assert reader.show_overdue() == [Tool(id="1", name="Terminal")]
    assert reader.seconds_to_wait is None


async def test_a_call_is_shown_before_the_text_after_it() -> None:
    assert read(call(), text("And now:"), progress(status="failed", rawOutput="no"))[:2] == [
        Tool(id="1", name="Terminal"),
        Text(delta="And now:"),
    ]


async def test_a_denied_call_ends_with_the_turn_if_the_agent_does_not_tell_its_end() -> None:
    reader, session = UpdateReader(), LoadedSession()
    said = reader.read_update(session, permission(title="rm -rf /"))
    said += reader.read_update(session, AnsweredRequest(permission(), "rm -rf /", is_allowed=False, event=None))
    said += reader.read_end(PromptResponse(stop_reason="end_turn"))

    assert said == [
        Tool(id="1", name="rm -rf /"),
        ToolEnd(id="1", name="rm -rf /", is_error=True, output="it was not allowed"),
    ]


async def test_an_end_comes_once() -> None:
    events = read(
        call(status="in_progress"),
        progress(status="completed", rawOutput="one"),
        progress(status="completed", rawOutput="two"),
        progress(title="later"),
    )

    assert [event.output for event in events if isinstance(event, ToolEnd)] == ["one"]
    assert len(events) == 2


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ({"formatted_output": "hi\n", "exit_code": 0}, "hi\n"),
        ({"stdout": "hi"}, "hi"),
        ({"exit_code": 1}, '{"exit_code":1}'),
        (None, ""),
    ],
)
async def test_the_output_of_a_call_is_found_where_the_agent_has_it(told: Any, shown: str) -> None:
    events = read(call(status="in_progress"), progress(status="completed", rawOutput=told))

    assert events[-1] == ToolEnd(id="1", name="Terminal", output=shown)


async def test_no_number_of_calls_grows_without_bound() -> None:
    reader, session = UpdateReader(), LoadedSession()
    for number in range(tool_calls.MAX_OPEN_CALLS + tool_calls.MAX_REMEMBERED_CALLS + 10):
        reader.read_update(session, call(toolCallId=str(number), status="in_progress"))

    assert len(reader.read_end(PromptResponse(stop_reason="end_turn"))) == tool_calls.MAX_OPEN_CALLS


# --- text -----------------------------------------------------------------------------------------


async def test_another_message_begins_a_paragraph() -> None:
    assert written(read(text("I use ", "m1"), text("a tool.", "m1"), text("tool ", "m2"), text("result", "m2"))) == (
        "I use a tool.\n\ntool result"
    )


async def test_a_tool_call_between_two_texts_parts_them() -> None:
    done = progress(status="completed", rawOutput="x")

    assert written(read(text("First."), call(), done, text("Then."), text(" End."))) == "First.\n\nThen. End."


@pytest.mark.parametrize(
    ("first", "second"), [("One.\n", "Two."), ("One.\n\n", "Two."), ("One.", "\n\nTwo."), ("One.\n", "\nTwo.")]
)
async def test_a_paragraph_has_one_blank_line(first: str, second: str) -> None:
    assert written(read(text(first, "m1"), text(second, "m2"))) == "One.\n\nTwo."


async def test_an_answer_does_not_begin_with_a_blank_line() -> None:
    assert written(read(call(status="in_progress"), progress(status="completed"), text("Done."))) == "Done."


async def test_a_tool_call_parts_a_message_too() -> None:
    used = (call(status="in_progress"), progress(status="completed"))

    assert written(read(text("I search.", "m1"), *used, text("Found.", "m1"))) == "I search.\n\nFound."


async def test_a_tool_that_works_or_ends_in_the_background_does_not_part_a_message() -> None:
    told = (call(status="in_progress"), text("It ", "m1"), progress(content=content("x")), text("is ", "m1"))

    assert written(read(*told, progress(status="completed"), text("green", "m1"))) == "It is green"


async def test_an_empty_piece_does_not_part_a_message() -> None:
    assert written(read(text("One", "m1"), text("", None), text(" two", "m1"))) == "One two"


async def test_thoughts_of_other_messages_are_paragraphs() -> None:
    thoughts = [
        update("agent_thought_chunk", content={"type": "text", "text": said}, messageId=message)
        for said, message in (("One", "m1"), ("Two", "m2"), ("", "m3"))
    ]

    said = [event for event in read(*thoughts) if isinstance(event, Thinking)]

    assert said == [Thinking(delta="One"), Thinking(delta="\n\nTwo")]


CODEX = "@agentclientprotocol/codex-acp"
UNKNOWN_MODEL = "Model metadata for `x` not found. Defaulting to fallback metadata; this can degrade performance."


@pytest.mark.parametrize(
    ("agent", "notice"),
    [
        (CODEX, f"Warning: {UNKNOWN_MODEL}\n\n"),
        (CODEX, "Config warning: unknown key\n\nIt is `a`.\n\n"),
        (CODEX, "*Context compacted to fit the model's context window.*\n\n"),
        ("codex-acp", UNKNOWN_MODEL),
    ],
)
async def test_a_notice_of_codex_is_no_part_of_the_answer(agent: str, notice: str) -> None:
    answer = "hello" if agent == "codex-acp" else "hello there"
    events = read(text(notice), text(answer, None if agent == "codex-acp" else "m1"), agent=agent)

    assert events == [Log(level="warning", message=f"the agent says: {notice.strip()}"), Text(delta=answer)]


async def test_a_notice_of_claude_is_no_part_of_the_answer() -> None:
    meta = {"claudeCode": {"kind": "informational", "level": "warning"}}
    events = read(text("Hello ", "m1"), text("**Warning:** it rains", _meta=meta), text("Ada", "m1"))

    assert written(events) == "Hello Ada"
    assert events[1] == Log(level="warning", message="the agent says: **Warning:** it rains")


@pytest.mark.parametrize(("agent", "message"), [("gemini-cli", None), ("codex-acp", None), (CODEX, "m1")])
async def test_an_answer_may_be_a_warning(agent: str, message: str | None) -> None:
    assert written(read(text("Warning: hot\n\n", message), text("coffee", message), agent=agent)) == (
        "Warning: hot\n\ncoffee"
    )


async def test_what_an_adapter_says_outside_of_messages_is_a_paragraph() -> None:
    told = (text("Hello", "m1"), text("**Model fallback:** to another"), text("Ada", "m2"))

    assert written(read(*told)) == "Hello\n\n**Model fallback:** to another\n\nAda"


# --- usage ----------------------------------------------------------------------------------------


def used(*updates: Any, end: dict[str, Any] | None = None) -> list[Usage]:
    return [event for event in read(*updates, end=end) if isinstance(event, Usage)]


async def test_the_usage_of_gemini_is_in_its_quota() -> None:
    told = {"_meta": {"quota": {"token_count": {"input_tokens": 402, "output_tokens": 30}}}}

    assert used(end=told) == [Usage(input=402, output=30)]


async def test_the_usage_of_qwen_comes_with_each_request_to_the_model() -> None:
    steps = [
        text("", _meta={"usage": {"inputTokens": 8885, "outputTokens": 14, "cachedReadTokens": 5}}),
        text("", _meta={"usage": {"inputTokens": 8917, "outputTokens": 35, "cachedReadTokens": 0}}),
    ]
    whole = {"usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}}

    assert sum(used(*steps, end=whole), Usage()) == Usage(input=17_802, output=49, cached=5)


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        # Claude Code: the caches are apart
        ((10, 5, 300, 40, None, 355), Usage(input=350, output=5, cached=300)),
        # codex: the caches and the reasoning are included
        ((340, 25, 300, 0, 20, 365), Usage(input=340, output=25, cached=300)),
        # all is apart
        ((10, 5, 300, 40, 20, 375), Usage(input=350, output=25, cached=300)),
        # only the reasoning is apart
        ((340, 5, 300, 0, 20, 365), Usage(input=340, output=25, cached=300)),
        # the total fits nothing
        ((10, 5, 300, 40, 20, 7), Usage(input=10, output=5, cached=300)),
    ],
)
async def test_the_total_tells_what_the_tokens_of_an_agent_include(told: tuple[int | None, ...], meant: Usage) -> None:
    names = ("inputTokens", "outputTokens", "cachedReadTokens", "cachedWriteTokens", "thoughtTokens", "totalTokens")

    assert used(end={"usage": dict(zip(names, told, strict=True))}) == [meant]


@pytest.mark.parametrize("count", [-1, 1e30, "7", True, None, float("nan"), [1]])
async def test_a_count_that_is_none_is_not_used(count: Any) -> None:
    told = {"_meta": {"quota": {"token_count": {"input_tokens": count, "output_tokens": 3}}}}

    assert used(end=told) == [Usage(output=3)]
    assert used(text("", _meta={"usage": {"inputTokens": count}})) == []
    assert used(text("", _meta={"usage": count}), end={"_meta": {"quota": count}}) == []


async def test_an_agent_that_tells_no_tokens_has_no_usage() -> None:
    assert used(text("hello"), end={"_meta": {}}) == []
    assert used(end={"usage": {"inputTokens": 0, "outputTokens": 0, "totalTokens": 0}}) == []


# --- a turn that does not succeed -----------------------------------------------------------------


def script(rig: Rig, *lines: dict[str, Any]) -> str:
    """Write what the scripted agent tells, and return the prompt for it."""
    (rig.workspace / "told").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return "[[replay told]]"


RUNNING = {"update": {"sessionUpdate": "tool_call", "toolCallId": "1", "title": "sleep 20", "status": "in_progress"}}


async def test_a_turn_that_fails_reports_the_tokens_that_were_told_and_ends_its_tools(rig: Rig) -> None:
    used = {"usage": {"inputTokens": 10, "outputTokens": 1}}
    piece = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": ""}, "_meta": used}
    said: list[Any] = []

    with pytest.raises(AgentError, match="out of credit"):
        await rig.ask(script(rig, RUNNING, {"update": piece}, {"fail": "out of credit"}), said=said)

    assert of(said, Usage) == [Usage(input=10, output=1)]
    assert [(end.name, end.is_error) for end in of(said, ToolEnd)] == [("sleep 20", True)]


async def test_a_turn_that_is_cancelled_reports_the_tokens_that_the_agent_tells_then(rig: Rig) -> None:
    tokens = {"inputTokens": 2653, "outputTokens": 5, "totalTokens": 2658}
    said: list[Any] = []
    prompt = script(rig, {"result": {"usage": tokens}}, RUNNING, {"wait": True})
    asking = asyncio.create_task(rig.ask(prompt, said=said))
    await until(lambda: of(said, Tool), "the tool runs")
    asking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asking

    assert of(said, Usage) == [Usage(input=2653, output=5)]
    assert [(end.name, end.is_error) for end in of(said, ToolEnd)] == [("sleep 20", True)]


@pytest.mark.parametrize("policy", [PermissionPolicy.ALLOW, PermissionPolicy.DENY])
async def test_a_request_and_its_answer_stand_where_the_agent_asked(rig: Rig, policy: PermissionPolicy) -> None:
    rig.but(permissions=policy)
    first, last = ({"sessionUpdate": "agent_message_chunk", "content": content(said)[0]["content"]} for said in "ab")
    asked = {"toolCallId": "1", "title": "rm", "kind": "execute", "status": "pending"}
    end = {"sessionUpdate": "tool_call_update", "toolCallId": "1", "status": "failed"}

    said = await rig.ask(script(rig, {"update": first}, {"ask": asked}, {"update": end}, {"update": last}))

    told = [type(one) for one in said if isinstance(one, Text | Tool | Permission | ToolEnd)]
    assert told == [Text, Tool, Permission, ToolEnd, Text]
    assert written(said) == "a\n\nb"


async def test_what_was_said_before_a_denial_is_no_answer_to_it(rig: Rig) -> None:
    rig.but(permissions=PermissionPolicy.DENY)
    said = {"sessionUpdate": "agent_message_chunk", "content": content("I use a tool.")[0]["content"]}

    with pytest.raises(AgentError, match="stopped when it was not allowed: rm"):
        await rig.ask(script(rig, {"update": said}, {"ask": {"toolCallId": "1", "title": "rm"}}))
