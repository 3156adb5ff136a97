"""Where messages come from and replies go: one module or package a channel, with an attribute `CHANNEL`.

The module's name is the channel's name in session keys, in requests and in the settings, where
`channels.<name>` holds its options. To add a channel, add one module here (or register `its_module:CHANNEL` under the
entry point group `moongate.channels`, see docs/extending.md):

    class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        token: str

    CHANNEL = ChannelType(options=Options, open=Pigeons, secrets=lambda options, environ: [options.token])

`gateway.domain.ports.channel.Channel` says what a channel promises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

from gateway import plugins
from gateway.domain.ports.channel import Channel
from gateway.domain.times import Clock
from gateway.plugins import Registered


class Means(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway hands to a channel."""

    #: the environment with what `.env` adds, for secrets that an option names
    environ: Mapping[str, str]
    clock: Clock


class ChannelType(msgspec.Struct, frozen=True, kw_only=True):
    """What a channel's module shows."""

    #: struct of the channel's options, strict; None for a channel that needs none and is always there
    options: type[msgspec.Struct] | None = None
    #: makes the channel; it is then opened as an async context manager. None where replies are read from the session
    open: Callable[[Any, Means], Channel] | None = None
    #: the values that are never written to a log; raises `ConfigError` if one cannot be found
    secrets: Callable[[Any, Mapping[str, str]], Sequence[str]] = lambda options, environ: ()


@cache
def registered() -> Registered[ChannelType]:
    """Return the channels that other distributions bring, and those that are broken."""
    return plugins.registered("moongate.channels", ChannelType, _own())


@cache
def kinds() -> Mapping[str, ChannelType]:
    """Return all channels by name: our own, and those of other distributions."""
    return plugins.discover(__name__, "CHANNEL", registered().usable)


@cache
def _own() -> Mapping[str, ChannelType]:
    return plugins.discover(__name__, "CHANNEL")
