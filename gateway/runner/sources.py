"""Models by purpose, from code, from the environment, or from an `.env` file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import dotenv


class ModelSourceType(StrEnum):
    """The purpose of a model."""

    PLAN = "plan"
    THINK = "think"
    CODE = "code"
    WRITE = "write"
    DEFAULT = "default"


class ModelConfig(NamedTuple):
    """A model and its server."""

    #: URL of an OpenAI-compatible server; `/v1` is added if it has no path
    baseurl: str
    apikey: str
    model: str
    #: how freely the model chooses its words; None leaves it to the server
    temperature: float | None = None
    #: tokens of one answer, at most; None leaves it to opencode
    max_tokens: int | None = None


class ModelSource:
    """A model for each purpose; without one, a purpose uses the default's, or the first that was set."""

    def __init__(self) -> None:
        self._models: dict[ModelSourceType, ModelConfig] = {}

    def set_model(
        self,
        source_type: ModelSourceType | str,
        baseurl: str,
        apikey: str,
        model: str,
        temperature: float | None = None,
        max_tokens: int | None = None,
    ) -> None:
        """Set the model for a purpose.

        Raises:
            ValueError: a value is not valid; the message names it.
        """
        purpose = ModelSourceType(source_type)
        parts = urlsplit(baseurl)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError(f"{purpose}: baseurl must be an http or https URL, not {baseurl!r}.")
        if not model:
            raise ValueError(f"{purpose}: a model must have a name.")
        if temperature is not None and not 0 <= temperature <= 2:
            raise ValueError(f"{purpose}: temperature must be from 0 to 2, not {temperature}.")
        if max_tokens is not None and max_tokens < 1:
            raise ValueError(f"{purpose}: max_tokens must be positive, not {max_tokens}.")
        url = baseurl.rstrip("/") + ("" if parts.path.strip("/") else "/v1")
        self._models[purpose] = ModelConfig(url, apikey, model, temperature, max_tokens)

    def get_model(self, source_type: ModelSourceType | str) -> ModelConfig | None:
        """Return the model for a purpose; None if there is no model at all."""
        serving = self.find_serving_purpose(source_type)
        return None if serving is None else self._models[serving]

    def find_serving_purpose(self, source_type: ModelSourceType | str) -> ModelSourceType | None:
        """Return the purpose whose model is used: this one, or the default, or the first that was set."""
        wanted = (ModelSourceType(source_type), ModelSourceType.DEFAULT, *self._models)
        return next((purpose for purpose in wanted if purpose in self._models), None)

    def has_model(self, source_type: ModelSourceType | str) -> bool:
        """Tell whether a purpose has a model of its own."""
        return ModelSourceType(source_type) in self._models

    @property
    def models(self) -> Mapping[ModelSourceType, ModelConfig]:
        """The models that were set, by purpose."""
        return self._models

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> ModelSource:
        """Read `MODEL_<PURPOSE>_{BASEURL,APIKEY,MODEL,TEMPERATURE,MAX_TOKENS}`.

        Raises:
            ValueError: a value is not valid, or a purpose has a key but no server or model.
        """
        source = cls()
        for purpose in ModelSourceType:
            prefix = f"MODEL_{purpose.name}_"
            said = {name.removeprefix(prefix): value for name, value in environ.items() if name.startswith(prefix)}
            if not any(said.values()):
                continue
            missing = [prefix + name for name in ("BASEURL", "MODEL") if not said.get(name)]
            if missing:
                raise ValueError(f"{missing[0]} is missing, though another {prefix}… is set.")
            source.set_model(
                purpose,
                said["BASEURL"],
                said.get("APIKEY", ""),
                said["MODEL"],
                _parse_number(prefix + "TEMPERATURE", said.get("TEMPERATURE"), float),
                _parse_number(prefix + "MAX_TOKENS", said.get("MAX_TOKENS"), int),
            )
        return source

    @classmethod
    def from_env_file(cls, filepath: str | Path = ".env") -> ModelSource:
        """Read the same names from a file.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: as `from_env`.
        """
        with Path(filepath).open(encoding="utf-8") as file:
            return cls.from_env({name: value or "" for name, value in dotenv.dotenv_values(stream=file).items()})

    @classmethod
    def from_dict(cls, data: Mapping[str, Mapping[str, Any]]) -> ModelSource:
        """Create a source from `{purpose: {"baseurl", "apikey", "model", "temperature"?, "max_tokens"?}}`.

        Raises:
            ValueError: a purpose is unknown, or a value is not valid.
        """
        source = cls()
        for purpose, said in data.items():
            try:
                source.set_model(purpose.lower(), **said)
            except TypeError as error:
                raise ValueError(f"{purpose}: {error}") from error
        return source


def _parse_number(name: str, text: str | None, kind: type[Any]) -> Any:
    try:
        return kind(text) if text else None
    except ValueError:
        raise ValueError(f"{name} must be a number, not {text!r}.") from None
