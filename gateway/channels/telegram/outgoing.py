"""Decides how the files of an answer are sent: https://core.telegram.org/bots/api#sending-files."""

from __future__ import annotations

from enum import Enum

from gateway.domain.file import File, describe_size

#: bytes of a picture that is sent as a photo, at most
MAX_PHOTO_BYTES = 10_000_000
#: bytes of every other file, at most: on Telegram's own servers, and on a server of one's own
MAX_FILE_BYTES, MAX_OWN_SERVER_FILE_BYTES = 50_000_000, 2_000_000_000


class FileMethod(Enum):
    """A method that sends a file. Its value is the name of the field with the file."""

    SEND_PHOTO = "photo"
    SEND_ANIMATION = "animation"
    SEND_DOCUMENT = "document"

    @property
    def wire_name(self) -> str:
        return f"send{self.value.capitalize()}"


def choose_method(file: File) -> FileMethod:
    """Return how a file is shown best. Telegram may refuse it, for example a very long picture as a photo."""
    if file.media_type == "image/gif":
        return FileMethod.SEND_ANIMATION
    if file.is_picture and file.size <= MAX_PHOTO_BYTES:
        return FileMethod.SEND_PHOTO
    return FileMethod.SEND_DOCUMENT


def explain_unsendable(file: File, max_bytes: int) -> str:
    """Return a line that says why Telegram would not take a file; empty if it may."""
    if file.size == 0:
        return f"(The file {file.name} is empty.)"
    if file.size > max_bytes:
        size, most = describe_size(file.size), describe_size(max_bytes)
        return f"(The file {file.name} is too large for Telegram: {size}; a bot sends up to {most}.)"
    return ""


def explain_refusal(file: File, reason: str) -> str:
    """Return a line that says why a file did not arrive."""
    return f"(The file {file.name} could not be sent: {reason})"
