"""Where messages come from and replies go: one module a channel, with an attribute `CHANNEL`.

The module's name is the channel's name in session keys and requests. An attribute that is None
is a channel that we know and that is not configured.
"""
