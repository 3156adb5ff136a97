"""What OpenAI's clients send and read, as far as an agent can use it.

Shapes: https://platform.openai.com/docs/api-reference. Fields that mean nothing to an agent, such as
`temperature` or `tools`, are ignored, as other servers of this kind do.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

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

    #: who says it: user, assistant, system, developer or tool
    role: str | None = None
    #: the kind of an item of the Responses API; a message when left out
    type: str | None = None
    #: a text, or a list of parts
    content: Any = None
    #: of an earlier answer: why the model refused
    refusal: Any = None
    #: of an earlier answer: the tools that it called
    tool_calls: Any = None
    #: of an earlier answer: the function that it called
    function_call: Any = None
    #: of an earlier answer: the picture that it brought, in base64
    result: Any = UNSET


class StreamOptions(Struct, frozen=True, kw_only=True):
    #: whether a last chunk tells the usage
    include_usage: bool = False


class ChatRequest(Struct, frozen=True, kw_only=True):
    """A conversation that needs its next message."""

    model: ModelName
    #: the conversation, oldest first; the last one is what the agent is told
    messages: Annotated[list[Said], Meta(min_length=1, max_length=MAX_ITEMS)]
    #: whether to answer as a stream of chunks
    stream: bool | None = False
    #: what the stream tells
    stream_options: StreamOptions | None = None
    #: how many answers; only 1 is possible
    n: int | None = 1
    #: the client's name of its user; becomes a label of the run
    user: str | None = None
    #: `session` names a session; the rest is not used
    metadata: Metadata | None = None


class ChatMessage(Struct, frozen=True, kw_only=True):
    #: the agent's answer
    content: str
    #: who says it: always the assistant
    role: str = "assistant"
    #: always null
    refusal: None = None


class Choice(Struct, frozen=True, kw_only=True):
    #: the agent's answer
    message: ChatMessage
    #: always 0: there is one choice
    index: int = 0
    #: stop, length or content_filter
    finish_reason: str = "stop"
    #: always null
    logprobs: None = None


class ChatUsage(Struct, frozen=True, kw_only=True):
    """Tokens; zeros when the agent reports nothing."""

    #: tokens that the model read
    prompt_tokens: int
    #: tokens that it wrote
    completion_tokens: int
    #: both together
    total_tokens: int
    #: `cached_tokens`: those of the prompt that came from a cache
    prompt_tokens_details: dict[str, int]


class ChatCompletion(Struct, frozen=True, kw_only=True):
    """The next message."""

    #: `chatcmpl-` and the run's id
    id: str
    #: seconds since 1970 UTC
    created: int
    model: str
    choices: list[Choice]
    usage: ChatUsage
    #: the kind of this object
    object: Literal["chat.completion"] = "chat.completion"


class ResponseRequest(Struct, frozen=True, kw_only=True):
    """An input that wants a response."""

    model: ModelName
    #: what the agent is told, or a conversation, oldest first, whose last message that is
    input: str | Annotated[list[Said], Meta(min_length=1, max_length=MAX_ITEMS)]
    #: what the agent is told before the conversation
    instructions: str | None = None
    #: the response whose conversation is continued
    previous_response_id: Annotated[str, Meta(max_length=64)] | None = None
    #: whether to answer as a stream of events
    stream: bool | None = False
    #: whether to answer at once; a later request gets the result
    background: bool | None = False
    #: the client's name of its user; becomes a label of the run
    user: str | None = None
    #: `session` names a session; all of it is returned
    metadata: Metadata | None = None


class ResponseQuery(Struct, frozen=True, kw_only=True):
    """How to show a response."""

    #: whether to follow it as a stream
    stream: bool = False
    #: the stream begins after the event with this sequence number
    starting_after: Annotated[int, Meta(ge=0)] | None = None


class FileCitation(Struct, frozen=True, kw_only=True):
    """Says which part of the text is the link to a file that the agent made."""

    #: `cntr_` and the run's id
    container_id: str
    #: `GET /api/files/{id}` returns the file
    file_id: str
    #: name of the file
    filename: str
    #: characters of the text before the link
    start_index: int
    #: characters of the text up to the end of the link
    end_index: int
    #: the kind of this object
    type: Literal["container_file_citation"] = "container_file_citation"


class OutputText(Struct, frozen=True, kw_only=True):
    #: the agent's answer, with a link to each file that it made
    text: str
    #: the kind of this object
    type: Literal["output_text"] = "output_text"
    #: the files that the agent made
    annotations: list[FileCitation] = field(default_factory=list)


class OutputMessage(Struct, frozen=True, kw_only=True):
    """The agent's answer, or a picture that it made."""

    #: `msg_` and the run's id, or `ig_` and the id of the picture's file
    id: str
    #: in_progress, completed or incomplete
    status: str
    #: empty for a picture
    content: list[OutputText]
    #: who says it: always the assistant
    role: str = "assistant"
    #: the kind of this object
    type: Literal["message", "image_generation_call"] = "message"
    #: the picture, in base64
    result: str | UnsetType = UNSET


class ResponseUsage(Struct, frozen=True, kw_only=True):
    """Tokens; zeros when the agent reports nothing."""

    #: tokens that the model read
    input_tokens: int
    #: `cached_tokens`: those that came from a cache
    input_tokens_details: dict[str, int]
    #: tokens that it wrote
    output_tokens: int
    #: `reasoning_tokens`: always 0, because agents do not tell them apart
    output_tokens_details: dict[str, int]
    #: both together
    total_tokens: int


class ResponseShown(Struct, frozen=True, kw_only=True):
    """A run, as the Responses API shows it."""

    #: `resp_` and the run's id
    id: str
    #: seconds since 1970 UTC
    created_at: int
    #: queued, in_progress, completed, incomplete, failed or cancelled
    status: str
    model: str
    output: list[OutputMessage]
    usage: ResponseUsage | None
    error: dict[str, str] | None
    #: the response whose conversation this one continues
    previous_response_id: str | None = None
    #: what the request had
    instructions: str | None = None
    #: what the request had
    metadata: dict[str, Any] = field(default_factory=dict)
    #: whether the request asked for an answer at once
    background: bool = False
    #: the kind of this object
    object: Literal["response"] = "response"
    #: why an incomplete response was cut: `reason` is max_output_tokens or content_filter
    incomplete_details: dict[str, str] | None = None
    #: always false: an agent has its own tools
    parallel_tool_calls: bool = False
    #: always `auto`
    tool_choice: str = "auto"
    #: always empty
    tools: list[Any] = field(default_factory=list)
    #: always null
    temperature: None = None
    #: always null
    top_p: None = None


class Model(Struct, frozen=True, kw_only=True):
    """An agent, as a model."""

    #: id of the agent
    id: str
    #: when this gateway started, in seconds since 1970 UTC
    created: int
    #: the kind of this object
    object: Literal["model"] = "model"
    #: always `moongate`
    owned_by: str = "moongate"


class ModelList(Struct, frozen=True, kw_only=True):
    data: list[Model]
    #: the kind of this object
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
