"""Removes what programs write for a terminal from everything that an agent says, whatever its backend."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from gateway.domain.event import Log, Permission, Text, Thinking, Tool, ToolEnd
from gateway.domain.ports.backend import FullReply, TurnOutput
from gateway.process.terminal_text import TerminalText, clean_text


async def clean_events(saying: AsyncGenerator[TurnOutput, None]) -> AsyncGenerator[TurnOutput, None]:
    """Yield the events of a turn without control sequences; a redrawn line is as it was in the end.

    The arguments of tools stay as they are: they are data. Closes `saying`.
    """
    answer, thinking = TerminalText(), TerminalText()
    has_full_reply = False
    async with aclosing(saying):
        async for said in saying:
            match said:
                case Text(delta=delta):
                    if shown := answer.feed(delta):
                        yield Text(delta=shown)
                case Thinking(delta=delta):
                    if shown := thinking.feed(delta):
                        yield Thinking(delta=shown)
                case FullReply(text=text):
                    has_full_reply = True
                    yield FullReply(clean_text(text))
                case _:
                    yield _clean_event(said)
    if shown := thinking.finish():
        yield Thinking(delta=shown)
    if shown := answer.finish():
        yield Text(delta=shown)
    if answer.was_redrawn and not has_full_reply:
        yield FullReply(answer.whole_text)


def _clean_event(said: TurnOutput) -> TurnOutput:
    """Return an event that is complete in itself."""
    match said:
        case Tool(name=name, title=title):
            return msgspec.structs.replace(said, name=clean_text(name), title=clean_text(title))
        case ToolEnd(name=name, output=output):
            return msgspec.structs.replace(said, name=clean_text(name), output=clean_text(output))
        case Permission(action=action):
            return msgspec.structs.replace(said, action=clean_text(action))
        case Log(message=message):
            return msgspec.structs.replace(said, message=clean_text(message))
    return said
