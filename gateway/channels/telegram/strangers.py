"""Decides which unknown chats are told that they are not paired, so that strangers cannot make the bot talk."""

from __future__ import annotations

import time
from collections import OrderedDict

#: seconds until the same chat is told again
REFUSAL_INTERVAL_SECONDS = 86_400.0
#: chats that are told within one hour, at most
MAX_REFUSALS_PER_HOUR = 20
#: chats that are remembered
MAX_REMEMBERED_STRANGERS = 1000


class RefusalLimit:
    """Remembers the chats that were told, and when."""

    def __init__(self) -> None:
        self._told_at: OrderedDict[str, float] = OrderedDict()

    def may_refuse(self, chat: str) -> bool:
        """Tell whether a chat may be told now; if so, count it as told."""
        now = time.monotonic()
        told_lately = sum(now - at < 3600 for at in self._told_at.values())
        last = self._told_at.get(chat)
        if told_lately >= MAX_REFUSALS_PER_HOUR or (last is not None and now - last < REFUSAL_INTERVAL_SECONDS):
            return False
        self._told_at[chat] = now
        self._told_at.move_to_end(chat)
        if len(self._told_at) > MAX_REMEMBERED_STRANGERS:
            self._told_at.popitem(last=False)
        return True
