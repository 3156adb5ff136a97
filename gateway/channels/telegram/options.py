"""What can be set of the Telegram channel, and where its token comes from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from gateway.errors import ConfigError
from gateway.security import secret_sources

#: where Telegram's own Bot API is
TELEGRAM = "https://api.telegram.org"


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`channels.telegram`."""

    #: false turns the channel off
    enabled: bool = True
    #: the bot's token, as @BotFather gave it
    token: str | None = None
    #: file whose first line is the token; if `token` is not set
    token_file: str | None = None
    #: name of a variable of the environment or of `.env` that holds the token; if the two above are not set
    token_env: str | None = "TELEGRAM_BOT_TOKEN"  # noqa: S105 a name
    #: `polling` asks Telegram for messages; with `webhook` Telegram posts them to `webhook_url`
    mode: Literal["polling", "webhook"] = "polling"
    #: URL that Telegram reaches this gateway by, such as `https://gateway.example`; for the mode `webhook`
    webhook_url: Annotated[str, Meta(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$(?!\n)")] | None = None
    #: URL of the Bot API: Telegram's, or that of your own server
    base_url: Annotated[str, Meta(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$(?!\n)")] = TELEGRAM
    #: ids of the chats that are let in, beside those that a code lets in; groups have negative ones
    chats: list[int] = field(default_factory=list)
    #: id or slug of the agent that answers; the default one when not set
    agent: str | None = None
    #: seconds after which a reply that could not be sent is kept back instead
    stale_after: Annotated[float, Meta(gt=0, le=604_800)] = 3600.0
    #: seconds between edits of an answer that is being written
    edit_seconds: Annotated[float, Meta(ge=0.05, le=60)] = 1.5
    #: seconds that one question for messages waits for some
    poll_seconds: Annotated[int, Meta(ge=1, le=50)] = 30


def find_token(options: Options, environ: Mapping[str, str]) -> str:
    """Return the bot's token.

    Raises:
        ConfigError: there is none, or it cannot be one.
    """
    token = secret_sources.find(options.token, options.token_file, options.token_env, environ)
    if not token:
        raise ConfigError(
            "channels.telegram: there is no bot token.",
            remedy=f"Set token, token_file, or the variable {options.token_env or 'that token_env names'}.",
        )
    if not re.fullmatch(r"[0-9]+:[A-Za-z0-9_-]+", token):
        raise ConfigError("channels.telegram.token: a bot's token is a number, a colon, and letters.")
    if options.mode == "webhook" and options.webhook_url is None:
        raise ConfigError("channels.telegram.webhook_url: is missing; the mode webhook needs it.")
    return token


def webhook_secret(token: str) -> str:
    """Return what Telegram shows with each webhook: made from the token, which it does not give away."""
    return hashlib.sha256(b"moongate telegram webhook\0" + token.encode()).hexdigest()


def secrets(options: Options, environ: Mapping[str, str]) -> list[str]:
    token = find_token(options, environ)
    return [token, webhook_secret(token)]
