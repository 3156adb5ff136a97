"""Who is asked for permissions, and says what a test says."""

from __future__ import annotations

import asyncio

from gateway.domain.permission import Answer, PermissionQuestion


class People:
    """Answers what agents ask to be allowed; without a word for that they take their time."""

    def __init__(self, says: Answer | None = None) -> None:
        self.asked: list[PermissionQuestion] = []
        self.says = says
        #: how often nobody waited for their answer any more
        self.given_up = 0

    async def ask(self, wanted: PermissionQuestion) -> Answer:
        self.asked.append(wanted)
        try:
            if self.says is None:
                await asyncio.Event().wait()
            return self.says or Answer.DENY
        except asyncio.CancelledError:
            self.given_up += 1
            raise
