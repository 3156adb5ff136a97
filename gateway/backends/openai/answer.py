"""Reads one streamed answer, and judges whether it is one.

The text and the reasoning are the answer; an odd one is an error. All the rest (the usage, the reason of the end,
fields of other servers) is skipped where it has another form than expected: it must not cost the answer.
A stream that ends without a text or a picture is a failure, in the words of the server if it has said any.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.backends.openai import wire
from gateway.backends.openai.failure import ServerComplaint, TemporaryFailure, read_complaint
from gateway.backends.openai.large_json import decode_large_json
from gateway.backends.openai.pictures import PictureReader
from gateway.domain.event import BackendEvent, Log, Text, Thinking, Usage
from gateway.domain.finish_reason import find_finish_reason, normalize_finish_word
from gateway.domain.ports.backend import NewFile
from gateway.domain.run import FinishReason
from gateway.errors import AgentError, PromptRefused
from gateway.process.terminal_text import VisibleText
from gateway.sse_reader import ServerSentEvent

#: how llama.cpp begins a line that reports an error
LLAMA_ERROR_PREFIX = b"error:"
#: numbers of a usage from here on are not believed
MAX_USAGE_NUMBER = 1e15
#: reasons that say that the server failed
FAILURE_REASONS = frozenset(
    {"error", "failed", "abort", "aborted", "cancelled", "network_error", "insufficient_system_resource"}
)
#: fields that a piece has only if the server failed, and fields that say why where no answer is
_ERROR_FIELDS = ("error", "errors", "error_message", "error_type", "error_code")
_WORDS_FIELDS = ("message", "detail", "msg", "base_resp")
#: names of the reasoning: DeepSeek's; and that of Ollama, OpenRouter and newer vLLM
_THOUGHT_FIELDS = ("reasoning_content", "reasoning")
#: types of the parts of a content that are reasoning
_THOUGHT_PART_TYPES = frozenset({"thinking", "reasoning"})


class AnswerReader:
    """Reads the pieces of one answer."""

    def __init__(
        self,
        max_bytes: int,
        clean_message: Callable[[str], str],
        *,
        max_piece_bytes: int = wire.MAX_STREAM_LINE_BYTES,
        has_files: bool = False,
    ) -> None:
        """Args:
        max_bytes: largest size of the answer, reasoning included.
        clean_message: makes a server's words fit for an error message.
        max_piece_bytes: largest size of a piece without its pictures.
        has_files: whether the request had files, which the server may refuse.
        """
        self._max_piece_bytes = max_piece_bytes
        self._max_bytes = max_bytes
        self._clean_message = clean_message
        self._has_files = has_files
        self._pictures = PictureReader()
        self._size = 0
        self._usage: Usage | None = None
        self._reason = ""
        self._has_thought = self._has_called_tool = False
        self._answer = VisibleText()
        #: what the server says in place of an answer; a text after it shows that it was not an error
        self._complaint: ServerComplaint | None = None
        #: whether the server has said that the answer has ended
        self.is_finished = False

    @property
    def is_complete(self) -> bool:
        """Whether the answer is there, so that no failure after it matters."""
        return self.is_finished and self._has_answer and self._reason not in FAILURE_REASONS

    @property
    def _has_answer(self) -> bool:
        return self._answer.is_shown or self._pictures.count > 0

    def read_event(self, event: ServerSentEvent) -> list[BackendEvent | NewFile]:
        """Return what one event of the stream says.

        Raises:
            AgentError: the server reports an error, or the answer is too long or cannot be read.
        """
        data = event.data.strip()
        is_error = event.type == "error" or data.startswith(LLAMA_ERROR_PREFIX)
        try:
            piece = self._decode_piece(data.removeprefix(LLAMA_ERROR_PREFIX))
        except wire.DECODE_ERRORS as error:
            if is_error:
                return self._read_failure(ServerComplaint(words=wire.read_error(data)))
            if event.type != wire.UNKNOWN_LINE_TYPE:
                raise _make_unreadable(str(error)) from None
            self._note_complaint(ServerComplaint(words=wire.read_error(data)))
            return []
        try:
            return self.read_piece(piece, is_error=is_error)
        except RecursionError:
            raise _make_unreadable("it is nested too deeply") from None

    def _decode_piece(self, data: bytes) -> Any:
        is_large = len(data) > self._max_piece_bytes
        return decode_large_json(data, self._max_piece_bytes) if is_large else wire.decode_json(data)

    def read_piece(self, piece: Any, *, is_error: bool = False) -> list[BackendEvent | NewFile]:
        """Return what a piece of the answer says. A whole answer has the form of a piece, too.

        Args:
            is_error: whether the stream marks the piece as an error.

        Raises:
            AgentError: as for `read_event`.
        """
        if isinstance(piece, list) and piece:  # Google's errors
            piece = piece[0]
        if isinstance(piece, str):
            piece = {"message": piece}
        if not isinstance(piece, dict):
            if is_error:
                return self._read_failure(read_complaint(piece))
            return []  # it says nothing: some servers send `null` to keep the connection open
        choice = _find_first_choice(piece)
        if is_error or _reports_failure(piece):
            return self._read_failure(read_complaint(piece))
        if choice.get("error"):  # OpenRouter's
            return self._read_failure(read_complaint(choice))
        if not choice and not piece.get("usage") and _has_words(piece):
            self._note_complaint(read_complaint(piece))
        # Some servers send the total so far with every piece: the last one counts.
        self._usage = _read_usage(piece.get("usage")) or _read_usage(choice.get("usage")) or self._usage
        said = self._read_delta(choice.get("delta") or choice.get("message") or {})
        self._note_reason(choice.get("finish_reason"))
        return said

    def take_usage(self) -> list[Usage]:
        """Return what the answer used. It counts even if the answer is none."""
        return [] if self._usage is None else [self._usage]

    def end_answer(self) -> FinishReason:
        """Return why the answer ended.

        Raises:
            AgentError: there is no answer, or it is not complete.
        """
        if not self.is_finished:
            said = f": {self._clean_message(self._complaint.words)}" if self._complaint else "."
            raise TemporaryFailure(f"the model's server ended the answer before it was complete{said}")
        if self._complaint is not None:
            raise self._make_failure(self._complaint)
        if self._reason in FAILURE_REASONS:
            raise TemporaryFailure(f"the model's server broke off the answer: {self._reason}.")
        finish = find_finish_reason(self._reason) or FinishReason.STOP
        if not self._has_answer:
            raise self._explain_silence(finish)
        return finish

    # --- the answer -------------------------------------------------------------------------

    def _read_delta(self, delta: Any) -> list[BackendEvent | NewFile]:
        if not isinstance(delta, dict):
            raise _make_unreadable("the delta is no object")
        thought = next((text for name in _THOUGHT_FIELDS if (text := _read_text(delta, name))), "")
        refusal = _read_text(delta, "refusal")
        said: list[Text | Thinking | NewFile | Log] = [Thinking(delta=thought)] if thought else []
        said += _read_content(delta.get("content"))
        if refusal and not any(isinstance(one, Text) for one in said):
            said.append(Text(delta=refusal))
        said += self._pictures.read_delta(delta)
        for one in said:
            self._count_output(one)
        if (delta.get("tool_calls") or delta.get("function_call")) and not self._has_called_tool:
            self._has_called_tool = True
            return [*said, Log(level="warning", message="the model called a tool; this agent has none.")]
        return [*said]

    def _count_output(self, said: Text | Thinking | NewFile | Log) -> None:
        if isinstance(said, NewFile):
            self._complaint = None
        if not isinstance(said, Text | Thinking):
            return
        self._size += len(said.delta.encode())
        if self._size > self._max_bytes:
            raise AgentError(f"the model's answer is longer than {self._max_bytes} bytes.")
        if isinstance(said, Text):
            self._complaint = None
            self._answer.feed(said.delta)
        else:
            self._has_thought = True

    def _note_reason(self, reason: Any) -> None:
        if not reason or reason == "null":
            return
        self.is_finished = True
        self._reason = normalize_finish_word(reason)

    def _explain_silence(self, finish: FinishReason) -> AgentError:
        """Return the error for an answer without a text: temporary, unless another try would end in the same way."""
        if finish is FinishReason.CONTENT_FILTER:
            return PromptRefused("the server's content filter withheld the answer.")
        if finish is FinishReason.LENGTH:
            return AgentError(
                "the model reached its limit of tokens before it gave an answer.",
                remedy="Raise the agent's `max_tokens`, or the limit of the server.",
            )
        if self._has_called_tool:
            return AgentError("the model called a tool and gave no answer; this agent has no tools.")
        if self._has_thought:
            return TemporaryFailure("the model reasoned, and gave no answer.")
        return TemporaryFailure("the model's server ended the answer without a text.")

    # --- failures ---------------------------------------------------------------------------

    def _note_complaint(self, complaint: ServerComplaint) -> None:
        if complaint.words.strip() and not self.is_complete:
            self._complaint = self._complaint or complaint

    def _read_failure(self, complaint: ServerComplaint) -> list[BackendEvent | NewFile]:
        if not self.is_complete:
            raise self._make_failure(complaint)
        said = self._clean_message(complaint.words)
        return [Log(level="warning", message=f"the model's server reported an error after the answer: {said}")]

    def _make_failure(self, complaint: ServerComplaint) -> AgentError:
        where = " in the middle of the answer" if self._has_answer or self._has_thought else ""
        message = f"the model's server failed{where}: {self._clean_message(complaint.words)}"
        return complaint.make_error(message, has_files=self._has_files)


def _make_unreadable(why: str) -> AgentError:
    return AgentError(f"the model's server sent something that cannot be read: {why}.")


def _find_first_choice(piece: dict[str, Any]) -> dict[str, Any]:
    """Return the first choice of a piece, or an empty one: we ask for one answer."""
    choices = piece.get("choices") or [{}]
    choice = choices[0] if isinstance(choices, list) else None
    if not isinstance(choice, dict):
        raise _make_unreadable("the choices are no list of objects")
    return choice


def _reports_failure(piece: dict[str, Any]) -> bool:
    groq = piece.get("x_groq")
    return (
        any(piece.get(name) for name in _ERROR_FIELDS)
        or "error" in (piece.get("object"), piece.get("type"))
        or (isinstance(groq, dict) and bool(groq.get("error")))
    )


def _has_words(piece: dict[str, Any]) -> bool:
    return any(piece.get(name) and isinstance(piece[name], str | list | dict) for name in _WORDS_FIELDS)


def _read_text(fields: dict[str, Any], name: str) -> str:
    text = fields.get(name)
    return text if isinstance(text, str) else ""


def _read_content(content: Any) -> list[Text | Thinking]:
    """Return the text and the reasoning of a content: a text, or a list of parts as Mistral sends it.

    Raises:
        AgentError: it is neither.
    """
    if isinstance(content, str) or content is None:
        return [Text(delta=content)] if content else []
    parts = [content] if isinstance(content, dict) else content
    if not isinstance(parts, list):
        raise _make_unreadable("the content is no text")
    said: list[Text | Thinking] = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if text := _read_part(part):
            said.append(Thinking(delta=text) if kind in _THOUGHT_PART_TYPES else Text(delta=text))
    return said


def _read_part(part: Any) -> str:
    """Return the text of a part, which may stand in a field or be a list of parts; "" for a part of another kind."""
    if isinstance(part, list):
        return "".join(_read_part(one) for one in part)
    if isinstance(part, dict):
        texts = (_read_part(part.get(name)) for name in ("text", "thinking", "reasoning", "refusal"))
        return next((text for text in texts if text), "")
    return part if isinstance(part, str) else ""


def _read_usage(used: Any) -> Usage | None:
    """Return a usage; None if there is none. A number that is none counts as 0."""
    if not isinstance(used, dict):
        return None
    details = used.get("prompt_tokens_details")
    return Usage(
        input=int(_read_number(used.get("prompt_tokens"))),
        output=int(_read_number(used.get("completion_tokens"))),
        cached=int(_read_number(details.get("cached_tokens") if isinstance(details, dict) else None)),
        cost=_read_number(used.get("cost")),
    )


def _read_number(value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value < MAX_USAGE_NUMBER else 0.0
