"""The files in the messages of an OpenAI client: pictures, sound and documents, each a part of a message.

The shapes: https://platform.openai.com/docs/api-reference/chat/create (`image_url`, `input_audio`, `file`) and
https://platform.openai.com/docs/api-reference/responses/create (`input_image`, `input_file`). Data URLs: RFC 2397.
"""

from __future__ import annotations

import asyncio
import binascii
import hashlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Struct

from gateway.api.compat.openai.wire import Said
from gateway.domain.media_type import SNIFFED_BYTES, find_media_type, guess_ending
from gateway.errors import InvalidRequest

#: types of parts that are files, and what people call them
FILE_NOUNS = {
    "image_url": "picture",
    "input_image": "picture",
    "input_audio": "audio",
    "file": "file",
    "input_file": "file",
}
#: the item of the Responses API with a picture that an answer brought, and that a client repeats
PICTURE_ITEM: Final = "image_generation_call"
#: characters of base64 that are decoded at once, a multiple of 4; more than that are decoded in a thread
DECODED_CHARACTERS = 1 << 20
#: characters of a text that tell requests with one idempotency key apart as they are; a longer one is hashed
MAX_PLAIN_CHARACTERS = 4096


class Inline(Struct, frozen=True):
    """Content that a part has in itself. Nothing is decoded yet."""

    data: str
    #: percent-encoded otherwise, as in a data URL without `;base64`
    is_base64: bool

    @property
    def size(self) -> int | None:
        """Its bytes when it is decoded; None if only decoding shows that."""
        return len(self.data) * 3 // 4 - self.data.count("=", -2) if self.is_base64 else None


class Remote(Struct, frozen=True):
    """Content that has to be fetched."""

    url: str


class Stored(Struct, frozen=True):
    """A file of this gateway."""

    id: str


class FilePart(Struct, frozen=True, kw_only=True):
    """A file in a message, as the client gives it."""

    #: what people call it: picture, audio or file
    noun: str
    content: Inline | Remote | Stored
    #: empty if it has none
    name: str = ""
    #: empty if the client does not tell it
    media_type: str = ""
    #: the field of the request, for errors
    where: str

    def choose_name(self, number: int) -> str:
        """Return its name, or one that is made of what it is.

        Args:
            number: its number among those of its kind in the request.
        """
        if self.name:
            return self.name
        beginning = decode_beginning(self.content) if isinstance(self.content, Inline) else b""
        media_type = find_media_type(self.media_type, "", beginning) if beginning else self.media_type
        return f"{'image' if self.noun == 'picture' else self.noun}-{number}{guess_ending(media_type)}"


def is_file_part(part: Any) -> bool:
    """Return whether a part of a message is a file, or would be if it were right."""
    return isinstance(part, dict) and isinstance(part.get("type"), str) and part["type"] in FILE_NOUNS


def read_file_part(part: Mapping[str, Any], where: str) -> FilePart:
    """Return the file in a part, undecoded.

    Args:
        where: the part's place in the request, for errors.

    Raises:
        InvalidRequest: the part does not have one.
    """
    kind = part["type"]
    noun = FILE_NOUNS[kind]
    if kind == "input_audio":
        return _read_audio(part.get(kind), f"{where}.{kind}")
    if kind in ("image_url", "input_image"):
        url = part.get("image_url")
        where = f"{where}.image_url"
        given = {"file_url": url.get("url") if isinstance(url, dict) else url, "file_id": part.get("file_id")}
    else:
        inner = part.get("file") if kind == "file" else part
        where = f"{where}.file" if kind == "file" else where
        if not isinstance(inner, dict):
            raise _refuse(where, "send an object with `file_data` or `file_id`.")
        given = inner
    name = given.get("filename")
    media_type, content = _read_content(given, where)
    if noun == "picture" and isinstance(content, Inline) and not content.data:
        raise _refuse(where, "the picture is empty.")
    return FilePart(
        noun=noun, content=content, name=name if isinstance(name, str) else "", media_type=media_type, where=where
    )


def read_picture_item(item: Said, where: str) -> FilePart | None:
    """Return the picture of an earlier answer, if an item has one."""
    if item.type != PICTURE_ITEM or not isinstance(item.result, str):
        return None
    return FilePart(noun="picture", content=Inline(item.result, is_base64=True), where=where)


def _read_audio(given: Any, where: str) -> FilePart:
    if not isinstance(given, dict) or not isinstance(given.get("data"), str):
        raise _refuse(where, "send an object with `data`, in base64, and `format`.")
    form = given.get("format")
    media_type = f"audio/{form}" if isinstance(form, str) else ""
    return FilePart(
        noun=FILE_NOUNS["input_audio"], content=_read_data(given["data"])[1], media_type=media_type, where=where
    )


