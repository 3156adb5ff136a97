"""Finds a server that works without configuration."""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Mapping

import msgspec
from msgspec import Struct

from gateway.backends.openai import wire
from gateway.backends.openai.options import OPENAI_URL, Options
from gateway.config import Config
from gateway.domain.agent import Agent
from gateway.domain.candidate import Candidate
from gateway.errors import ConfigError

#: the model for OpenAI if none is named; of other servers, their first model is used
DEFAULT_OPENAI_MODEL = "gpt-4o-mini"
#: where Ollama listens by default
OLLAMA_ADDRESS = ("127.0.0.1", 11434)
#: seconds to connect to Ollama, and to read its list of models
CONNECT_TIMEOUT_SECONDS, MODEL_LIST_TIMEOUT_SECONDS = 0.2, 1.0
#: bytes of that list, at most
MAX_TAGS_BYTES = 4 * 1024 * 1024


def find_named_agent(environ: Mapping[str, str], config: Config) -> Agent | None:
    """Find the server that the environment names."""
    base_url, key = environ.get("OPENAI_BASE_URL"), environ.get("OPENAI_API_KEY")
    if not (base_url or key):
        return None
    model = environ.get("OPENAI_MODEL") or (None if base_url else DEFAULT_OPENAI_MODEL)
    return _make_agent(base_url or OPENAI_URL, model)


def detect_agent(environ: Mapping[str, str], config: Config) -> Agent | None:
    """Find a local Ollama."""
    model = _find_ollama_model()
    return _make_agent("http://{}:{}/v1".format(*OLLAMA_ADDRESS), model) if model else None


def list_candidates(environ: Mapping[str, str], config: Config) -> Iterator[Candidate]:
    """Yield the server that the environment names, and a local Ollama."""
    for name, agent, install, is_named in (
        ("openai", find_named_agent(environ, config), "Set OPENAI_BASE_URL or OPENAI_API_KEY.", True),
        ("ollama", detect_agent(environ, config), "Start Ollama, and pull a model: ollama pull llama3.2", False),
    ):
        address = "" if agent is None else f"{agent.options.base_url}"
        companion = "" if is_named else "ollama"
        yield Candidate(
            name=name, agent=agent, address=address, install=install, companion=companion, is_named=is_named
        )


def _make_agent(base_url: str, model: str | None) -> Agent:
    try:
        options = msgspec.convert({"base_url": base_url}, Options)
        found = {"id": "main", "backend": "openai", "model": model}
        return msgspec.structs.replace(msgspec.convert(found, Agent), options=options)
    except msgspec.ValidationError as error:
        wrong = "OPENAI_MODEL is no name of a model" if "`$.model`" in str(error) else "OPENAI_BASE_URL is no URL"
        raise ConfigError(f"{wrong}.", remedy="Correct it, or unset it.") from error


class _Tag(Struct):
    name: str


class _Tags(Struct):
    models: list[_Tag]


def _find_ollama_model() -> str | None:
    """Return the first model of a local Ollama; None if there is none."""
    connection = http.client.HTTPConnection(*OLLAMA_ADDRESS, timeout=CONNECT_TIMEOUT_SECONDS)
    try:
        connection.connect()
        connection.sock.settimeout(MODEL_LIST_TIMEOUT_SECONDS)
        connection.request("GET", "/api/tags")
        listed = msgspec.json.decode(connection.getresponse().read(MAX_TAGS_BYTES), type=_Tags)
    except (OSError, http.client.HTTPException, *wire.DECODE_ERRORS):
        return None
    finally:
        connection.close()
    return listed.models[0].name if listed.models else None
