"""`gateway channels`."""

from __future__ import annotations

import re
from collections.abc import Callable

from harness.command_line import Shell
from harness.live_gateway import Live
from harness.waiting import until_sync

TELEGRAM = {"token": "123456:AAtest", "base_url": "http://127.0.0.1:9", "chats": [7]}


def test_channels_are_listed_whether_they_are_configured_or_not(shell: Shell) -> None:
    listed = {channel["name"]: channel for channel in shell("channels", "list", "--json").json["channels"]}

    assert set(listed["webchat"]) == {
        *("name", "kind", "state", "detail", "chats"),
        *("last_poll_at", "last_success_at", "last_error_at", "last_error", "recent"),
    }
    assert (listed["webchat"]["state"], listed["telegram"]["state"]) == ("ready", "unconfigured")


def test_what_is_not_configured_pairs_nobody(shell: Shell) -> None:
    refused = shell("channels", "pair", "telegram")

    assert refused.code == 1
    assert "channels.telegram" in refused.err


def test_a_code_is_printed_alone_and_a_channel_that_does_not_work_says_why(
    live: Callable[..., Live],
) -> None:
    gateway = live(config={"channels": {"telegram": TELEGRAM}, "inbound": {"github": {"secret": "s"}}}).start()
    shell = Shell(gateway.env, gateway.home)
    code = shell("channels", "pair", "telegram")
    until_sync(lambda: "waiting" in shell("channels", "list").out, "it has tried")
    listed = shell("channels", "list").out.splitlines()

    assert re.fullmatch(r"[A-Z2-9]{8}\n", code.out)
    assert "works once" in code.err
    assert any(re.match(r"telegram +chat +waiting +7 +Telegram cannot be reached", line) for line in listed)
    assert any(re.match(r"github +webhook +ready", line) for line in listed)
    assert shell("channels", "unpair", "telegram", "8").code == 1
    assert "AAtest" not in gateway.log.read_text() + "".join(listed)
