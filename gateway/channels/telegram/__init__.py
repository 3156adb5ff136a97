"""The channel of a Telegram bot: people who write to it, and groups that it is in."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.channels import ChannelResources, ChannelType
from gateway.channels.telegram.options import Options, find_secrets
from gateway.domain.ports.channel import Channel


def _open_channel(options: Options, resources: ChannelResources) -> Channel:
    # Imported late: a gateway loads all channels when it starts, and most gateways have no bot.
    from gateway.channels.telegram.channel import TelegramChannel

    return TelegramChannel(options, resources)


async def _ask_name(options: Options, environ: Mapping[str, str]) -> str:
    from gateway.channels.telegram import naming  # late, as above

    return await naming.ask_bot_name(options, environ)


CHANNEL = ChannelType(options=Options, open=_open_channel, secrets=find_secrets, ask_name=_ask_name)
