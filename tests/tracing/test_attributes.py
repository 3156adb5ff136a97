"""The table of attributes has the names of OpenTelemetry's conventions."""

from __future__ import annotations

import pytest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv.attributes import error_attributes, http_attributes, server_attributes
from opentelemetry.semconv.schemas import Schemas

from gateway.tracing.attributes import PROVIDERS, SEMANTIC_CONVENTIONS_VERSION, Attribute, Operation, find_provider


def test_all_names_but_our_own_are_in_the_conventions() -> None:
    modules = (gen_ai_attributes, error_attributes, http_attributes, server_attributes)
    known = {value for module in modules for name, value in vars(module).items() if name.isupper()}

    assert {one for one in Attribute if not one.startswith("moongate.")} <= known


def test_all_values_that_the_conventions_list_are_theirs() -> None:
    assert {one.value for one in Operation} <= {one.value for one in gen_ai_attributes.GenAiOperationNameValues}
    assert set(PROVIDERS.values()) <= {one.value for one in gen_ai_attributes.GenAiProviderNameValues}


def test_the_version_is_one_that_there_is() -> None:
    assert f"/{SEMANTIC_CONVENTIONS_VERSION}" in "".join(one.value for one in Schemas)


@pytest.mark.parametrize(
    ("model", "program", "backend", "provider"),
    [
        ("anthropic/claude-opus-4", None, "opencode", "anthropic"),
        ("openrouter/gpt-5", None, "opencode", "openrouter"),
        ("opus", "claude", "acp", "anthropic"),
        (None, "codex", "command", "openai"),
        ("gpt-5", None, "openai", "openai"),
        (None, "qwen", "acp", "qwen"),
        (None, None, "echo", "echo"),
    ],
)
def test_the_provider_is_told_by_the_model_the_program_or_the_backend(
    model: str | None, program: str | None, backend: str, provider: str
) -> None:
    assert find_provider(model, program, backend) == provider
