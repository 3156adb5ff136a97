"""Turns the parts of opencode's messages into events, and tells each piece of text and each tool once.

Files of an answer are for people. Those of a tool's result are not: the model asked for them, as for a picture that it
reads; what an agent wants people to have, it puts into the outbox.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.backends.opencode import wire
from gateway.backends.opencode.data_urls import read_data_url
from gateway.domain.event import BackendEvent, Log, Text, Thinking, Tool, ToolEnd
from gateway.domain.ports.backend import NewFile


@dataclass(slots=True)
class _Progress:
    """How much of a part's text has been passed on."""

    kind: type[Text] | type[Thinking]
    length: int
    #: true while every delta of the part was seen; after a gap, the text is passed on when it is finished
    live: bool


class PartReader:
    """Reads the parts of one turn. Events may come twice or be lost: it knows what it has passed on."""

    def __init__(self) -> None:
        self._texts: dict[str, _Progress] = {}
        #: names of the tools, by the ids of their parts
        self._started_tools: dict[str, str] = {}
        self._ended_tools: set[str] = set()

    @property
    def used_tools(self) -> bool:
        """Whether the turn has used a tool, so that it may have done its work without a word."""
        return bool(self._started_tools)

    def mark_gap(self) -> None:
        """Stop streaming the parts that have begun: some of their deltas are lost."""
        for progress in self._texts.values():
            progress.live = False

    def read_delta(self, event: wire.PartDelta) -> Sequence[BackendEvent]:
        """Return the event for a new piece of text."""
        progress = self._texts.get(event.part)
        if progress is None or not progress.live or event.field != "text":
            return []
        progress.length += len(event.delta)
        return [progress.kind(delta=event.delta)]

    def read_part(self, part: wire.Part, *, fresh: bool = False, final: bool = False) -> Iterable[BackendEvent]:
        """Yield events for what is new in a part.

        Args:
            fresh: the part comes from an event, so all its deltas come later. A stored part shows
                no text until it is finished, even when some of its text was streamed before.
            final: the part will not change any more.
        """
        match part.type:
            case "text" | "reasoning" if not part.synthetic:
                yield from self._read_text(part, fresh=fresh, final=final)
            case "tool" if part.state is not None:
                yield from self._read_tool(part, part.state)

    def _read_text(self, part: wire.Part, *, fresh: bool, final: bool) -> Iterable[BackendEvent]:
        progress = self._texts.get(part.id)
        if progress is None:
            kind = Text if part.type == "text" else Thinking
            progress = self._texts[part.id] = _Progress(kind, 0, live=fresh and not part.text)
        if (final or part.time.end) and (rest := part.text[progress.length :]):
            progress.length = len(part.text)
            yield progress.kind(delta=rest)

    def _read_tool(self, part: wire.Part, state: wire.ToolState) -> Iterable[BackendEvent]:
        ended = state.status in ("completed", "error")
        if part.id not in self._started_tools and (ended or state.status == "running"):
            self._started_tools[part.id] = part.tool
            yield Tool(id=part.call, name=part.tool, args=state.input)
        if ended and part.id not in self._ended_tools:
            self._ended_tools.add(part.id)
            yield ToolEnd(
                id=part.call,
                name=self._started_tools[part.id],
                is_error=state.status == "error",
                output=state.error or state.output,
                output_file=state.output_file,
            )


def read_made_files(parts: Iterable[wire.FilePart]) -> Iterable[NewFile | Log]:
    """Yield the files of an answer, and what is wrong with others."""
    for part in parts:
        if (found := read_data_url(part.url)) is not None:
            yield NewFile(name=part.filename, media_type=part.mime or found.media_type, content=found.content)
        else:
            why = "its base64 is broken" if part.url.startswith("data:") else "opencode does not send its content"
            yield Log(level="warning", message=f"the file {part.filename!r} of the answer is not kept: {why}.")
