"""The names of all attributes that spans have, in one table.

Those of `gen_ai.*` are of OpenTelemetry's semantic conventions, whose GenAI part is still in development:
https://opentelemetry.io/docs/specs/semconv/gen-ai/. All others begin with `moongate.`.
"""

from __future__ import annotations

from enum import StrEnum

#: version of the semantic conventions that the names and values are taken from
SEMANTIC_CONVENTIONS_VERSION = "1.44.0"


class Attribute(StrEnum):
    """An attribute of a span."""

    OPERATION = "gen_ai.operation.name"
    PROVIDER = "gen_ai.provider.name"
    MODEL = "gen_ai.request.model"
    AGENT_ID = "gen_ai.agent.id"
    AGENT_NAME = "gen_ai.agent.name"
    CONVERSATION = "gen_ai.conversation.id"
    INPUT_TOKENS = "gen_ai.usage.input_tokens"
    OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
    CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
    FINISH_REASONS = "gen_ai.response.finish_reasons"
    TOOL_NAME = "gen_ai.tool.name"
    TOOL_CALL = "gen_ai.tool.call.id"
    #: only with `tracing.content`
    INPUT_MESSAGES = "gen_ai.input.messages"
    OUTPUT_MESSAGES = "gen_ai.output.messages"
    TOOL_ARGUMENTS = "gen_ai.tool.call.arguments"
    TOOL_RESULT = "gen_ai.tool.call.result"
    #: why a span failed, in one word
    ERROR = "error.type"
    HTTP_STATUS = "http.response.status_code"
    SERVER = "server.address"

    RUN = "moongate.run.id"
    SOURCE = "moongate.run.source"
    STATUS = "moongate.run.status"
    OUTCOME = "moongate.run.outcome"
    ATTEMPTS = "moongate.run.attempts"
    COST = "moongate.run.cost_usd"
    SUBMITTED_BY = "moongate.run.submitted_by"
    SCHEDULE = "moongate.schedule.id"
    #: number of the attempt in its run, from 1
    ATTEMPT = "moongate.attempt"
    WAIT_REASON = "moongate.wait.reason"
    #: `allow`, `deny`, or another choice
    PERMISSION_ANSWER = "moongate.permission.answer"
    #: `policy`, `person`, `deadline`, or `withdrawn`
    PERMISSION_BY = "moongate.permission.by"
    #: only with `tracing.content`
    PERMISSION_ACTION = "moongate.permission.action"
    DELIVERY = "moongate.delivery.id"
    #: `webhook`, or the name of a channel
    DELIVERY_KIND = "moongate.delivery.kind"
    #: number of the try, from 1
    DELIVERY_TRY = "moongate.delivery.try"
    #: what a link leads to: `retry_of`, or `parent`
    LINK = "moongate.link"


class Operation(StrEnum):
    """A value of `gen_ai.operation.name`."""

    INVOKE_AGENT = "invoke_agent"
    EXECUTE_TOOL = "execute_tool"


#: values of `gen_ai.provider.name` by the first part of a model's name, and by the backend or the known program
PROVIDERS = {
    "anthropic": "anthropic",
    "claude": "anthropic",
    "openai": "openai",
    "codex": "openai",
    "google": "gcp.gemini",
    "gemini": "gcp.gemini",
    "google-vertex": "gcp.vertex_ai",
    "amazon-bedrock": "aws.bedrock",
    "azure": "azure.ai.openai",
    "deepseek": "deepseek",
    "groq": "groq",
    "mistral": "mistral_ai",
    "xai": "x_ai",
    "perplexity": "perplexity",
    "cohere": "cohere",
}


def find_provider(model: str | None, program: str | None, backend: str) -> str:
    """Return who provides the model, as well as it is known: a name that the conventions have, or the backend's.

    Args:
        model: a name such as `anthropic/claude-opus-4`.
        program: the known program that the agent is, such as `codex`.
    """
    maker = (model or "").partition("/")[0] if "/" in (model or "") else ""
    return PROVIDERS.get(maker) or PROVIDERS.get(program or "") or PROVIDERS.get(backend) or maker or program or backend
