"""What was said in a task, and how it reads as a Markdown file."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from gateway.domain.session import Role

_NAMES = {Role.USER: "User", Role.ASSISTANT: "Assistant"}


class Line(NamedTuple):
    """Something that was said, and when."""

    role: Role
    content: str
    at: datetime


def markdown(task: str, session: str | None, model: str | None, lines: list[Line]) -> str:
    """Return a conversation as a Markdown document."""
    about = [f"- **Session:** {session or 'none yet'}", f"- **Model:** {model or 'the default'}"]
    parts = [f"# {task}", "\n".join(about)]
    for line in lines:
        parts += [f"## {_NAMES[line.role]} ({line.at:%Y-%m-%d %H:%M:%S})", line.content]
    return "\n\n".join(parts) + "\n"
