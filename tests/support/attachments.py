"""Files for the input of a turn, and what an agent was given of them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import re
import wave
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from gateway.domain.file import File
from gateway.domain.media_type import SNIFFED_BYTES, find_media_type
from gateway.domain.ports.backend import Turn
from gateway.engine.execution.workspace_files import place_attachments
from harness.pictures import make_png


class Attached(NamedTuple):
    """A file and its content."""

    file: File
    content: bytes


def attach(name: str, media_type: str, content: bytes) -> Attached:
    digest = hashlib.sha256(content).hexdigest()
    file = File(id=f"file-{digest[:12]}", name=name, media_type=media_type, size=len(content), sha256=digest)
    return Attached(file, content)


def attach_all(contents: Mapping[str, bytes]) -> list[Attached]:
    """Return files with these names and contents, which show their types."""
    return [attach(name, find_media_type("", name, one[:SNIFFED_BYTES]), one) for name, one in contents.items()]


def make_pdf(mark: str = "") -> bytes:
    """Return a document of one empty page."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 72 72] >>",
    ]
    made, places = b"%PDF-1.4\n%" + mark.encode() + b"\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(made))
        made += b"%d 0 obj %s endobj\n" % (number, content)
    table = b"0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
    return made + b"xref\n0 4\n%strailer << /Size 4 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (table, len(made))


def make_wav(mark: str = "") -> bytes:
    """Return a short sound."""
    made = io.BytesIO()
    with wave.open(made, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(mark.encode().ljust(800, b"\0"))
    return made.getvalue()


def make_zip(mark: str = "") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("inside.txt", mark)
    return made.getvalue()


def make_one_of_each(mark: str) -> list[Attached]:
    """Return a file of each kind that agents treat differently; the mark makes them unlike all others."""
    return [
        attach("picture.png", "image/png", make_png(mark)),
        attach("report.pdf", "application/pdf", make_pdf(mark)),
        attach("voice.wav", "audio/wav", make_wav(mark)),
        attach("crash.log", "text/plain", f"error: {mark}\n".encode()),
        attach("all of it.zip", "application/zip", make_zip(mark)),
        attach("empty.png", "application/octet-stream", b""),
    ]


@dataclass
class FileDesk:
    """Gives a turn its files, as the engine does."""

    #: where the contents are kept
    directory: Path
    #: the paths of the files that were put into the workspace, by their ids
    placed: dict[str, Path] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)

    def keep(self, attached: Iterable[Attached]) -> None:
        self.contents |= {file.id: content for file, content in attached}

    async def read_file(self, file: File) -> bytes:
        return self.contents[file.id]

    def attach_to(self, given: Turn, attached: Sequence[Attached]) -> Turn:
        """Return a turn with these files."""
        self.keep(attached)
        return msgspec.structs.replace(
            given,
            attachments=[file for file, _ in attached],
            read_file=self.read_file,
            place_files=lambda files: self.place_files(Path(given.workspace), given.run, files),
        )

    async def place_files(self, workspace: Path, run: str, files: Sequence[File]) -> list[str]:
        self.directory.mkdir(exist_ok=True)
        given = []
        for file in files:
            (kept := self.directory / file.id).write_bytes(self.contents[file.id])
            given.append((file, kept))
        paths = place_attachments(workspace, run, given)
        self.placed |= {file.id: Path(path) for file, path in zip(files, paths, strict=True)}
        return paths


class Handed(NamedTuple):
    """What an agent was given in a turn."""

    #: all that it could read
    text: str
    #: the SHA-256 of what it was given as files
    digests: frozenset[str]

    def has_content(self, attached: Attached) -> bool:
        """Return whether the agent was given the content itself."""
        file, content = attached
        is_text = file.media_type.startswith("text/")
        return file.sha256 in self.digests or (is_text and content.decode().strip() in self.text)


def read_answer(answer: str) -> Handed:
    """Read the answer of an agent that repeats its prompt, and tells the SHA-256 of each file that it was given."""
    return Handed(answer, frozenset(re.findall(r"\b[0-9a-f]{64}\b", answer)))


def read_requests(bodies: Iterable[Any]) -> Handed:
    """Read requests to a model's server: their contents are data URLs or base64, whatever the protocol is."""
    texts: list[str] = []
    digests: set[str] = set()
    for value in _walk(list(bodies)):
        encoded = value.partition(";base64,")[2] if value.startswith("data:") else value
        try:
            content = base64.b64decode(encoded, validate=True) if len(encoded) >= 64 else None
        except (binascii.Error, ValueError):
            content = None
        if content is None:
            texts.append(value)
        else:
            digests.add(hashlib.sha256(content).hexdigest())
    return Handed("\n".join(texts), frozenset(digests))


def _walk(value: Any) -> Iterator[str]:
    """Yield the texts in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _walk(one)
    elif isinstance(value, list):
        for one in value:
            yield from _walk(one)
