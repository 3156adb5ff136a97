"""Builds the opencode agent of a runner: the user's environment, and the model sources as providers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from gateway.backends.opencode.options import Options
from gateway.domain.agent import Agent, PermissionPolicy
from gateway.process import child
from gateway.runner.sources import ModelConfig, ModelSource, ModelSourceType

#: prefix of the names of the providers and opencode agents that we define
PROVIDER_PREFIX = "source-"
#: assumed size of a model's context in tokens, if only the length of its answers is set
ASSUMED_CONTEXT_TOKENS = 128_000
#: seconds that a turn may take, at most: a week
TURN_TIMEOUT_SECONDS = 604_800.0


def make_agent(
    model: str | None, context: str | None, source: ModelSource | None, purpose: ModelSourceType, directory: str
) -> Agent:
    """Return the agent for a turn.

    Args:
        model: `provider/model`, as opencode names it; overrides the source's model.
        context: the system prompt.
        directory: where it works.
    """
    serving = source.find_serving_purpose(purpose) if source is not None and model is None else None
    options = Options()
    if source is not None and serving is not None:
        chosen = source.models[serving]
        model = _full_model_name(serving, chosen)
        agent = f"{PROVIDER_PREFIX}{serving}" if chosen.temperature is not None else None
        options = Options(config=_build_config(source.models, model), agent=agent)
    return Agent(
        id="runner",
        backend="opencode",
        model=model,
        system_prompt=context,
        workspace=directory,
        timeout=TURN_TIMEOUT_SECONDS,
        permissions=PermissionPolicy.ALLOW,
        env=_filter_environment(os.environ),
        options=options,
    )


def _build_config(models: Mapping[ModelSourceType, ModelConfig], default: str) -> dict[str, Any]:
    """Return opencode's configuration: a provider for each source, and an agent if it has a temperature.

    Formats: https://opencode.ai/docs/config, https://opencode.ai/docs/providers.
    """
    return {
        "model": default,
        "small_model": default,
        "enabled_providers": [f"{PROVIDER_PREFIX}{purpose}" for purpose in models],
        "provider": {f"{PROVIDER_PREFIX}{purpose}": _build_provider(model) for purpose, model in models.items()},
        "agent": {
            f"{PROVIDER_PREFIX}{purpose}": {
                "mode": "primary",
                "description": f"for the purpose {purpose}",
                "model": _full_model_name(purpose, model),
                "temperature": model.temperature,
            }
            for purpose, model in models.items()
            if model.temperature is not None
        },
    }


def _full_model_name(purpose: ModelSourceType, model: ModelConfig) -> str:
    return f"{PROVIDER_PREFIX}{purpose}/{model.model}"


def _build_provider(model: ModelConfig) -> dict[str, Any]:
    about: dict[str, Any] = {"temperature": model.temperature is not None}
    if model.max_tokens is not None:
        about["limit"] = {"context": ASSUMED_CONTEXT_TOKENS, "output": model.max_tokens}
    return {
        "npm": "@ai-sdk/openai-compatible",
        "options": {"baseURL": model.baseurl, "apiKey": model.apikey},
        "models": {model.model: about},
    }


def _filter_environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the gateway's variables, and those that could load code or name a terminal."""
    return {
        name: value
        for name, value in given.items()
        if not name.startswith("MODEL_") and child.may_be_set(name) and name not in child.TERMINAL_VARIABLES
    }
