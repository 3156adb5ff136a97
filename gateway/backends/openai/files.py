"""What a model can be given of a turn's files: pictures, documents and sounds as parts of a message, texts as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from gateway.backends.openai.request_body import FileData
from gateway.backends.openai.text_files import may_be_text, tell_text
from gateway.domain.file import File
from gateway.domain.ports.backend import FileKind, Turn
from gateway.domain.session import Message, Role
from gateway.domain.transcript import estimate_message_tokens, estimate_tokens, tell_message
from gateway.errors import AgentError

#: files of a request, and bytes of those of earlier messages. The files of the last message are always sent
MAX_REQUEST_FILES, MAX_OLD_BYTES = 10, 20_000_000
#: parts of their budgets that texts of the last message, and files of earlier ones, may take
TEXT_SHARE = OLD_SHARE = 0.5
#: tokens of a picture: the most that OpenAI counts, 8 tiles of 170 and 85 for the whole
#: (https://platform.openai.com/docs/guides/images-vision)
PICTURE_TOKENS = 8 * 170 + 85
#: estimated tokens of a document's beginning, its bytes for each further one, and the bytes of a sound for each one
PDF_TOKENS, PDF_TOKEN_BYTES, AUDIO_TOKEN_BYTES = 1500, 100, 1600
#: the sounds that `input_audio` takes, and their names there
AUDIO_FORMATS = {"audio/wav": "wav", "audio/mpeg": "mp3"}


class GivenFile(NamedTuple):
    """A file that a model is given."""

    file: File
    kind: FileKind
    tokens: int
    #: its content, if it is put into the prompt as text
    text: str | None = None

    def make_part(self) -> dict[str, Any]:
        """Return it as a part of a message."""
        match self.kind:
            case FileKind.IMAGE:
                return {"type": "image_url", "image_url": {"url": self._make_data_url()}}
            case FileKind.AUDIO:
                return {
                    "type": "input_audio",
                    "input_audio": {"data": FileData(self.file), "format": AUDIO_FORMATS[self.file.media_type]},
                }
        return {"type": "file", "file": {"filename": self.file.name, "file_data": self._make_data_url()}}

    def _make_data_url(self) -> FileData:
        return FileData(self.file, f"data:{self.file.media_type};base64,")


class GivenFiles(NamedTuple):
    """The files that a model is given in a request."""

    #: those of the last message
    new: Sequence[GivenFile] = ()
    #: those of earlier messages, by the run and the id of the file
    old: Mapping[tuple[str, str], GivenFile] = MappingProxyType({})

    def pick(self, message: Message) -> list[GivenFile]:
        """Return those of an earlier message."""
        return [self.old[message.run, file.id] for file in message.files if (message.run, file.id) in self.old]

    def pick_parts(self, message: Message) -> list[GivenFile]:
        """Return those of an earlier message that are not put into its text."""
        return [one for one in self.pick(message) if one.text is None]

    def tell_message(self, message: Message) -> str:
        """Return an earlier message with the texts of its files, and the names of those that it does not hold."""
        held = [one for one in self.pick(message) if one.text is not None or message.role is Role.USER]
        ids = {one.file.id for one in held}
        named = tuple(file for file in message.files if file.id not in ids)
        return tell_message(msgspec.structs.replace(message, content=join_texts(message.content, held), files=named))

    def count_tokens(self, message: Message) -> int:
        """Estimate the tokens of an earlier message with its files."""
        parts = sum(one.tokens for one in self.pick_parts(message))
        return estimate_message_tokens(self.tell_message(message)) + parts


#: no files at all
NO_FILES = GivenFiles()


def join_texts(words: str, given: Sequence[GivenFile]) -> str:
    """Return the words of a message, and below them the texts of its files."""
    return "\n\n".join(filter(None, [words, *(one.text for one in given)]))


async def read_new_files(turn: Turn, taken: frozenset[FileKind], budget: int) -> tuple[Turn, list[GivenFile]]:
    """Return the files of a turn that its model is given, and the turn whose input tells of the others.

    Args:
        taken: the kinds that the model takes.
        budget: tokens of the messages.

    Raises:
        AgentError: a file is gone.
    """
    given: list[GivenFile] = []
    aside: list[File] = []
    room = int(budget * TEXT_SHARE)
    for file in turn.attachments:
        found = await _read_file(turn, file, taken, room)
        if found is None:
            aside.append(file)
            continue
        given.append(found)
        room -= found.tokens if found.text is not None else 0
    return await turn.put_aside(aside), given


async def read_old_files(
    turn: Turn,
    history: Sequence[Message],
    taken: frozenset[FileKind],
    budget: int,
    was_refused: Callable[[File], bool],
) -> dict[tuple[str, str], GivenFile]:
    """Return the files of earlier messages that the model is given again, the newest first, while there is room.

    Args:
        taken: the kinds that the model takes.
        budget: tokens of the earlier messages.
        was_refused: returns whether the model has refused a file before.
    """
    given: dict[tuple[str, str], GivenFile] = {}
    room, size = int(budget * OLD_SHARE), MAX_OLD_BYTES
    tries = MAX_REQUEST_FILES - len(turn.attachments)
    for message in reversed(history):
        budget -= estimate_message_tokens(message.content)
        if budget < 0:
            break  # neither this message nor older ones fit
        for file in message.files:
            if tries <= 0:
                return given
            if file.size > size or was_refused(file) or not _may_be_given(file, taken):
                continue
            tries -= 1
            try:
                found = await _read_file(turn, file, taken, room)
            except AgentError:  # it is gone: the message tells its name
                continue
            if found is not None and found.tokens <= room:
                given[message.run, file.id] = found
                room, size = room - found.tokens, size - file.size
    return given


def _may_be_given(file: File, taken: frozenset[FileKind]) -> bool:
    kind = FileKind.classify(file)
    if kind in taken:
        return kind is not FileKind.AUDIO or file.media_type in AUDIO_FORMATS
    return kind is FileKind.OTHER and may_be_text(file)


async def _read_file(turn: Turn, file: File, taken: frozenset[FileKind], room: int) -> GivenFile | None:
    """Return a file as the model can be given it; None if it cannot.

    Its content is read here only to see that it is there, or what it says: a request reads it again when it is sent.

    Args:
        room: tokens that it may have if it is a text.

    Raises:
        AgentError: it is gone.
    """
    if not _may_be_given(file, taken):
        return None
    kind, content = FileKind.classify(file), await turn.read_file(file)
    match kind:
        case FileKind.IMAGE:
            return GivenFile(file, kind, PICTURE_TOKENS)
        case FileKind.PDF:
            return GivenFile(file, kind, PDF_TOKENS + file.size // PDF_TOKEN_BYTES)
        case FileKind.AUDIO:
            return GivenFile(file, kind, 1 + file.size // AUDIO_TOKEN_BYTES)
    text = tell_text(file, content, room)
    return None if text is None else GivenFile(file, kind, estimate_tokens(text), text)
