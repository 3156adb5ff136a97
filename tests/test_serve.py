"""A serving process and its supervisor: what it does when the supervisor is gone."""

from __future__ import annotations

import asyncio
import socket

import pytest

from gateway.control_channel import MessageType
from gateway.serve import SupervisedLifecycle
from harness.waiting import PATIENCE


@pytest.mark.parametrize("unread", [True, False])
async def test_a_serving_process_ends_when_its_supervisor_is_gone(unread: bool) -> None:
    """The end of a supervisor that had data to read resets the connection."""
    ours, theirs = socket.socketpair()
    async with SupervisedLifecycle.open_channel(ours.detach(), 1) as line:
        if unread:
            line.send_message(MessageType.READY)
        theirs.close()
        async with asyncio.timeout(PATIENCE):
            ending = await line.wait_for_shutdown()

    assert (ending.grace, ending.why) == (0.0, "the supervisor is gone")
