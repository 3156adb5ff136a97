"""What OpenAI's clients send and read, as far as an agent can use it.

Shapes: https://platform.openai.com/docs/api-reference. Fields that mean nothing to an agent, such as
`temperature` or `tools`, are ignored, as other servers of this kind do.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

#: messages and other items of one request
MAX_ITEMS = 100_000
#: an agent's id, or `agent/model`
ModelName = Annotated[str, Meta(min_length=1, max_length=256)]
#: data of the client, which it gets back; `session` names a session
Metadata = dict[str, Any]


class Said(Struct, frozen=True, kw_only=True):
    """One message of a conversation, or another item that a client repeats, such as reasoning or a tool's result.

    Only the last message is checked: what an agent cannot read of the earlier ones becomes a note.
    """

    role: str | None = None
    type: str | None = None
    #: a text, or a list of parts
    content: Any = None
    # of earlier answers
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None


class StreamOptions(Struct, frozen=True, kw_only=True):
    include_usage: bool = False


class ChatRequest(Struct, frozen=True, kw_only=True):
    """A conversation that needs its next message."""

    model: ModelName
    messages: Annotated[list[Said], Meta(min_length=1, max_length=MAX_ITEMS)]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: int | None = 1
    #: the client's name of its user; becomes a label of the run
    user: str | None = None
    metadata: Metadata | None = None


class ChatMessage(Struct, frozen=True, kw_only=True):
    content: str
    role: str = "assistant"
    refusal: None = None


class Choice(Struct, frozen=True, kw_only=True):
    message: ChatMessage
    index: int = 0
    #: stop, length or content_filter
    finish_reason: str = "stop"
    logprobs: None = None


class ChatUsage(Struct, frozen=True, kw_only=True):
    """Tokens; zeros when the agent reports nothing."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, int]


class ChatCompletion(Struct, frozen=True, kw_only=True):
    """The next message."""

    id: str
    #: seconds since 1970 UTC
    created: int
    model: str
    choices: list[Choice]
    usage: ChatUsage
    object: Literal["chat.completion"] = "chat.completion"


class ResponseRequest(Struct, frozen=True, kw_only=True):
    """An input that wants a response."""

    model: ModelName
    input: str | Annotated[list[Said], Meta(min_length=1, max_length=MAX_ITEMS)]
    instructions: str | None = None
    #: the response whose conversation is continued
    previous_response_id: Annotated[str, Meta(max_length=64)] | None = None
    stream: bool | None = False
    #: whether to answer at once; a later request gets the result
    background: bool | None = False
    #: the client's name of its user; becomes a label of the run
    user: str | None = None
    metadata: Metadata | None = None


class ResponseQuery(Struct, frozen=True, kw_only=True):
    """How to show a response."""

    #: whether to follow it as a stream
    stream: bool = False
    #: the stream begins after the event with this sequence number
    starting_after: Annotated[int, Meta(ge=0)] | None = None


class OutputText(Struct, frozen=True, kw_only=True):
    text: str
    type: Literal["output_text"] = "output_text"
    annotations: list[Any] = field(default_factory=list)


class OutputMessage(Struct, frozen=True, kw_only=True):
    id: str
    #: in_progress, completed or incomplete
    status: str
    content: list[OutputText]
    role: str = "assistant"
    type: Literal["message"] = "message"


class ResponseUsage(Struct, frozen=True, kw_only=True):
    """Tokens; zeros when the agent reports nothing."""

    input_tokens: int
    input_tokens_details: dict[str, int]
    output_tokens: int
    output_tokens_details: dict[str, int]
    total_tokens: int


class ResponseShown(Struct, frozen=True, kw_only=True):
    """A run, as the Responses API shows it."""

    id: str
    #: seconds since 1970 UTC
    created_at: int
    #: queued, in_progress, completed, incomplete, failed or cancelled
    status: str
    model: str
    output: list[OutputMessage]
    usage: ResponseUsage | None
    error: dict[str, str] | None
    previous_response_id: str | None = None
    instructions: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    background: bool = False
    object: Literal["response"] = "response"
    #: why an incomplete response was cut: `reason` is max_output_tokens or content_filter
    incomplete_details: dict[str, str] | None = None
    parallel_tool_calls: bool = False
    tool_choice: str = "auto"
    tools: list[Any] = field(default_factory=list)
    temperature: None = None
    top_p: None = None


class Model(Struct, frozen=True, kw_only=True):
    """An agent, as a model."""

    id: str
    #: when this gateway started, in seconds since 1970 UTC
    created: int
    object: Literal["model"] = "model"
    owned_by: str = "moongate"


class ModelList(Struct, frozen=True, kw_only=True):
    data: list[Model]
    object: Literal["list"] = "list"


class OpenAIComplaint(Struct, frozen=True, kw_only=True):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(Struct, frozen=True, kw_only=True):
    """The body of every error of these routes."""

    error: OpenAIComplaint
