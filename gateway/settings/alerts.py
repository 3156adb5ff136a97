"""Who is told when something fails, and of what."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Annotated

from msgspec import Meta, Struct, field

from gateway.domain.alert import AlertKind
from gateway.errors import ConfigError
from gateway.validation import suggest_name

#: characters of the part of a URL that may be a key; a shorter one would be found in ordinary words
MIN_URL_SECRET = 8

#: an argument of a command
_Argument = Annotated[str, Meta(min_length=1, max_length=4096)]


class AlertReceiverSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of `alerts.receivers`: where alerts go, and which. It has exactly one of the first three fields."""

    #: a chat, as its channel and its id: for example `telegram:123`
    chat: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][\w.@-]*:.+$")] | None = None
    #: a URL, which gets a signed `POST`; see [webhooks.md](webhooks.md#verify-the-signature)
    webhook: Annotated[str, Meta(pattern=r"^https?://\S{1,2000}$(?!\n)")] | None = None
    #: a program and its arguments; it gets the alert as JSON on standard input
    command: Annotated[list[_Argument], Meta(min_length=1, max_length=100)] | None = None
    #: kinds of alerts to tell; all when not set
    kinds: list[AlertKind] | None = None
    #: ids or slugs of agents: tells only alerts of these, and those of no agent; all when empty
    agents: list[str] = field(default_factory=list)
    #: labels that a failed task must have, each with its value
    labels: dict[str, str] = field(default_factory=dict)
    #: where a failed task came from, such as `cron` or `message`; from everywhere when empty
    sources: list[str] = field(default_factory=list)
    #: the most messages in an hour; `alerts.per_hour` when not set
    per_hour: Annotated[int, Meta(ge=1, le=1000)] | None = None
    #: when false, it is told nothing
    enabled: bool = True

    @property
    def secrets(self) -> list[str]:
        """What must not be written to a log: whoever knows the URL of a chat service may write there."""
        urls = [self.webhook or "", *[one for one in self.command or () if one.startswith(("http://", "https://"))]]
        return [secret for url in urls if url for secret in _list_url_secrets(url)]

    def check(self, where: str, channels: Collection[str]) -> None:
        """Check what the types do not.

        Args:
            where: the name of this setting, for messages.
            channels: the channels that are configured.

        Raises:
            ConfigError: it names no receiver or several, a channel that is not configured, or no URL.
        """
        given = [name for name in ("chat", "webhook", "command") if getattr(self, name) is not None]
        if len(given) != 1:
            found = f"it has {' and '.join(given)}" if given else "it has none of them"
            raise ConfigError(f"{where}: give one of chat, webhook and command; {found}.")
        self._check_sources(where)
        channel = (self.chat or "").partition(":")[0]
        if self.chat is not None and channel not in channels:
            raise ConfigError(
                f'{where}.chat: the channel "{channel}" is not configured{suggest_name(channel, channels)}',
                remedy=f"Configure it under channels.{channel}, or name another one.",
            )
        if self.webhook is not None and not _has_host(self.webhook):
            raise ConfigError(f"{where}.webhook: {self.webhook!r} is not a URL.")
        self._check_command(where)

    def _check_command(self, where: str) -> None:
        program = self.command[0] if self.command else ""
        if program.startswith(("~", "./", "../")):
            raise ConfigError(f"{where}.command: {program!r} is no whole path.", remedy="Begin it with a slash.")
        if program.startswith("/") and not (os.path.isfile(program) and os.access(program, os.X_OK)):
            raise ConfigError(f"{where}.command: there is no program {program}.", remedy="Correct its path.")

    def _check_sources(self, where: str) -> None:
        from gateway.domain.run import Source  # late: a supervisor needs no runs

        known = [str(source) for source in Source]
        wrong = next((source for source in self.sources if source not in known), None)
        if wrong is not None:
            raise ConfigError(f"{where}.sources: there is no source {wrong!r}{suggest_name(wrong, known)}")


def _list_url_secrets(url: str) -> list[str]:
    """Return a URL and what of it may be a key: its path and query, and its user and password."""
    from urllib.parse import urlsplit  # late: few gateways have a URL

    try:
        parts = urlsplit(url)
    except ValueError:
        return [url]
    rest = url.partition("://")[2][len(parts.netloc) :].partition("#")[0]
    user = parts.netloc.rpartition("@")[0]
    return [part for part in (url if user or rest.strip("/") else "", rest, user) if len(part) >= MIN_URL_SECRET]


def _has_host(url: str) -> bool:
    from urllib.parse import urlsplit  # late: few gateways have a URL

    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return bool(parts.hostname)


class Alerts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    receivers: Annotated[
        dict[str, AlertReceiverSettings],
        Meta(description="Who is told when something fails, by names that you choose; see [Alerts](#alerts)."),
    ] = field(default_factory=dict)
    group_seconds: Annotated[
        float,
        Meta(ge=0, le=3600, description="Seconds in which what happens is put together in one message to a receiver."),
    ] = 30.0
    per_hour: Annotated[
        int,
        Meta(ge=1, le=1000, description="The most messages to one receiver in an hour; the next one waits and grows."),
    ] = 12
    repeat_hours: Annotated[
        Annotated[float, Meta(gt=0, le=8760)] | None,
        Meta(description="Hours after which a condition that is still open is told again; null never tells it again."),
    ] = 24.0
    schedule_failures: Annotated[
        int, Meta(ge=1, le=1000, description="Failures of a schedule in a row after which it is an alert.")
    ] = 3
    channel_minutes: Annotated[
        float, Meta(gt=0, le=1440, description="Minutes that a channel may be unreachable before it is an alert.")
    ] = 5.0
    disk_free_mb: Annotated[
        int, Meta(ge=1, description="Free megabytes on the disk with the data below which it is an alert.")
    ] = 1024
    backup_hours: Annotated[
        Annotated[float, Meta(gt=0, le=87_600)] | None,
        Meta(
            description="Hours after which the last backup is too old. If not set, twice `backup.every`; without both,"
            " backups are no alert."
        ),
    ] = None
    crashes: Annotated[
        int, Meta(ge=1, le=100, description="Crashes of the serving process within an hour that are an alert.")
    ] = 3
