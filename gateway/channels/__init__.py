"""Channels bring messages in and send replies: one module or package for each, with an attribute `CHANNEL`.

The module's name is the channel's name in session keys, in requests and in the settings, where
`channels.<name>` holds its options. To add a channel, add one module here (or register `its_module:CHANNEL` under the
entry point group `moongate.channels`, see docs/extending.md):

    class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        token: str

    CHANNEL = ChannelType(options=Options, open=Pigeons, secrets=lambda options, environ: [options.token])

`gateway.domain.ports.channel.Channel` is the contract of a channel.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

from gateway import plugins
from gateway.domain.ports.channel import Channel
from gateway.domain.times import Clock
from gateway.plugins import RegisteredPlugins


class ChannelResources(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway gives to a channel to work with."""

    #: the environment and the variables of `.env`, for secrets that an option names
    environ: Mapping[str, str]
    clock: Clock


class ChannelType(msgspec.Struct, frozen=True, kw_only=True):
    """What a channel's module declares."""

    #: struct of the channel's options, strict; None for a channel without options, which is always on
    options: type[msgspec.Struct] | None = None
    #: makes the channel; the gateway then enters it as an async context manager. None if clients read the session
    open: Callable[[Any, ChannelResources], Channel] | None = None
    #: returns the values that never appear in logs; raises `ConfigError` if one cannot be found
    secrets: Callable[[Any, Mapping[str, str]], Sequence[str]] = lambda options, environ: ()
    #: returns the name of the account that the options are for, and so checks them with the chat system; raises
    #: `GatewayError` if it refuses them or cannot be reached
    ask_name: Callable[[Any, Mapping[str, str]], Awaitable[str]] | None = None


@cache
def find_registered_channels() -> RegisteredPlugins[ChannelType]:
    """Return the channels of other distributions, and those that cannot be loaded."""
    return plugins.load_plugins("moongate.channels", ChannelType, _find_own_channels())


@cache
def find_channels() -> Mapping[str, ChannelType]:
    """Return all channels by name: ours and those of other distributions."""
    return plugins.discover_modules(__name__, "CHANNEL", find_registered_channels().usable)


@cache
def _find_own_channels() -> Mapping[str, ChannelType]:
    return plugins.discover_modules(__name__, "CHANNEL")
