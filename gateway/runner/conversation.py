"""The conversation of a task, and its Markdown form."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from gateway.domain.session import Role

_ROLE_NAMES = {Role.USER: "User", Role.ASSISTANT: "Assistant"}


class ConversationLine(NamedTuple):
    """One message of the conversation."""

    role: Role
    content: str
    at: datetime


def format_markdown(task: str, session: str | None, model: str | None, lines: list[ConversationLine]) -> str:
    """Return a conversation as a Markdown document."""
    about = [f"- **Session:** {session or 'none yet'}", f"- **Model:** {model or 'the default'}"]
    parts = [f"# {task}", "\n".join(about)]
    for line in lines:
        parts += [f"## {_ROLE_NAMES[line.role]} ({line.at:%Y-%m-%d %H:%M:%S})", line.content]
    return "\n\n".join(parts) + "\n"
