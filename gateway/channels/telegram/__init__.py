"""People who write to a Telegram bot, and groups that it is in."""

from __future__ import annotations

from gateway.channels import ChannelType, Means
from gateway.channels.telegram.options import Options, secrets
from gateway.domain.ports.channel import Channel


def _opened(options: Options, means: Means) -> Channel:
    # Late: all channels are looked at when a gateway starts, and most of those have no bot.
    from gateway.channels.telegram.channel import Telegram

    return Telegram(options, means)


CHANNEL = ChannelType(options=Options, open=_opened, secrets=secrets)
