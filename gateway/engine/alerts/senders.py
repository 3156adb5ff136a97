"""Send one alert to one receiver, once: a chat, a webhook, or a command. The service tries again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from gateway.domain.alert import ALERT_FORMAT, AlertMessage
from gateway.domain.delivery import (
    WEBHOOK_KIND,
    Delivered,
    Delivery,
    DeliveryStatus,
    RetryLater,
    SendResult,
    Target,
)
from gateway.domain.ports.channel import DeliverySender, OutgoingMessage
from gateway.domain.times import Clock
from gateway.engine.alerts import rendering
from gateway.engine.messaging.channels import Channels
from gateway.engine.storage_retry import RETRYABLE_STORAGE_ERRORS
from gateway.errors import GatewayError
from gateway.process.child import Child, Children, ProcessLedger
from gateway.process.identity import Identity

#: seconds that a command may take
ALERT_COMMAND_TIMEOUT_SECONDS = 30.0
#: bytes of a command's output that are read at once, and thrown away
ALERT_OUTPUT_PIECE_BYTES = 64 << 10
#: characters of what a command says on standard error that are kept as the reason of its failure
MAX_COMMAND_REASON_CHARACTERS = 200


class AlertSender(Protocol):
    """Sends messages to one receiver."""

    async def send_alert(self, message: AlertMessage) -> SendResult:
        """Attempt once to send a message. An exception counts as a failure that may succeed later."""
        ...


class ChatAlertSender:
    """Sends to a chat of a channel."""

    def __init__(self, channels: Channels, channel: str, chat: str, host: str, clock: Clock) -> None:
        self._channels = channels
        self._channel = channel
        self._chat = chat
        self._host = host
        self._clock = clock

    async def send_alert(self, message: AlertMessage) -> SendResult:
        out = OutgoingMessage(
            id=message.id,
            run="",
            chat=self._chat,
            text=rendering.write_text(message, self._host),
            at=self._clock(),  # an alert is told however old it is
            is_plain=True,  # errors have names such as `__init__.py`
        )
        return await self._channels.send_text(self._channel, out)


class WebhookAlertSender:
    """Posts to a URL, signed as all webhooks are."""

    def __init__(self, sender: DeliverySender, url: str, host: str) -> None:
        self._sender = sender
        self._target = Target(kind=WEBHOOK_KIND, address=url, format=ALERT_FORMAT, trusted=True)
        self._host = host

    async def send_alert(self, message: AlertMessage) -> SendResult:
        delivery = Delivery(
            id=message.id,
            seq=0,
            run="",
            target=self._target,
            status=DeliveryStatus.SENDING,
            attempt=message.attempt + 1,
            next_at=message.next_at,
            created=message.created,
        )
        return await self._sender.send_delivery(delivery, rendering.encode_body(message, self._host))


class LenientLedger:
    """Records the processes of commands, unless the disk refuses: a full disk must be told.

    What was not recorded is still ended in time by who started it; if that one dies, the next start of a program finds
    it by its mark.
    """

    def __init__(self, ledger: ProcessLedger) -> None:
        self._ledger = ledger

    async def record_process(self, who: Identity, run: str | None) -> None:
        with suppress(*RETRYABLE_STORAGE_ERRORS):
            await self._ledger.record_process(who, run)

    async def forget_process(self, who: Identity) -> None:
        with suppress(*RETRYABLE_STORAGE_ERRORS):
            await self._ledger.forget_process(who)


class CommandAlertSender:
    """Runs a program, which reads the alert from its standard input. Status 0 means that it was told."""

    def __init__(
        self,
        children: Children,
        argv: Sequence[str],
        directory: Path,
        host: str,
        timeout: float = ALERT_COMMAND_TIMEOUT_SECONDS,
    ) -> None:
        """Args: directory: where it runs."""
        self._children = children
        self._argv = argv
        self._directory = directory
        self._host = host
        self._timeout = timeout

    async def send_alert(self, message: AlertMessage) -> SendResult:
        try:
            child = await self._children.spawn_child(
                self._argv, cwd=str(self._directory), env=self._children.make_environment({})
            )
        except GatewayError as error:
            return RetryLater(error.message)
        try:
            async with asyncio.timeout(self._timeout):
                status = await _feed_child(child, rendering.encode_body(message, self._host) + b"\n")
        except TimeoutError:
            return RetryLater(f"the command has not ended within {self._timeout:g} s")
        finally:
            await child.stop_group()
        if status == 0:
            return Delivered()
        said = child.stderr_tail()[-MAX_COMMAND_REASON_CHARACTERS:]
        return RetryLater(f"the command ended with status {status}{f': {said}' if said else ''}")


async def _feed_child(child: Child, body: bytes) -> int:
    """Give a child its input, throw its output away, and return its exit status."""
    discarding = asyncio.create_task(_discard_output(child), name="alert-output")
    try:
        await child.write_stdin(body)
        child.close_stdin()
        return await child.wait_ended()
    finally:
        discarding.cancel()
        await asyncio.wait({discarding})


async def _discard_output(child: Child) -> None:
    while await child.stdout.read(ALERT_OUTPUT_PIECE_BYTES):
        pass
