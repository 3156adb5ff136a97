"""People who answer permission requests and questions as a test says."""

from __future__ import annotations

import asyncio

from gateway.domain.permission import Answer, PermissionQuestion
from gateway.domain.question import AnswerContent, Question, check_answer, clean_question


class People:
    """Answers permission requests and questions of agents; without a scripted answer, the request waits."""

    def __init__(self, says: Answer | None = None) -> None:
        #: the questions, and the answers to their fields; without these, a question is denied if `says` is DENY
        self.questions: list[Question] = []
        self.content: AnswerContent | None = None
        self.asked: list[PermissionQuestion] = []
        self.says = says
        #: how many requests were withdrawn before an answer came
        self.given_up = 0

    async def ask(self, wanted: PermissionQuestion) -> Answer:
        self.asked.append(wanted)
        return await self._answer()

    async def ask_question(self, question: Question) -> AnswerContent | None:
        """Answer a question; fail if the gateway would not accept the question or the answer."""
        self.questions.append(clean_question(question))
        if self.content is not None:
            return check_answer(self.questions[-1], self.content)
        await self._answer()
        return None

    async def _answer(self) -> Answer:
        try:
            if self.says is None:
                await asyncio.Event().wait()
            return self.says or Answer.DENY
        except asyncio.CancelledError:
            self.given_up += 1
            raise
