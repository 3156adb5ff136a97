"""The channel of a Telegram bot: people who write to it, and groups that it is in."""

from __future__ import annotations

from gateway.channels import ChannelType, Means
from gateway.channels.telegram.options import Options, secrets
from gateway.domain.ports.channel import Channel


def _opened(options: Options, resources: Means) -> Channel:
    # Imported late: a gateway loads all channels when it starts, and most gateways have no bot.
    from gateway.channels.telegram.channel import Telegram

    return Telegram(options, resources)


CHANNEL = ChannelType(options=Options, open=_opened, secrets=secrets)
