"""Receiving the messages of channels: what is logged about one that fails, and that it is started again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from gateway.domain.run import FinishReason, Run, Status
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
    receiving = channels.Channels(opened, {"chat": context}, _yield_nothing, _list_nothing, _list_nothing)
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
