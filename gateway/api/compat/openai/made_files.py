"""The files that an agent made, in the answer to an OpenAI client.

Every client shows the text, so it ends with a link to each file. A link needs the gateway's token, which a browser does
not send; so the Responses API brings small pictures along, as items of the type `image_generation_call`: these are the
only ones in which that API has a picture, and clients show them. Annotations of the type `container_file_citation`,
which that API has for files that a tool has made, name the links' files by their ids.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import Any, NamedTuple

from gateway.api.addresses import read_host
from gateway.api.browser_cookie import is_encrypted
from gateway.api.compat.openai.parts import PICTURE_ITEM
from gateway.api.compat.openai.wire import FileCitation, OutputMessage
from gateway.api.routing import Call
from gateway.domain.file import File
from gateway.domain.run import Run
from gateway.engine.resources.files import Files
from gateway.errors import FileUnknown

#: bytes of the pictures that an answer brings along, all together; of others it only has the links
MAX_PICTURE_BYTES = 4_000_000
#: characters that mean something in the text of a Markdown link
_SPECIAL_CHARACTERS = str.maketrans({character: f"\\{character}" for character in "\\[]*_`<"})


class Links(NamedTuple):
    """What is added to an answer's text."""

    #: with the empty line before it; empty if the agent made no file
    text: str
    #: which part of the whole text is the link to which file
    citations: list[FileCitation]


#: what is added to the answer of an agent that made no file
NO_LINKS = Links("", [])


def render_links(call: Call[Any, Any], run: Run, answer: str) -> Links:
    """Return links to the files that a run has made, in Markdown, to be put after its answer."""
    request = call.request
    config = call.server.config
    scheme = "https" if is_encrypted(request, config.trusted_networks) else "http"
    base = config.public_url or f"{scheme}://{read_host(request)}"
    lines: list[str] = []
    citations: list[FileCitation] = []
    end = len(answer) + (2 if answer else 0)
    for file in run.files:
        link = _render_link(file, f"{base}/api/files/{file.id}")
        lines.append(link)
        citations.append(
            FileCitation(
                container_id=f"cntr_{run.id}",
                file_id=file.id,
                filename=file.name,
                start_index=end,
                end_index=end + len(link),
            )
        )
        end += len(link) + 1
    return Links(("\n\n" if answer and lines else "") + "\n".join(lines), citations)


def _render_link(file: File, url: str) -> str:
    return f"{'!' if file.is_picture else ''}[{file.name.translate(_SPECIAL_CHARACTERS)}]({url})"


async def read_pictures(files: Files, made: Sequence[File]) -> list[OutputMessage]:
    """Return the small ones of the pictures that a run has made, as items of a response."""
    items = []
    left = MAX_PICTURE_BYTES
    for file in made:
        if not file.is_picture or file.size > left:
            continue
        left -= file.size
        try:
            content = await files.read_content(file)
        except FileUnknown:  # it was removed after the run
            continue
        result = (await asyncio.to_thread(base64.b64encode, content)).decode()
        items.append(
            OutputMessage(id=f"ig_{file.id}", status="completed", content=[], type=PICTURE_ITEM, result=result)
        )
    return items
