"""The channel that is always there: a reply is read from the session and its event streams.

So it needs no delivery: the transcript row that ends a run is the reply.
"""

from __future__ import annotations

from gateway.channels import ChannelType

CHANNEL = ChannelType()
