"""People who write to a Telegram bot, and groups that it is in."""

from gateway.channels import ChannelType
from gateway.channels.telegram.channel import Telegram
from gateway.channels.telegram.options import Options, secrets

CHANNEL = ChannelType(options=Options, open=Telegram, secrets=secrets)
