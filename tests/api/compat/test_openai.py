"""The OpenAI API, by the official SDK."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from gateway.domain.page import Page
from gateway.domain.run import RunFilter
from gateway.domain.run import Status as RunStatus
from harness.waiting import PATIENCE
from tests.support.inprocess import TOKEN, Serving, serving


@pytest.fixture
async def sdk(moongate: Serving) -> AsyncIterator[AsyncOpenAI]:
    async with made(moongate) as client:
        yield client


def made(served: Serving, key: str = TOKEN) -> AsyncOpenAI:
    transport = httpx.AsyncHTTPTransport()
    return AsyncOpenAI(
        base_url=f"http://127.0.0.1:{served.port}/v1", api_key=key, http_client=httpx.AsyncClient(transport=transport)
    )


def said(*lines: str, role: str = "user") -> list[Any]:
    return [{"role": role, "content": line} for line in lines]


async def runs(served: Serving) -> int:
    async with served.client.get("/api/tasks") as response:
        return len((await response.json())["tasks"])


PICTURE = {"type": "image_url", "image_url": {"url": "x"}}


# --- models -----------------------------------------------------------------------------------


async def test_agents_are_listed_as_models(sdk: AsyncOpenAI) -> None:
    assert [model.id async for model in await sdk.models.list()] == ["main"]
    assert (await sdk.models.retrieve("main")).id == "main"


@pytest.mark.parametrize("name", ["gpt-4o", "nobody/gpt-4o", "main/ no model"])
async def test_an_unknown_model_is_told_as_one(sdk: AsyncOpenAI, moongate: Serving, name: str) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        await sdk.chat.completions.create(model=name, messages=said("Hello"))

    assert (raised.value.code, raised.value.param, raised.value.type) == (
        "model_not_found",
        "model",
        "invalid_request_error",
    )
    assert await runs(moongate) == 0


# --- chat completions -------------------------------------------------------------------------


async def test_a_chat_is_answered(sdk: AsyncOpenAI) -> None:
    answer = await sdk.chat.completions.create(model="main", messages=said("Hello"))

    assert answer.choices[0].message.content == "echo: Hello"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (1, 2, 3)
    assert answer.model == "main"


@pytest.mark.parametrize("why", ["length", "content_filter"])
async def test_a_chat_says_why_its_answer_was_cut(sdk: AsyncOpenAI, why: str) -> None:
    messages = said(f"@@ say half\n@@ finish {why}")
    answer = await sdk.chat.completions.create(model="main", messages=messages)
    chunks = [one async for one in await sdk.chat.completions.create(model="main", messages=messages, stream=True)]

    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("half", why)
    assert [one.choices[0].finish_reason for one in chunks if one.choices][-1] == why


async def test_the_model_after_the_slash_is_the_agents_own(sdk: AsyncOpenAI, moongate: Serving) -> None:
    answer = await sdk.chat.completions.create(model="main/some/model", messages=said("Hello"))

    run = await moongate.engine.runs.get_run(answer.id.removeprefix("chatcmpl-"))
    assert (run.spec.agent, run.spec.model) == ("main", "some/model")


async def test_given_messages_are_the_whole_context(sdk: AsyncOpenAI) -> None:
    messages = said("Be brief.", role="system") + said("My name is Ada.")
    messages += said("Hello Ada.", role="assistant") + said("What is my name?")

    answer = await sdk.chat.completions.create(model="main", messages=messages)

    assert answer.choices[0].message.content == (
        "echo: Be brief.\n\nThe conversation so far:\n\nUser: My name is Ada.\n\nAssistant: Hello Ada.\n\n"
        "The user's next message, which is yours to answer:\n\nWhat is my name?"
    )


@pytest.mark.parametrize("how", ["metadata", "header"])
async def test_a_named_session_remembers_and_is_told_only_what_is_new(sdk: AsyncOpenAI, how: str) -> None:
    named: dict[str, Any] = (
        {"metadata": {"session": "ada"}} if how == "metadata" else {"extra_headers": {"X-Session": "ada"}}
    )
    first = await sdk.chat.completions.create(model="main", messages=said("one"), **named)
    messages = said("one") + said(first.choices[0].message.content or "", role="assistant") + said("@@ history")

    second = await sdk.chat.completions.create(model="main", messages=messages, **named)

    assert second.choices[0].message.content == "2 messages"


async def test_a_user_is_a_label_and_no_session(sdk: AsyncOpenAI, moongate: Serving) -> None:
    for _ in range(2):
        answer = await sdk.chat.completions.create(model="main", messages=said("@@ history"), user="user-1\u009b")
        assert answer.choices[0].message.content == "0 messages", "all clients that send a constant would share it"

    run = await moongate.engine.runs.get_run(answer.id.removeprefix("chatcmpl-"))
    assert run.spec.labels == {"user": "user-1"}


@pytest.mark.parametrize("how", ["user", "metadata", "header"])
async def test_no_name_speaks_in_the_session_of_another_channel(sdk: AsyncOpenAI, moongate: Serving, how: str) -> None:
    key = "main:telegram:42"
    named: dict[str, Any] = {
        "user": {"user": key},
        "metadata": {"metadata": {"session": key}},
        "header": {"extra_headers": {"X-Session": key}},
    }[how]
    answer = await sdk.chat.completions.create(model="main", messages=said("Hello"), **named)

    run = await moongate.engine.runs.get_run(answer.id.removeprefix("chatcmpl-"))
    assert run.spec.session.startswith("main:openai:")


@pytest.mark.parametrize("name", ["", "x" * 129, "a\nb", 7, ["a"]])
async def test_a_session_without_a_proper_name_is_refused(sdk: AsyncOpenAI, moongate: Serving, name: Any) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        await sdk.chat.completions.create(model="main", messages=said("Hello"), metadata={"session": name})

    assert raised.value.param == "metadata.session"
    assert await runs(moongate) == 0


async def test_a_long_history_is_passed_over_in_a_named_session(sdk: AsyncOpenAI) -> None:
    messages: Any = [*said("x" * 2_000_000), {"role": "assistant", "content": 7}, {"type": "???"}, *said("Hello")]

    answer = await sdk.chat.completions.create(
        model="main", messages=messages, extra_headers={"X-Session": "long conversation"}
    )
    with pytest.raises(openai.APIStatusError, match="X-Session") as raised:
        await sdk.chat.completions.create(model="main", messages=messages)

    assert answer.choices[0].message.content == "echo: Hello"
    assert raised.value.status_code == 413


EARLIER: list[tuple[Any, str]] = [
    ({"role": "user", "content": [PICTURE, {"type": "text", "text": " What is it?"}]}, "User: [picture] What is it?"),
    ({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}, "User: [audio]"),
    ({"role": "user", "content": [{"type": "file", "file": {}}]}, "User: [file]"),
    ({"role": "user", "content": [{"type": "hologram"}, 7, None]}, "User: [hologram]"),
    ({"role": "assistant", "content": [{"type": "refusal", "refusal": "I will not."}]}, "Assistant: I will not."),
    ({"role": "assistant", "content": None, "tool_calls": [{}]}, "Assistant: [tool call]"),
    ({"role": "assistant", "content": "", "function_call": {"name": "f"}}, "Assistant: [tool call]"),
    ({"role": "assistant", "content": None, "refusal": "I will not."}, "Assistant: I will not."),
    ({"role": "assistant", "content": None}, ""),
    ({"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm."}]}, ""),
    ({"role": "tool", "content": "4", "tool_call_id": "c"}, "Tool: 4"),
    ({"type": "reasoning", "summary": [], "id": "rs_1"}, ""),
    ({"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"}, "Note: [tool call]"),
    ({"type": "function_call_output", "output": "4", "call_id": "c"}, "Note: [result of a tool call]"),
    ({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi."}]}, "Assistant: Hi."),
]


@pytest.mark.parametrize(("item", "told"), EARLIER)
@pytest.mark.parametrize("how", ["chat", "responses"])
async def test_earlier_messages_are_never_refused(sdk: AsyncOpenAI, item: Any, told: str, how: str) -> None:
    items: Any = [item, *said("Yes.", role="assistant"), *said("Hello")]
    if how == "chat":
        answered = await sdk.chat.completions.create(model="main", messages=items)
        text = answered.choices[0].message.content or ""
    else:
        text = (await sdk.responses.create(model="main", input=items)).output_text

    lines = text.removeprefix("echo: ").split("\n\n")
    assert lines == [
        "The conversation so far:",
        *filter(None, [told]),
        "Assistant: Yes.",
        "The user's next message, which is yours to answer:",
        "Hello",
    ]


async def test_a_message_that_was_refused_does_not_spoil_the_next_one(sdk: AsyncOpenAI) -> None:
    picture: Any = {"role": "user", "content": [PICTURE]}
    with pytest.raises(openai.BadRequestError):
        await sdk.chat.completions.create(model="main", messages=[picture])

    answer = await sdk.chat.completions.create(model="main", messages=[picture, *said("Hello")])

    assert answer.choices[0].message.content == "echo: [picture]\n\nHello"


async def test_without_a_name_nothing_is_remembered(sdk: AsyncOpenAI) -> None:
    for _ in range(2):
        answer = await sdk.chat.completions.create(model="main", messages=said("@@ history"))
        assert answer.choices[0].message.content == "0 messages"


async def test_an_answer_is_streamed(sdk: AsyncOpenAI) -> None:
    stream = await sdk.chat.completions.create(
        model="main", messages=said("@@ words 20 0.01"), stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    text = [choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content]
    assert "".join(text) == "".join(f"w{number} " for number in range(20))
    assert len(text) > 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert (chunks[-1].choices, chunks[-1].usage is not None) == ([], True)


async def test_the_sdks_stream_helper_puts_the_answer_together(sdk: AsyncOpenAI) -> None:
    async with sdk.chat.completions.stream(model="main", messages=said("@@ words 3 0")) as stream:
        final = await stream.get_final_completion()

    assert final.choices[0].message.content == "w0 w1 w2 "


async def test_an_error_in_a_stream_is_raised(sdk: AsyncOpenAI) -> None:
    stream = await sdk.chat.completions.create(model="main", messages=said("@@ say a\n@@ fail no luck"), stream=True)

    with pytest.raises(openai.APIError, match="no luck"):
        async for _ in stream:
            pass


async def test_a_failed_run_is_not_begun_again_by_the_sdk(sdk: AsyncOpenAI, moongate: Serving) -> None:
    with pytest.raises(openai.APIStatusError, match="no luck") as raised:
        await sdk.chat.completions.create(model="main", messages=said("@@ fail no luck"))

    assert raised.value.status_code == 424
    assert await runs(moongate) == 1


async def test_no_failure_of_a_stored_run_has_a_status_that_clients_repeat(tmp_path: Path) -> None:
    """Some clients repeat each 408, 409, 429 and 5xx, whatever the headers say."""
    async with serving(tmp_path / "home", {"limits": {"wait_seconds": 3.0}}) as served:

        async def ask_for_status(text: str) -> int:
            async with served.client.post("/v1/responses", json={"model": "main", "input": text}) as response:
                return response.status

        async def cancel_when_running() -> None:
            async for _ in await served.engine.runs.follow_changes(0):
                if listed := await served.engine.runs.list_runs(
                    RunFilter(statuses=(RunStatus.RUNNING,)), Page(limit=1)
                ):
                    await served.engine.runs.cancel_run(listed[0].id)
                    return

        assert await ask_for_status("@@ fail no luck") == 424
        assert (await asyncio.gather(ask_for_status("@@ hang"), cancel_when_running()))[0] == 424
        assert await ask_for_status("@@ hang") == 424, "the run goes on after the wait"


async def test_the_same_key_gives_the_same_answer(sdk: AsyncOpenAI, moongate: Serving) -> None:
    key = {"Idempotency-Key": "k"}
    answers = [
        await sdk.chat.completions.create(model="main", messages=said("once"), extra_headers=key) for _ in range(2)
    ]

    assert answers[0].id == answers[1].id
    assert await runs(moongate) == 1


async def test_a_caller_who_goes_away_does_not_end_the_run(sdk: AsyncOpenAI, moongate: Serving) -> None:
    stream = await sdk.chat.completions.create(model="main", messages=said("@@ words 30 0.01"), stream=True)
    run = (await anext(aiter(stream))).id.removeprefix("chatcmpl-")
    await stream.close()

    ended = await moongate.engine.runs.wait_for_run(run, PATIENCE)
    assert ended.result is not None
    assert ended.result.endswith("w29 ")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": said("x", role="assistant")}, "messages"),
        ({"messages": said("")}, "messages"),
        ({"n": 2}, "n"),
        ({"messages": [{"role": "user", "content": [PICTURE]}]}, "messages[0].content[0].image_url"),
        ({"messages": []}, None),
    ],
)
async def test_what_cannot_be_asked_is_refused_in_openais_shape(
    sdk: AsyncOpenAI, moongate: Serving, change: dict[str, Any], param: str | None
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        await sdk.chat.completions.create(**{"model": "main", "messages": said("Hello"), **change})

    assert (raised.value.param, raised.value.type) == (param, "invalid_request_error")
    assert await runs(moongate) == 0


async def test_parts_of_text_are_joined(sdk: AsyncOpenAI) -> None:
    parts: Any = [{"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]}]
    answer = await sdk.chat.completions.create(model="main", messages=parts, temperature=0.5, tools=[])

    assert answer.choices[0].message.content == "echo: Hello"


async def test_a_wrong_key_is_told_as_one(moongate: Serving) -> None:
    async with made(moongate, "wrong") as client:
        with pytest.raises(openai.AuthenticationError) as raised:
            await client.chat.completions.create(model="main", messages=said("Hello"))

    assert raised.value.code == "invalid_api_key"


# --- responses --------------------------------------------------------------------------------


async def test_a_response_is_given(sdk: AsyncOpenAI) -> None:
    response = await sdk.responses.create(model="main", input="Hello", instructions="Be brief.")

    assert (response.status, response.output_text) == ("completed", "echo: Be brief.\n\nHello")
    assert (await sdk.responses.retrieve(response.id)).output_text == response.output_text


async def test_a_response_goes_on_with_an_earlier_one(sdk: AsyncOpenAI) -> None:
    first = await sdk.responses.create(model="main", input="one")

    second = await sdk.responses.create(model="main", input="@@ history", previous_response_id=first.id)

    assert (second.output_text, second.previous_response_id) == ("2 messages", first.id)


async def test_a_response_repeats_what_was_asked_also_later(sdk: AsyncOpenAI) -> None:
    first = await sdk.responses.create(model="main", input="one")
    made = await sdk.responses.create(
        model="main/big",
        input="two",
        previous_response_id=first.id,
        metadata={"ticket": "42"},
        instructions="Be brief.",
        background=True,
    )

    later = await sdk.responses.retrieve(made.id)

    for shown in (made, later):
        assert (shown.model, shown.previous_response_id, shown.metadata) == ("main/big", first.id, {"ticket": "42"})
        assert (shown.instructions, shown.background) == ("Be brief.", True)


async def test_a_response_is_followed_again_as_a_stream(sdk: AsyncOpenAI) -> None:
    made = await sdk.responses.create(model="main", input="@@ words 20 0.01", background=True)

    whole = [event async for event in await sdk.responses.retrieve(made.id, stream=True)]
    rest = [event async for event in await sdk.responses.retrieve(made.id, stream=True, starting_after=10)]
    end = [event async for event in await sdk.responses.retrieve(made.id, stream=True, starting_after=10_000)]

    assert [event.sequence_number for event in whole] == list(range(len(whole)))
    assert whole[-1].type == "response.completed"
    assert whole[-1].response.output_text == "".join(f"w{number} " for number in range(20))
    assert [event.model_dump() for event in rest] == [event.model_dump() for event in whole[11:]]
    assert [event.type for event in end] == ["response.completed"]


async def test_the_field_that_was_sent_is_named(sdk: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        await sdk.responses.create(
            model="main",
            instructions="Be brief.",
            input=[{"role": "user", "content": [PICTURE]}],  # type: ignore[list-item]
        )

    assert raised.value.param == "input[0].content[0].image_url"


@pytest.mark.parametrize(("why", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
async def test_a_response_that_was_cut_is_incomplete(sdk: AsyncOpenAI, why: str, reason: str) -> None:
    asked = f"@@ say half\n@@ finish {why}"
    at_once = await sdk.responses.create(model="main", input=asked)
    later = await sdk.responses.retrieve(at_once.id)
    async with sdk.responses.stream(model="main", input=asked) as stream:
        last = [event async for event in stream][-1]

    assert last.type == "response.incomplete"
    for response in (at_once, later, last.response):
        assert (response.status, response.output_text) == ("incomplete", "half")
        assert response.incomplete_details is not None
        assert response.incomplete_details.reason == reason
        assert response.output[0].status == "incomplete"  # type: ignore[union-attr]
        assert response.usage is not None


async def test_an_unknown_earlier_response_is_refused(sdk: AsyncOpenAI, moongate: Serving) -> None:
    with pytest.raises(openai.NotFoundError):
        await sdk.responses.create(model="main", input="Hello", previous_response_id="resp_nothing")

    assert await runs(moongate) == 0


async def test_the_sdks_helper_puts_a_streamed_response_together(sdk: AsyncOpenAI) -> None:
    async with sdk.responses.stream(model="main", input=said("@@ words 20 0.01")) as stream:
        events = [event async for event in stream]
        final = await stream.get_final_response()

    assert final.output_text == "".join(f"w{number} " for number in range(20))
    assert final.usage is not None
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))


async def test_a_response_that_fails_in_its_stream_says_so(sdk: AsyncOpenAI) -> None:
    stream = await sdk.responses.create(model="main", input="@@ fail no luck", stream=True)
    last = [event async for event in stream][-1]

    assert last.type == "response.failed"
    assert last.response.error is not None
    assert "no luck" in last.response.error.message


async def test_a_background_response_is_asked_for_later_and_cancelled(sdk: AsyncOpenAI, moongate: Serving) -> None:
    response = await sdk.responses.create(model="main", input="@@ hang", background=True)
    assert response.status in ("queued", "in_progress")

    assert (await sdk.responses.cancel(response.id)).status == "cancelled"

    await moongate.engine.runs.wait_for_run(response.id.removeprefix("resp_"), 20)
    assert (await sdk.responses.retrieve(response.id)).status == "cancelled"


async def test_many_clients_are_answered_at_once(sdk: AsyncOpenAI) -> None:
    async def one(number: int) -> str | None:
        answer = await sdk.chat.completions.create(model="main", messages=said(f"number {number}"))
        return answer.choices[0].message.content

    assert await asyncio.gather(*map(one, range(20))) == [f"echo: number {number}" for number in range(20)]


# --- directories ------------------------------------------------------------------------------


async def test_only_a_request_that_can_be_continued_keeps_the_directory_of_its_session(
    moongate: Serving, sdk: AsyncOpenAI
) -> None:
    await sdk.chat.completions.create(model="main", messages=said("stateless"))
    await sdk.chat.completions.create(model="main", messages=said("named"), extra_headers={"X-Session": "s"})
    await sdk.responses.create(model="main", input="stored")

    found = await moongate.engine.runs.list_runs(RunFilter(), Page())
    assert {run.spec.input: run.spec.keeps_workspace for run in found} == {
        "stateless": False,
        "named": True,
        "stored": True,
    }
