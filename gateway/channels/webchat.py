"""The channel that is always on: clients read replies from the session and its event streams.

It needs no delivery, because the last transcript row of a run is the reply.
"""

from __future__ import annotations

from gateway.channels import ChannelType

CHANNEL = ChannelType()
