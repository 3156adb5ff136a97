"""Channels: what is logged about one that fails, that it is started again, and what a chat is told at the end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from gateway.domain.event import Notice
from gateway.domain.run import FinishReason, Outcome, Run, RunSpec, Source, Status
from gateway.engine.messaging import channels
from gateway.errors import Unavailable
from harness.waiting import until
from tests.contracts.stores import spec


async def _yield_nothing(*_: object) -> Any:
    async def changes() -> Any:
        return
        yield

    return changes()


async def _list_nothing(*_: object) -> Any:
    return []


@pytest.mark.parametrize("error", [Unavailable("the provider refuses."), ZeroDivisionError("oh")])
async def test_a_channel_that_fails_is_logged_as_an_error_with_its_traceback_and_started_again(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(channels, "CHANNEL_RETRY_SECONDS", 0.001)
    begun = 0

    async def receive_messages(_: object) -> None:
        nonlocal begun
        begun += 1
        if begun == 1:
            raise error

    async def stop_progress() -> None: ...

    failing: Any = SimpleNamespace(receive_messages=receive_messages, stop_progress=stop_progress)
    context: Any = None
    opened = channels.OpenChannels(chat_channels={"chat": failing})
    none: Any = SimpleNamespace(follow_changes=_yield_nothing, list_runs=_list_nothing)
    receiving = channels.Channels(opened, {"chat": context}, none)
    with structlog.testing.capture_logs() as lines:
        receiving.start_receiving(0)
        try:
            await until(lambda: begun > 1, "the channel is started again")
        finally:
            await receiving.stop_receiving()

    assert lines == [{"event": "channel.broke", "log_level": "error", "exc_info": error, "channel": "chat"}]


@pytest.mark.parametrize(
    ("finish", "text"),
    [
        (None, "half"),
        (FinishReason.STOP, "half"),
        (FinishReason.LENGTH, f"half\n\n({FinishReason.LENGTH.remark})"),
        (FinishReason.CONTENT_FILTER, f"half\n\n({FinishReason.CONTENT_FILTER.remark})"),
    ],
)
def test_a_chat_is_told_that_its_answer_was_cut(finish: FinishReason | None, text: str) -> None:
    run = Run(id="1", seq=1, spec=spec(), status=Status.SUCCEEDED, result="half", finish=finish, created=0)

    assert channels.make_chat_reply(run).decode() == text


def ended(outcome: Outcome, source: Source = Source.MESSAGE, **fields: Any) -> Run:
    status = Status.SUCCEEDED if outcome is Outcome.COMPLETED else Status.FAILED
    spec = RunSpec(source=source, agent="main", session="main:chat:1", input="hi")
    return Run(id="01", seq=1, spec=spec, status=status, outcome=outcome, created=0, **fields)


@pytest.mark.parametrize("outcome", [Outcome.AGENT_ERROR, Outcome.TIMEOUT])
def test_a_chat_whose_agent_failed_is_told_how_to_begin_again(outcome: Outcome) -> None:
    reply = channels.make_chat_reply(ended(outcome, error="flagged.")).decode()

    assert reply.startswith("That did not work: flagged.")
    assert "/new starts a new conversation" in reply


def test_a_failure_that_a_new_conversation_cannot_mend_does_not_name_it() -> None:
    budget = ended(Outcome.OVER_BUDGET, error="the budget is used up.")
    cron = ended(Outcome.AGENT_ERROR, Source.CRON, error="broken.")

    assert channels.make_chat_reply(budget) == b"That did not work: the budget is used up."
    assert channels.make_chat_reply(cron) == b"That did not work: broken."


@pytest.mark.parametrize(
    ("notice", "remark"),
    [(Notice.SESSION_RESTARTED, "had lost this conversation"), (Notice.CONTEXT_SHORTENED, "oldest messages")],
)
def test_a_chat_is_told_what_the_agent_did_not_have_of_the_conversation(notice: Notice, remark: str) -> None:
    answer, said = (
        channels.make_chat_reply(ended(Outcome.COMPLETED, result="yes", notices=(notice,))).decode().split("\n\n")
    )

    assert answer == "yes"
    assert remark in said
