"""What the engine does for a channel or a webhook endpoint, each with its own context."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from gateway.domain.actor import Actor, ActorKind
from gateway.domain.audit import AuditAction, AuditNote
from gateway.domain.event import Event
from gateway.domain.file import File
from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.inbound import InboundMessage
from gateway.domain.page import Page
from gateway.domain.permission import Answer, PermissionRequest
from gateway.domain.ports.channel import ChatStatus
from gateway.domain.ports.file_store import StagedFile
from gateway.domain.ports.store import Store
from gateway.domain.question import AnswerContent
from gateway.domain.retention import DAY_MILLISECONDS
from gateway.domain.run import Run, RunFilter, RunSpec, Source, Status
from gateway.domain.session import SessionKey
from gateway.domain.times import Clock
from gateway.domain.unreadable import RowKind
from gateway.engine.messaging import incoming_files
from gateway.engine.resources.agents import Agents
from gateway.engine.resources.files import Files
from gateway.engine.resources.permissions import Permissions
from gateway.engine.resources.runs import Runs
from gateway.errors import Conflict, GatewayError, QuotaFull

#: milliseconds for which the sender's id of a message is stored, so that a repeated message is recognized
MESSAGE_KEY_LIFETIME_MILLISECONDS = 30 * DAY_MILLISECONDS
#: milliseconds until a pairing code expires
PAIRING_CODE_LIFETIME_MILLISECONDS = 600_000
#: characters of a pairing code, which make 40 random bits
PAIRING_CODE_CHARACTERS = 8
#: how many queued and how many running runs of a chat are listed, and so cancelled by one `cancel_runs`
MAX_CANCELLED_RUNS = 100
#: how many permission requests of a run are searched for an open one
MAX_SEARCHED_REQUESTS = 100
#: characters of a chat's title that are stored
MAX_CHAT_TITLE_CHARACTERS = 100

_PAIRING_CODE_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # without I, O, 0 and 1


class PairedChat(NamedTuple):
    """A chat that was paired with a code."""

    chat: str
    title: str
    #: milliseconds since 1970 UTC
    paired_at: int


class EngineChannelContext:
    """The context of one channel or webhook endpoint."""

    def __init__(
        self,
        name: str,
        agent: str | None,
        source: Source,
        *,
        store: Store,
        runs: Runs,
        files: Files,
        permissions: Permissions,
        agents: Agents,
        clock: Clock,
    ) -> None:
        self._name = name
        self._agent = agent
        self._store = store
        self._runs = runs
        self._files = files
        self._permissions = permissions
        self._agents = agents
        self._clock = clock
        self._source = source

    @property
    def agent_problem(self) -> str | None:
        """Why messages cannot become runs, or None if they can: the agent that answers may be gone or disabled."""
        try:
            self._agents.choose_agent(self._agent)
        except GatewayError as error:
            return str(error)
        return None

    # --- runs -------------------------------------------------------------------------------

    async def submit_message(self, inbound: InboundMessage) -> Run:
        session = await self.current_session_key(inbound.chat)
        spec = RunSpec(
            source=self._source,
            agent=session.agent,
            session=str(session),
            input=inbound.content,
            deliver=(inbound.reply_to,) if inbound.reply_to else (),
            labels=dict(inbound.labels),
            submitted_by=f"{self._name}:{inbound.chat}",
        )
        # No digest: a message with the same id is the same message, even if its content differs.
        key = IdempotencyKey(
            scope=f"inbound {self._name}", key=inbound.id, digest="", lifetime=MESSAGE_KEY_LIFETIME_MILLISECONDS
        )
        if not inbound.attachments:
            return (await self._runs.submit_run(spec, key)).run
        return await self._store.runs.find_accepted(key) or await self._submit_with_files(inbound, spec, key)

    async def _submit_with_files(self, inbound: InboundMessage, spec: RunSpec, key: IdempotencyKey) -> Run:
        """Fetch the files of a message and submit it; one that cannot be had is left out."""
        async with self._files.open_staging() as staging:
            left_out = await incoming_files.stage_incoming(staging, inbound.attachments)

            async def submit(files: tuple[File, ...], staged: Sequence[StagedFile]) -> Run:
                content = incoming_files.add_notes(inbound.content, left_out)
                complete = msgspec.structs.replace(spec, input=content, attachments=files)
                return (await self._runs.submit_run(complete, key, staged=staged)).run

            try:
                run = await submit(staging.files, staging.staged)
            except QuotaFull as error:  # other files were stored meanwhile, or the sizes were not known before
                left_out += incoming_files.describe_staged(staging, incoming_files.explain_quota(error))
                new = {one.file.id for one in staging.staged}
                run = await submit(tuple(file for file in staging.files if file.id not in new), ())
        for reason in left_out:
            inbound.tell_left_out(reason)
        return run

    async def find_run(self, label: str, value: str) -> Run | None:
        found = await self._store.runs.list(RunFilter(label=f"{label}={value}"), Page(limit=1))
        return found[0] if found else None

    async def change_input(self, run: str, content: str) -> bool:
        earlier = (await self._store.runs.get(run)).spec.input
        return await self._store.runs.change_input(run, incoming_files.copy_notes(earlier, content))

    async def cancel_runs(self, chat: str) -> int:
        stopped = 0
        for run in await self._list_open_runs(chat):
            try:
                await self._runs.cancel_run(run.id)
            except Conflict:  # it has ended in the meantime
                continue
            stopped += 1
        return stopped

    async def answer_permission(
        self,
        chat: str,
        answer: Answer,
        which: tuple[str, str] | None = None,
        content: AnswerContent | str | None = None,
    ) -> PermissionRequest | None:
        asked = await self._find_open_request(chat, which)
        if asked is None:
            return None
        return await self._permissions.answer_request(
            asked.run, asked.id, answer, f"{self._name}:{chat}", content=content
        )

    async def find_question(self, chat: str, which: tuple[str, str]) -> PermissionRequest | None:
        found = await self._find_open_request(chat, which)
        return None if found is None or found.question is None else found

    async def _find_open_request(self, chat: str, which: tuple[str, str] | None) -> PermissionRequest | None:
        """Return the oldest open permission request of a chat's session, or the one with these ids."""
        for run in reversed(await self._list_open_runs(chat)):
            asked = await self._store.permissions.list(run.id, Page(limit=MAX_SEARCHED_REQUESTS))
            for request in reversed(asked):
                if request.answer is None and which in (None, (run.id, request.id)):
                    return request
        return None

    async def read_status(self, chat: str) -> ChatStatus:
        session = await self.current_session_key(chat)
        found = await self._list_open_runs(chat)
        running = sum(run.status is Status.RUNNING for run in found)
        return ChatStatus(
            session=str(session), agent=session.agent, running_runs=running, queued_runs=len(found) - running
        )

    async def start_new_session(self, chat: str) -> None:
        name = f"session:{chat}"
        number = await self.read_note(name) or "1"
        if not number.isdecimal():
            self._store.unreadable.note(RowKind.NOTE, (self._name, name), ValueError(f"{number!r} is no number"))
            number = str(self._clock() // 1000)  # higher than all numbers before
        await self.write_note(name, str(int(number) + 1))

    async def current_session_name(self, chat: str) -> str:
        """Return the name of a chat's current session: the chat's id, with a number from its second session on."""
        number = await self.read_note(f"session:{chat}")
        return chat if number is None else f"{chat}~{number}"

    def watch_run(self, run: str) -> AsyncGenerator[Event, None]:
        return self._runs.watch_run(run)

    async def current_session_key(self, chat: str, agent: str | None = None) -> SessionKey:
        """Return the key of a chat's current session, with the channel's agent unless another one is given."""
        return SessionKey.from_parts(
            self._agents.choose_agent(agent or self._agent).id, self._name, await self.current_session_name(chat)
        )

    async def _list_open_runs(self, chat: str) -> Sequence[Run]:
        """Return the queued and running runs of a chat's current session, of each agent and status the newest first."""
        name = await self.current_session_name(chat)
        found: list[Run] = []
        for agent in self._agents.agent_ids:
            for status in (Status.QUEUED, Status.RUNNING):
                which = RunFilter(session=str(SessionKey(agent, self._name, name)), statuses=(status,))
                found += await self._store.runs.list(which, Page(limit=MAX_CANCELLED_RUNS))
        return found

    # --- pairing ----------------------------------------------------------------------------

    async def is_paired(self, chat: str) -> bool:
        return await self.read_note(f"chat:{chat}") is not None

    async def create_pairing_code(self) -> tuple[str, int]:
        """Create a code that pairs one chat. Returns the code, and when it expires."""
        code = "".join(secrets.choice(_PAIRING_CODE_ALPHABET) for _ in range(PAIRING_CODE_CHARACTERS))
        expires = self._clock() + PAIRING_CODE_LIFETIME_MILLISECONDS
        await self._store.notes.save(self._name, {_name_code_note(code): ""}, expires=expires)
        return code, expires

    async def redeem_code(self, code: str, chat: str, title: str) -> bool:
        hidden = _name_code_note(code)
        paired = json.dumps({"title": title[:MAX_CHAT_TITLE_CHARACTERS], "at": self._clock()})
        name = f"{self._name}:{chat}"
        note = AuditNote(
            action=AuditAction.CHANNEL_CHAT_PAIRED,
            target=name,
            details={"title": title},
            actor=Actor(kind=ActorKind.CHAT, name=name),
        )
        changes = {hidden: None, f"chat:{chat}": paired}
        return await self._store.notes.save(self._name, changes, only_if=hidden, audited=note)

    async def rename_chat(self, chat: str, to: str) -> None:
        known = await self.read_note(f"chat:{chat}")
        if known is not None:
            await self._store.notes.save(self._name, {f"chat:{to}": known, f"chat:{chat}": None})

    async def unpair_chat(self, chat: str) -> bool:
        """Undo the pairing of a chat. Returns False if it is not paired."""
        name = f"chat:{chat}"
        return await self._store.notes.save(self._name, {name: None}, only_if=name)

    async def list_paired_chats(self) -> list[PairedChat]:
        """Return the paired chats."""
        found: Mapping[str, str] = await self._store.notes.list(self._name, "chat:")
        paired = []
        for name, value in found.items():
            try:
                about = json.loads(value)
                paired.append(PairedChat(name.removeprefix("chat:"), str(about["title"]), int(about["at"])))
            except (ValueError, TypeError, KeyError) as error:  # the chat stays paired
                self._store.unreadable.note(RowKind.NOTE, (self._name, name), error)
        return paired

    # --- notes ------------------------------------------------------------------------------

    async def read_note(self, name: str) -> str | None:
        return await self._store.notes.get(self._name, name)

    async def write_note(self, name: str, value: str, *, days: float | None = None) -> None:
        await self.save_notes({name: value}, days=days)

    async def list_notes(self, prefix: str) -> Mapping[str, str]:
        return await self._store.notes.list(self._name, prefix)

    async def save_notes(
        self, changes: Mapping[str, str | None], *, days: float | None = None, only_if: str | None = None
    ) -> bool:
        expires = None if days is None else self._clock() + int(days * DAY_MILLISECONDS)
        return await self._store.notes.save(self._name, changes, expires=expires, only_if=only_if)

    async def fetch_content(self, file: File) -> Path:
        return await self._files.fetch_content(file)


def _name_code_note(code: str) -> str:
    """Return the name of the note about a code. It has only a hash: a reader of the database learns no code."""
    normal = code.strip().upper().replace("-", "")
    return f"code:{hashlib.sha256(normal.encode('utf-8', 'replace')).hexdigest()}"
