"""People who answer permission requests as a test says."""

from __future__ import annotations

import asyncio

from gateway.domain.permission import Answer, PermissionQuestion


class People:
    """Answers permission requests of agents; without a scripted answer, the request waits."""

    def __init__(self, says: Answer | None = None) -> None:
        self.asked: list[PermissionQuestion] = []
        self.says = says
        #: how many requests were withdrawn before an answer came
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
