"""The options of the Telegram channel, and how its token is found."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from gateway.errors import ConfigError
from gateway.security import secret_sources

#: URL of Telegram's own Bot API
TELEGRAM_API_URL = "https://api.telegram.org"


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
    base_url: Annotated[str, Meta(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$(?!\n)")] = TELEGRAM_API_URL
    #: URL of the HTTP proxy for requests to the Bot API; `HTTPS_PROXY` or `ALL_PROXY` when not set
    proxy: Annotated[str, Meta(pattern=r"^https?://[^\s/?#]+/?$(?!\n)")] | None = None
    #: ids of chats that may talk to the agent, in addition to paired chats; ids of groups are negative
    chats: list[int] = field(default_factory=list)
    #: what an edited message does: `queued` changes it while it waits; with `again`, one that the agent has seen is
    #: also said again
    edits: Literal["queued", "again"] = "queued"
    #: id or slug of the agent that answers; the default one when not set
    agent: str | None = None
    #: seconds after which a reply that could not be sent is not sent any more
    stale_after: Annotated[float, Meta(gt=0, le=604_800)] = 3600.0
    #: seconds between edits of an answer that is being written
    edit_seconds: Annotated[float, Meta(ge=0.05, le=60)] = 1.5
    #: seconds that one request for messages waits for the first message
    poll_seconds: Annotated[int, Meta(ge=1, le=50)] = 30


def find_token(options: Options, environ: Mapping[str, str]) -> str:
    """Return the bot's token.

    Raises:
        ConfigError: there is none, or it does not look like a token.
    """
    token = secret_sources.find_secret(
        options.token, options.token_file, options.token_env, environ, setting="channels.telegram.token_file"
    )
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


def derive_webhook_secret(token: str) -> str:
    """Return the secret that Telegram sends with each webhook: a hash of the token, which it does not reveal."""
    return hashlib.sha256(b"moongate telegram webhook\0" + token.encode()).hexdigest()


def find_secrets(options: Options, environ: Mapping[str, str]) -> list[str]:
    token = find_token(options, environ)
    return [token, derive_webhook_secret(token)]
