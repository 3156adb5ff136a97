"""Tells the notices of an agent's adapter from the answer of its model: both come as pieces of a message.

Only what is a notice for sure counts as one: what claude-agent-acp (0.101) marks as such, what codex-acp 2.6 writes
outside of its model's messages, which all have an id, and the warning of codex-acp 0.16 that it does not know a model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from acp.schema import AgentMessageChunk, TextContentBlock

from gateway.domain.event import Log

#: what `_meta.claudeCode.kind` is for notices
_CLAUDE_KINDS = ("informational", "mcpServerStatus")
#: notices without the id of a message, by the agent's name at `initialize`
_NOTICES = {
    "@agentclientprotocol/codex-acp": re.compile(r"(?:Config warning|Warning): .+|\*Context compacted .+\*", re.DOTALL),
    "codex-acp": re.compile(r"Model metadata for \S+ not found\. .+"),
}


def read_notice(agent: str, chunk: AgentMessageChunk) -> Log | None:
    """Return the notice in a piece of a message; None if it belongs to the answer.

    Args:
        agent: the agent's name at `initialize`.
    """
    if not isinstance(chunk.content, TextContentBlock):
        return None
    text = chunk.content.text.strip()
    claude = (chunk.field_meta or {}).get("claudeCode")
    is_claude = isinstance(claude, Mapping) and claude.get("kind") in _CLAUDE_KINDS
    pattern = _NOTICES.get(agent) if chunk.message_id is None else None
    if not is_claude and (pattern is None or pattern.fullmatch(text) is None):
        return None
    return Log(level="warning", message=f"the agent says: {text}")
