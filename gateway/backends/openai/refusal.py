"""Judges an error of a model's server: does the server refuse the prompt, for its length or for its content?

No standard has a code for that. The codes and words are those of OpenAI, Azure, Anthropic, Google, Mistral, Cohere,
vLLM, SGLang, llama.cpp, Ollama, LM Studio, Hugging Face's TGI, LiteLLM, OpenRouter, Groq, DashScope and others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gateway.errors import PromptRefused

#: tokens of the smallest limit that is believed
MIN_LIMIT_TOKENS = 64


class PromptTooLong(PromptRefused):
    """The messages are longer than the model can read."""

    def __init__(self, message: str, *, limit: int | None, prompt_tokens: int | None) -> None:
        super().__init__(message, remedy="Send less, or use a model that can read more.")
        #: tokens that the server takes, and that it counted in the messages; None if it does not say
        self.limit = limit
        self.prompt_tokens = prompt_tokens


class FilesRefused(PromptRefused):
    """The server seems to refuse the files of a request."""

    def __init__(self, message: str, *, blames_content: bool) -> None:
        super().__init__(message, remedy="Say in the agent's `inputs` what its model reads.")
        #: whether it refuses these very files, and may take others
        self.blames_content = blames_content


def find_refusal(
    status: int | None, words: str, fields: Mapping[str, Any], message: str, *, has_files: bool = False
) -> PromptRefused | None:
    """Return the error to raise if a server refuses the prompt; None if its error has another cause.

    Args:
        status: the HTTP status that the error has or names; None if it names none.
        words: the server's message and its names for the error, in lower case.
        fields: the fields of the error.
        message: what the error to raise shall say.
        has_files: whether the request had files.
    """
    if has_files and _concerns_files(status, words):
        return FilesRefused(message, blames_content=_BAD_FILE_WORDS.search(words) is not None)
    if _concerns_length(status, words):
        limit = _read_tokens(fields.get("n_ctx")) or _find_number(_LIMIT_PATTERNS, words)
        counted = _read_tokens(fields.get("n_prompt_tokens")) or _find_number(_COUNT_PATTERNS, words)
        return PromptTooLong(message, limit=limit, prompt_tokens=counted)
    return PromptRefused(message) if _concerns_content(status, words, fields.get("param")) else None


# --- length ---------------------------------------------------------------------------------

#: the words that mean a length also in an error whose status means something else
_CLEAR_LENGTH_WORDS = re.compile(
    r"context[ _-]?(length|window|size)|exceed_context|context.{0,12}overflow"
    r"|(prompt|input|request)( is|_is|_)? ?too[ _]?(long|large)|maximum prompt length|tokens_limit_reached"
)
_LENGTH_WORDS = re.compile(
    _CLEAR_LENGTH_WORDS.pattern
    + r"|\b(prompt|inputs?|messages?|request|conversation|text|content|tokens)\b.{0,80}\btoo (long|large|many|big)\b"
    r"|too many (input |prompt |total )*tokens"
    r"|reduce (the|your) .{0,30}(length|size|prompt|messages?|input|tokens)"
    r"|\btokens?\b.{0,60}\bexceed|exceed\w*\b.{0,60}(\btokens?\b|max(imum)? \w* ?(length|input))"
    r"|longer than .{0,60}(context|maximum|model)|max(imum)?[ _](input|model|sequence|position)[ _](len|tokens|embed)"
    r"|range of input length|must have less than \d+ tokens|tokens \+ .{0,30}must be <=|number of tokens to keep"
    r"|exceed\w*\b.{0,40}\b(context|window)\b|\b(context|window)\b.{0,40}\bexceed|\b(not|n't|cannot) fit\b"
    r"|\d tokens\b.{0,20}\b(max|maximum|limit|allowed)\b"
    r"|string_above_max_length|超长|超[过出].{0,16}(长度|上下文|限制|token)"
)
_TOO_LARGE_STATUS, _TOO_MANY_REQUESTS_STATUS = 413, 429
#: statuses by which servers refuse what they understood
_REFUSING_STATUSES = frozenset({400, 413, 422})


def _concerns_length(status: int | None, words: str) -> bool:
    if status == _TOO_LARGE_STATUS:
        return True
    if status is None or status in _REFUSING_STATUSES:
        return _LENGTH_WORDS.search(words) is not None
    # Some servers answer 500 to it, and 429 if the tokens of a single request are over the limit of a minute.
    return (status >= 500 or status == _TOO_MANY_REQUESTS_STATUS) and _CLEAR_LENGTH_WORDS.search(words) is not None


# --- files ----------------------------------------------------------------------------------

_FILE_WORDS = re.compile(
    r"\bimages?\b|image_|picture|photo|vision|multi-?modal|\baudio|_audio|\bpdf\b|file_data|media[ _]type|mmproj"
)
#: what is wrong with a file itself; `at most 0 images` is about none
_BAD_FILE_WORDS = re.compile(
    r"too (large|big|small|many)|exceed|at most [1-9]|corrupt|malformed|damaged|truncated|parse_error|dimension|pixel"
    r"|invalid (image|picture|base64|data)|not a valid|unsupported image[.,]|unsupported image (format|type)"
    r"|(could not|cannot|can't|unable to|fail(ed|ure)? to) (be )?(\w+ )?(process|load|identify|decode|read|open)"
    r"|content[ _-]?(filter|policy)|moderation|flagged|safety|usage polic|inappropriate|sensitive|prohibited|harmful"
)
#: statuses by which servers refuse a part that they do not know
_UNKNOWN_PART_STATUSES = frozenset({400, 404, 415, 422, 501})


def _concerns_files(status: int | None, words: str) -> bool:
    """Return whether an error may be about the files of its request."""
    if _FILE_WORDS.search(words) is not None:
        return status is None or status in _UNKNOWN_PART_STATUSES or status >= 500
    if status not in _UNKNOWN_PART_STATUSES or _concerns_length(status, words):
        return False
    return _SETTING_WORDS.search(words) is None


# --- content --------------------------------------------------------------------------------

#: statuses of the client's faults that are not about what was said: key, payment, address, method, rate, headers
_OTHER_STATUSES = frozenset({*range(401, 412), 415, 416, 417, 421, *range(423, 430), 431})
#: of those, the ones by which servers also refuse content
_FORBIDDEN_STATUSES = frozenset({403, 406})
_CONTENT_WORDS = re.compile(
    r"content[ _-]?(filter|policy|management|safety|moderation|violat)|moderation|flagged|responsible_?ai|safety"
    r"|usage polic|inappropriate|sensitive|prohibited|harmful|data_?inspection|jailbreak|敏感|违规|不安全"
)
#: what a setting of the agent, an account or a model has to do with
_SETTING_WORDS = re.compile(
    r"api[ _-]?key|authenti|unauthori[sz]ed|credit|billing|quota|balance|payment"
    r"|unsupported[ _](parameter|value)|unrecognized|unknown (parameter|field|argument|name)|extra inputs"
    r"|\b(models?|deployment|engine)\b.{0,100}(not found|not exist|not support|not available|unknown|invalid|no access)"
    r"|(no such|unknown|invalid|unsupported) (model|deployment)|not a valid model|model_not_found"
    r"|stream_options|temperature|max_(completion_)?tokens"
)
_PARAMS_OF_CONTENT = re.compile(r"(messages|prompt|input|contents?)\b.*|", re.DOTALL)


def _concerns_content(status: int | None, words: str, param: Any) -> bool:
    if status is None:
        return _CONTENT_WORDS.search(words) is not None
    if not 400 <= status < 500:
        return False
    if status in _OTHER_STATUSES:
        return status in _FORBIDDEN_STATUSES and _CONTENT_WORDS.search(words) is not None
    if _CONTENT_WORDS.search(words):
        return True
    named = param if isinstance(param, str) else ""
    return _PARAMS_OF_CONTENT.fullmatch(named) is not None and not _SETTING_WORDS.search(words)


# --- reading --------------------------------------------------------------------------------

_NUMBER = r"[(\[:=]?\s*(?:about |only )?([\d,_]*\d)"
#: how servers name the tokens that they take, the surest first
_LIMIT_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"maximum (?:context|prompt|input|model|sequence)(?: context)? length (?:is|of) {_NUMBER}",
        rf"context (?:length|window|size)[^\d.;]{{0,24}}{_NUMBER}",
        r"([\d,]+) (?:tokens? )?(?:is the )?maximum",
        rf"(?:maximum|max size|cannot exceed|less than|token limit|tokens? allowed|must be <=|limit)\W{{1,3}}{_NUMBER}",
        r"range of input length should be \[\d+, ?(\d+)\]",
        rf"exceeds? the (?:maximum|limit)[^\d]{{0,40}}{_NUMBER}",
    )
)
#: how servers name the tokens that they counted in the messages, the surest first
_COUNT_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        r"([\d,]+)(?: tokens)? (?:in|from) the (?:input )?(?:messages|prompt|input)",
        rf"(?:messages resulted in|request has|request contains|prompt contains|prompt is too long:) {_NUMBER}",
        rf"(?:input token count|prompt \(length|the (?:input|request) \(|given:|received) ?{_NUMBER}",
        rf"requested(?: tokens)? {_NUMBER}",
    )
)


def _read_tokens(value: Any) -> int | None:
    """Return a number of tokens that llama.cpp gives in addition to its message."""
    return value if isinstance(value, int) and value >= MIN_LIMIT_TOKENS else None


def _find_number(patterns: tuple[re.Pattern[str], ...], words: str) -> int | None:
    for pattern in patterns:
        for found in pattern.finditer(words):
            number = re.sub(r"[,_]", "", found[1])
            if number.isdecimal() and len(number) < 10 and int(number) >= MIN_LIMIT_TOKENS:
                return int(number)
    return None
