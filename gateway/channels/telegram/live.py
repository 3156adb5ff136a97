"""A chat sees that its answer is being written: typing, then a draft that grows, and what the agent asks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from contextlib import aclosing
from typing import Any

from gateway import log
from gateway.channels.telegram import text
from gateway.channels.telegram.botapi import BotApi, Button, Refused, Unreachable
from gateway.domain.event import End, Permission, Status, Text
from gateway.domain.permission import Answer
from gateway.domain.ports.channel import Desk

#: seconds that a chat shows somebody typing after it was said: five, by the documentation
TYPING = 4.0
#: days that the number of a draft is kept for the answer that takes its place
KEPT = 7.0

#: what buttons say
_LABELS = {Answer.ALLOW: "Allow", Answer.ALLOW_ALWAYS: "Always", Answer.DENY: "Deny"}

_log = log.get()


def note(run: str) -> str:
    """Return the name of the note about a run's draft; it holds the chat and the message's number."""
    return f"draft:{run}"


class Draft:
    """Shows one run in one chat, from now until it ends or `end`."""

    def __init__(self, api: BotApi, desk: Desk, run: str, chat: str, seconds: float) -> None:
        self._api = api
        self._desk = desk
        self._run = run
        self._chat = chat
        self._seconds = seconds
        self._text = ""
        #: what the agent waits to be allowed, by id
        self._asked: dict[str, Permission] = {}
        #: what it was told last, until it says more
        self._told = ""
        #: the text that is shown, and what is asked below it
        self._shown: tuple[str, str] = "", ""
        self._message: int | None = None
        self._ending = asyncio.Event()
        self._changed = asyncio.Event()
        self.task = asyncio.create_task(self._follow(), name=f"draft-{run}")

    async def end(self, seconds: float) -> None:
        """Show no more. A call under way is waited for so long: after it, nothing of the draft comes late."""
        self._ending.set()
        self._changed.set()
        _, pending = await asyncio.wait({self.task}, timeout=seconds)
        if pending:
            self.task.cancel()

    async def _follow(self) -> None:
        reading = asyncio.create_task(self._read(), name=f"draft-reading-{self._run}")
        try:
            await self._show()
        except Exception:  # the answer itself is sent by other means
            _log.exception("telegram.draft_broke", run=self._run)
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading

    async def _read(self) -> None:
        async with aclosing(self._desk.watch(self._run)) as events:
            async for event in events:
                match event.data:
                    case Text(delta=delta):
                        self._text += delta
                    case Permission() as permission:
                        self._permission(permission)
                    case Status():  # another attempt begins from the beginning
                        self._text = self._told = ""
                    case End():
                        self._ending.set()
                self._changed.set()

    def _permission(self, told: Permission) -> None:
        if told.choices:
            self._asked[told.id] = told
        elif self._asked.pop(told.id, None) is not None:
            self._told = f"({'Denied' if told.answer == Answer.DENY else 'Allowed'}: {told.action})"

    def _written(self, asked: Permission | None) -> str:
        """Return what is to be seen now: a question comes first, lest a long text hide it."""
        return text.draft(f"{_question(asked)}\n\n{self._text}" if asked else self._text or self._told)

    async def _show(self) -> None:
        await self._earlier()
        await self._step(self._api.typing(self._chat))
        await self._pause(self._seconds)  # a quick answer needs no draft
        while not self._ending.is_set():
            asked = next(iter(self._asked.values()), None)
            shown = self._written(asked)
            if shown and (shown, asked.id if asked else "") != self._shown:
                await self._step(self._paint(shown, asked))
                await self._pause(self._seconds)
            else:
                await self._step(self._api.typing(self._chat))
                await self._await_change()

    async def _earlier(self) -> None:
        """Go on with the draft of an attempt before this one."""
        chat, _, number = (await self._desk.note(note(self._run)) or "").rpartition(" ")
        if chat == self._chat:
            self._message = int(number)

    async def _paint(self, shown: str, asked: Permission | None) -> None:
        buttons = _buttons(self._run, asked) if asked else ()
        if self._message is None:
            self._message = await self._api.send(self._chat, shown, buttons=buttons)
            await self._desk.keep(note(self._run), f"{self._chat} {self._message}", days=KEPT)
        else:
            await self._api.edit(self._chat, self._message, shown, buttons=buttons)
        self._shown = shown, asked.id if asked else ""

    async def _step(self, call: Coroutine[Any, Any, None]) -> None:
        """Make a call; what goes wrong with a draft is not worth more than to wait."""
        try:
            await call
        except Refused as error:
            _log.debug("telegram.draft_refused", run=self._run, error=str(error))
            await self._pause(error.retry_after or TYPING)
        except Unreachable as error:
            _log.debug("telegram.draft_unreachable", run=self._run, error=str(error))
            await self._pause(TYPING)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ending.wait()

    async def _await_change(self) -> None:
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TYPING):
                await self._changed.wait()


def _buttons(run: str, asked: Permission) -> list[Button]:
    """Return what can be pressed instead of typed: each names the request that it answers."""
    return [Button(label, f"{asked.id} {run} {word}") for word, label in _LABELS.items() if word in asked.choices]


def pressed(data: str) -> tuple[str, str, Answer] | None:
    """Return the run, the request and the answer that a button stands for; None if it is none of ours."""
    request, _, rest = data.partition(" ")
    run, _, word = rest.partition(" ")
    return (run, request, Answer(word)) if run and word in _LABELS else None


def _question(asked: Permission) -> str:
    always = "/always, " if Answer.ALLOW_ALWAYS in asked.choices else ""
    return f"The agent asks to be allowed: {asked.action}\n/allow, {always}or /deny"
