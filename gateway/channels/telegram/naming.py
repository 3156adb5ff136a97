"""Asks Telegram for the name of the bot that a token belongs to."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.channels.telegram.botapi import BotApi, CallRefused, TelegramUnreachable
from gateway.channels.telegram.options import Options, find_token
from gateway.errors import ConfigError, Unavailable
from gateway.proxy import choose_proxy


async def ask_bot_name(options: Options, environ: Mapping[str, str]) -> str:
    """Return the name of the bot, with its @.

    Raises:
        ConfigError: there is no token, or Telegram refuses it.
        Unavailable: Telegram cannot be reached.
    """
    token = find_token(options, environ)
    proxy = choose_proxy(options.base_url, environ, options.proxy, "channels.telegram.proxy")
    try:
        async with BotApi(options.base_url, token, proxy) as api:
            return f"@{(await api.get_me()).username}"
    except CallRefused as error:
        raise ConfigError(f"{error}.", remedy="Copy the whole token from @BotFather.") from error
    except TelegramUnreachable as error:
        raise Unavailable(f"Telegram cannot be reached: {error}") from error
