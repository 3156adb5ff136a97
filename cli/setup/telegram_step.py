"""The fourth step: a Telegram bot, so that the user can talk to the agent in a chat."""

from __future__ import annotations

import asyncio
import select
import sys
import time
from collections.abc import Awaitable
from typing import Any

from cli import output
from cli.remote.client import GatewayClient
from cli.remote.local_link import LocalLink
from cli.setup.guide import Guide
from cli.setup.service_step import restart_if_needed
from gateway import channels, validation
from gateway.errors import GatewayError

#: variable of the bot's token in `.env`
BOT_TOKEN_VARIABLE = "TELEGRAM_BOT_TOKEN"  # noqa: S105 a name
#: seconds that the guide waits for the pairing code to arrive
PAIRING_TIMEOUT_SECONDS = 600.0
#: seconds between two looks whether it has
PAIRING_POLL_SECONDS = 1.0


def connect_telegram(guide: Guide) -> None:
    """Ask for a bot's token, check it with Telegram, turn the channel on, and pair a chat."""
    guide.begin_step(4, "a chat: Telegram")
    known = guide.load_settings().channels.get("telegram")
    if known is not None and known.get("enabled", True):
        guide.say("The config file has the channel. See: gateway channels list")
        guide.told["channel"] = "telegram"
        if guide.is_running and guide.prompts.ask_yes_no("   Pair a chat with it?", False):
            _pair_chat(guide, "the bot")
        return
    if not guide.prompts.ask_yes_no("   Talk to the agent in Telegram?", False):
        guide.say("Later: gateway setup")
        return
    bot = _ask_for_bot(guide)
    if bot is None:
        guide.say("Later: gateway setup")
        return
    guide.told["channel"] = "telegram"
    if not guide.is_running:
        guide.say("When the gateway runs, pair your chat: gateway channels pair telegram")
        return
    restart_if_needed(guide)
    _pair_chat(guide, bot)


def _ask_for_bot(guide: Guide) -> str | None:
    """Return the name of the bot whose token was checked and written; None if the user gives none."""
    guide.say("Write /newbot to @BotFather in Telegram. It gives you the token of your bot.")
    while token := guide.prompts.ask_secret("   Token; Enter for none"):
        try:
            with output.show_waiting("asking Telegram"):
                bot = check_token(guide, token)
        except GatewayError as error:
            guide.say(str(error))
            continue
        guide.say(f"It is the token of {bot}.")
        guide.set_variable(BOT_TOKEN_VARIABLE, token)
        if guide.load_settings().channels.get("telegram") is None:
            guide.set_setting("channels.telegram", {})
        else:
            guide.set_setting("channels.telegram.enabled", True)
        return bot
    return None


def check_token(guide: Guide, token: str) -> str:
    """Return the name of the bot that a token belongs to.

    Raises:
        GatewayError: it is no token, or Telegram refuses it, or cannot be reached.
    """
    settings = guide.load_settings()
    environ = settings.known_environment(guide.env)
    raw: dict[str, Any] = {**(settings.channels.get("telegram") or {}), "token": token}
    kind = channels.find_channels()["telegram"]
    assert kind.options is not None
    assert kind.ask_name is not None
    options = validation.convert_options(raw, kind.options, "channels.telegram", "the channel")
    return asyncio.run(_await(kind.ask_name(options, environ)))


async def _await(name: Awaitable[str]) -> str:
    return await name


def _pair_chat(guide: Guide, bot: str) -> None:
    """Show a pairing code, and wait until a chat has sent it, or until the user presses Enter."""
    try:
        client = GatewayClient(LocalLink(guide.instance))
        before = _count_chats(client)
        code = client.post("/api/channels/telegram/pair")["code"]
        guide.say(f"Send this code to {bot}: {code}   (Enter goes on without it)")
        with output.show_waiting("waiting for the code"):
            paired = _wait_for_chat(client, before)
    except GatewayError as error:
        guide.report_failure(f"{error} Later: gateway channels pair telegram")
        return
    guide.say("Paired. Write to the bot now." if paired else "Later: gateway channels pair telegram")


def _wait_for_chat(client: GatewayClient, before: int) -> bool:
    deadline = time.monotonic() + PAIRING_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if _count_chats(client) > before:
            return True
        if sys.platform == "win32":  # there, only sockets can be waited for
            time.sleep(PAIRING_POLL_SECONDS)
        elif select.select([sys.stdin], [], [], PAIRING_POLL_SECONDS)[0]:
            sys.stdin.readline()
            return _count_chats(client) > before
    return False


def _count_chats(client: GatewayClient) -> int:
    channels = client.get("/api/channels")["channels"]
    return sum(len(channel["chats"]) for channel in channels if channel["name"] == "telegram")
