"""Alerts reach a chat, a webhook and a command, each in the form that it reads."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

import gateway
from gateway.domain.address_policy import AddressPolicy
from gateway.domain.alert import AlertContent, AlertItem, AlertMessage, AlertMessageStatus
from gateway.domain.delivery import Delivered, RetryLater, SendResult
from gateway.domain.ports.channel import OutgoingMessage
from gateway.domain.times import wall_clock
from gateway.engine.alerts import rendering
from gateway.engine.alerts.senders import ChatAlertSender, CommandAlertSender, LenientLedger, WebhookAlertSender
from gateway.engine.messaging.channels import Channels
from gateway.errors import StorageFull
from gateway.outbound.webhook import WebhookSender
from gateway.process.child import Children
from gateway.process.identity import Identity
from harness.webhook_receiver import serve_receiver
from tests.contracts.stores import START
from tests.support.ledger import MemoryLedger

FAILED = AlertItem(kind="run_failed", event="happened", subject="r1", text="agent main: no", at=START, run="r1")
ENDED = AlertItem(kind="disk", event="ended", subject="data", text="room again", at=START, since=START)


def message(*items: AlertItem) -> AlertMessage:
    content = AlertContent()
    for item in items:
        content = content.add_item(item)
    return AlertMessage(
        id="01M", receiver="me", status=AlertMessageStatus.PENDING, content=content, next_at=START, created=START
    )


# --- the words --------------------------------------------------------------------------------


def test_people_read_a_title_what_happened_and_how_much_is_not_listed() -> None:
    text = rendering.write_text(message(*[FAILED] * 1000, ENDED), "box")

    first, *lines = text.splitlines()
    assert first == "Moongate on box: 1,000 tasks failed, a problem is over"
    assert lines[0] == "⚠️ agent main: no (task r1)"
    assert lines[-2] == "✅ room again (since 2023-11-14T22:13:20.000Z)"
    assert lines[-1] == "995 more, see: gateway tasks list --status failed"
    assert len(lines) == 7


def test_kinds_and_events_of_a_newer_version_have_words_too() -> None:
    strange = AlertItem(kind="quake", event="shaken", subject="x", text="it shook", at=START)

    assert rendering.write_title(message(strange, strange)) == "2 alerts"
    assert rendering.write_title(message()) == "an alert"


def test_programs_read_json() -> None:
    body = json.loads(rendering.encode_body(message(*[FAILED] * 7), "box"))

    assert {**body, "alerts": None, "text": None} == {
        "type": "alert",
        "id": "01M",
        "at": "2023-11-14T22:13:20.000Z",
        "host": "box",
        "version": gateway.__version__,
        "title": "7 tasks failed",
        "text": None,
        "alerts": None,
        "counts": {"run_failed/happened": 7},
        "left_out": 2,
    }
    assert body["alerts"][0] == {
        "kind": "run_failed",
        "event": "happened",
        "subject": "r1",
        "text": "agent main: no",
        "at": "2023-11-14T22:13:20.000Z",
        "agent": None,
        "task": "r1",
        "since": None,
    }


# --- webhooks ---------------------------------------------------------------------------------


async def test_a_webhook_is_signed_and_has_the_same_id_at_each_attempt() -> None:
    policy = AddressPolicy(loopback_only=True)
    async with serve_receiver() as receiver:
        sender = WebhookSender(policy, wall_clock, keys=[b"k" * 32])
        told = WebhookAlertSender(sender, receiver.url, "box")
        receiver.script.append("503")
        refused = await told.send_alert(message(FAILED))
        accepted = await told.send_alert(message(FAILED))

    assert isinstance(refused, RetryLater)
    assert accepted == Delivered(200)
    request = receiver.requests[-1]
    signed = f"01M.{request.headers['webhook-timestamp']}.".encode() + request.body
    signature = base64.b64encode(hmac.digest(b"k" * 32, signed, hashlib.sha256)).decode()
    assert request.headers["webhook-signature"] == f"v1,{signature}"
    assert receiver.ids == {"01M"}
    assert request.json["title"] == "a task failed"


# --- commands ---------------------------------------------------------------------------------

needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="the commands are for a POSIX shell")


def command(argv: Sequence[str], directory: Path, **options: Any) -> tuple[CommandAlertSender, MemoryLedger]:
    ledger = MemoryLedger()
    environ = {"PATH": os.environ["PATH"], "HOME": str(directory), "MOONGATE_TOKEN": "s3cret", "API_KEY": "s3cret"}
    return CommandAlertSender(Children(ledger, environ), argv, directory, "box", **options), ledger


@needs_posix
async def test_a_command_gets_the_alert_on_standard_input_and_no_secret(tmp_path: Path) -> None:
    sender, ledger = command(["sh", "-c", "cat > got.json; env > env.txt; echo noise"], tmp_path)

    assert await sender.send_alert(message(FAILED)) == Delivered()
    assert json.loads((tmp_path / "got.json").read_text())["title"] == "a task failed"
    assert "s3cret" not in (tmp_path / "env.txt").read_text()
    assert ledger.alive() == []


@needs_posix
async def test_a_command_is_run_though_the_disk_is_full(tmp_path: Path) -> None:
    class FullDisk(MemoryLedger):
        async def record_process(self, who: Identity, run: str | None) -> None:
            raise StorageFull("full.")

        async def forget_process(self, who: Identity) -> None:
            raise StorageFull("full.")

    children = Children(LenientLedger(FullDisk()), {"PATH": os.environ["PATH"]})
    sender = CommandAlertSender(children, ["sh", "-c", "cat > got.json"], tmp_path, "box")

    assert await sender.send_alert(message(FAILED)) == Delivered()
    assert (tmp_path / "got.json").exists()


@needs_posix
async def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    sender, _ = command(["sh", "-c", "echo no network >&2; exit 3"], tmp_path)

    assert await sender.send_alert(message(FAILED)) == RetryLater("the command ended with status 3: no network")


@needs_posix
async def test_a_command_that_does_not_end_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    sender, ledger = command(["sh", "-c", "trap '' TERM; sleep 600 & sleep 600"], tmp_path, timeout=0.5)

    assert await sender.send_alert(message(FAILED)) == RetryLater("the command has not ended within 0.5 s")
    assert ledger.alive() == []


@needs_posix
async def test_a_command_may_write_as_much_as_it_likes_and_read_nothing(tmp_path: Path) -> None:
    sender, _ = command(["sh", "-c", "head -c 3000000 /dev/zero; exec <&-"], tmp_path)

    assert await sender.send_alert(message(*[FAILED] * 5)) == Delivered()


async def test_a_command_that_is_not_there_may_be_there_later(tmp_path: Path) -> None:
    sender, _ = command(["no-such-program"], tmp_path)

    result = await sender.send_alert(message(FAILED))

    assert isinstance(result, RetryLater)
    assert "there is no such program" in result.reason


async def test_a_chat_gets_the_words_as_they_are() -> None:
    sent: list[tuple[str, OutgoingMessage]] = []

    class Told:
        async def send_text(self, channel: str, out: OutgoingMessage) -> SendResult:
            sent.append((channel, out))
            return Delivered()

    sender = ChatAlertSender(cast("Channels", Told()), "telegram", "7", "box", lambda: START)
    await sender.send_alert(message(FAILED))

    ((channel, out),) = sent
    assert (channel, out.chat, out.is_plain, out.at) == ("telegram", "7", True, START)
    assert out.text == rendering.write_text(message(FAILED), "box")
