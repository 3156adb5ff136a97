"""The options of an openai agent, and how its key is found."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from gateway.errors import AgentError, ConfigError
from gateway.security import secret_sources

#: URL of OpenAI itself
OPENAI_URL = "https://api.openai.com/v1"


class Input(StrEnum):
    """What a model reads."""

    TEXT = "text"
    #: pictures
    IMAGE = "image"
    #: PDF documents
    FILE = "file"
    #: WAV and MP3
    AUDIO = "audio"


class Output(StrEnum):
    """What a model writes."""

    TEXT = "text"
    #: pictures
    IMAGE = "image"


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of an openai agent."""

    #: URL of the server, up to and without `/chat/completions`
    base_url: Annotated[str, Meta(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$(?!\n)")] = OPENAI_URL
    #: the key itself; wins over the two below
    api_key: str | None = None
    #: file whose first line is the key; wins over the one below
    api_key_file: str | None = None
    #: name of a variable in the gateway's environment that holds the key; null sends none
    api_key_env: str | None = "OPENAI_API_KEY"
    #: how freely the model chooses its words; the server's own default if not set
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    #: tokens of one answer, at most
    max_tokens: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None
    #: tokens that the model can read and write at once: system prompt, transcript, input and answer together
    context_tokens: Annotated[int, Meta(ge=256, le=100_000_000)] = 32_000
    #: what the model reads: `text`, and any of `image`, `file` (PDF) and `audio` (WAV, MP3). If not set, pictures are
    #: tried once, with OpenAI's own server PDF documents as well; what the model does not read is named to it
    inputs: Annotated[tuple[Input, ...], Meta(min_length=1, max_length=16)] | None = None
    #: what the model shall write, sent as `modalities`, for servers that make pictures only where that asks for them:
    #: `text` and `image`
    outputs: Annotated[tuple[Output, ...], Meta(min_length=1, max_length=16)] | None = None
    #: whether to ask for the usage; false for a server that refuses `stream_options`
    usage: bool = True
    #: how many times a request is tried again
    retries: Annotated[int, Meta(ge=0, le=10)] = 3
    #: seconds before the first retry; doubled for each later one
    retry_delay: Annotated[float, Meta(ge=0, le=60)] = 0.5
    #: seconds to connect
    connect_timeout: Annotated[float, Meta(gt=0, le=600)] = 10.0
    #: seconds without data, before the answer and during it
    idle_timeout: Annotated[float, Meta(gt=0, le=86_400)] = 300.0
    #: bytes of one answer, reasoning included
    max_output: Annotated[int, Meta(ge=1, le=1 << 40)] = 8 * 1024 * 1024
    #: use the proxy that `HTTPS_PROXY`, `HTTP_PROXY` or `ALL_PROXY` of the gateway's environment or `.env` names;
    #: never for this machine
    trust_env: bool = False

    @property
    def is_openai(self) -> bool:
        """Whether the server is OpenAI's own."""
        return self.base_url.rstrip("/") == OPENAI_URL

    def __post_init__(self) -> None:
        if self.inputs is not None and Input.TEXT not in self.inputs:
            raise ValueError('`inputs` must hold "text": each message is one')


def find_key(options: Options, environ: Mapping[str, str]) -> str:
    """Return the key to use, or "" for none.

    Raises:
        AgentError: it cannot be read, or has characters that no key has.
    """
    try:
        found = secret_sources.find_secret(
            options.api_key, options.api_key_file, options.api_key_env, environ, setting="api_key_file"
        )
    except ConfigError as error:
        raise AgentError(f"there is no API key: {error.message}") from error
    key = found or ""
    if not re.fullmatch(r"[!-~]*", key):
        raise AgentError("the API key has spaces or other characters that no key has.")
    return key