def _read_content(given: Mapping[str, Any], where: str) -> tuple[str, Inline | Remote | Stored]:
    """Return the declared type and the content of a part: the first of its fields that has one."""
    for field in ("file_data", "file_url", "file_id"):
        value = given.get(field)
        if value is None or value == "":
            continue
        if not isinstance(value, str):
            raise _refuse(where, "its content, or its id, is not a text.")
        if field == "file_id":
            return "", Stored(value)
        if field == "file_data" or value[:5].lower() == "data:":
            return _read_data(value)
        if value[:8].lower().startswith(("http://", "https://")):
            return "", Remote(value)
        raise _refuse(where, "this is neither a data URL, such as data:image/png;base64,…, nor begins with https://.")
    raise _refuse(where, "there is no content: send it as a data URL, or name a stored file by `file_id`.")


def _read_data(value: str) -> tuple[str, Inline]:
    """Return the declared type and the content of a data URL, or of base64 alone."""
    if value[:5].lower() != "data:":
        return "", Inline(value, is_base64=True)
    header, comma, data = value[5:].partition(",")
    if not comma:
        return "", Inline(value, is_base64=True)  # refused there
    media_type, *parameters = header.split(";")
    return media_type.strip(), Inline(data, is_base64="base64" in (one.strip().lower() for one in parameters))


def _refuse(where: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"{where}: {why}", details={"param": where})


# --- content ------------------------------------------------------------------------------------


def decode_beginning(content: Inline) -> bytes:
    """Return about as many bytes of a content as show its type; none if it cannot be decoded."""
    try:
        return _decode(msgspec.structs.replace(content, data=content.data[: SNIFFED_BYTES // 3 * 4]))
    except ValueError:
        return b""


async def decode_content(content: Inline) -> AsyncGenerator[bytes, None]:
    """Yield a content in pieces.

    Raises:
        InvalidRequest: it is not valid base64.
    """
    data = content.data
    try:
        if content.is_base64 and data.find("=", 0, -2) >= 0:
            raise ValueError("it has padding before its end")
        start = 0
        while start < len(data):
            end = _find_cut(content, start)
            piece = Inline(data[start:end], content.is_base64)
            yield _decode(piece) if len(data) <= DECODED_CHARACTERS // 8 else await asyncio.to_thread(_decode, piece)
            start = end
    except ValueError as error:
        raise InvalidRequest("this is not valid base64.") from error


def _find_cut(content: Inline, start: int) -> int:
    """Return where the piece of a content ends that begins there: not within what stands for one byte."""
    end = start + DECODED_CHARACTERS
    percent = -1 if content.is_base64 else content.data.rfind("%", end - 2, end)
    return end if percent < 0 else percent


def _decode(content: Inline) -> bytes:
    """Return the bytes of a content. Raises a `ValueError` if it is not valid."""
    if not content.is_base64:
        return unquote_to_bytes(content.data)
    return binascii.a2b_base64(content.data, strict_mode=True)


# --- sizes and digests --------------------------------------------------------------------------


def count_file_characters(messages: Sequence[Said]) -> int:
    """Return how many characters of a request are the content of files."""
    return sum(
        len(text)
        for message in messages
        for part in (message.content if isinstance(message.content, list) else ())
        if is_file_part(part)
        for inner in (part, *part.values())
        if isinstance(inner, dict)
        for text in inner.values()
        if _is_long(text)
    ) + sum(len(item.result) for item in messages if item.type == PICTURE_ITEM and isinstance(item.result, str))


def hash_files(messages: Sequence[Said]) -> list[Said]:
    """Return messages with the hash of each file in place of its content. It takes long: call it in a thread."""
    return [
        msgspec.structs.replace(
            message,
            content=[_hash_part(part) if is_file_part(part) else part for part in message.content]
            if isinstance(message.content, list)
            else message.content,
            result=_hash(message.result),
        )
        for message in messages
    ]


def _hash_part(part: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {within: _hash(text) for within, text in inner.items()} if isinstance(inner, dict) else _hash(inner)
        for name, inner in part.items()
    }


def _hash(value: Any) -> Any:
    return hashlib.sha256(value.encode()).hexdigest() if _is_long(value) else value


def _is_long(value: Any) -> bool:
    return isinstance(value, str) and len(value) > MAX_PLAIN_CHARACTERS
