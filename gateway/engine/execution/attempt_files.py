"""The files of one attempt at a run: those that the agent is given, and those that it makes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from pathlib import Path

from gateway.domain.event import Log, MadeFile
from gateway.domain.file import File
from gateway.domain.ports.backend import NewFile
from gateway.domain.ports.file_store import StagedFile
from gateway.engine.execution.workspace_files import (
    FoundFile,
    OutboxDirectory,
    open_found,
    place_attachments,
    remove_found,
)
from gateway.engine.file_staging import WRITE_BYTES, Staging
from gateway.errors import AgentError, GatewayError, StorageFull, explain_disk_error
from gateway.process.terminal_text import clean_text

#: what could not be kept is told of one by one, up to so many
MAX_SHOWN_PROBLEMS = 20


class AttemptFiles:
    """Hands files to an agent, and keeps what it makes until the end of its run is stored."""

    def __init__(self, run: str, staging: Staging, fetch: Callable[[File], Awaitable[Path]]) -> None:
        """Args:
        staging: for what the agent makes.
        fetch: returns where the content of a file is, as `Files.fetch_content`.
        """
        self._run = run
        self._staging = staging
        self._fetch = fetch
        self._workspace: Path | None = None
        self._outbox: OutboxDirectory | None = None
        #: how many files are stored: those of rounds that have ended
        self._stored = 0
        #: whether something was in the outbox
        self._is_filled = False
        #: what was kept of the outbox, and whether something in it could not be
        self._kept: list[FoundFile] = []
        self._left_some = False
        #: what could not be kept of what the agent made; people are told
        self._problems: list[str] = []

    # --- given ------------------------------------------------------------------------------

    async def use_workspace(self, workspace: str, *, is_shared: bool, is_continued: bool) -> str:
        """Set the workspace, and return the path of the outbox in it.

        The path is empty if there cannot be one: a workspace that people have given to an agent may be read-only.

        Args:
            is_shared: whether others work there, too.
            is_continued: whether rounds of the run have ended in an earlier attempt: what they left there stays.
        """
        if self._workspace is None:  # the first round of several, which fill one outbox together
            self._workspace = Path(workspace)
            outbox = OutboxDirectory(self._workspace, self._run, is_shared=is_shared)
            try:
                if not outbox.is_prepared:
                    await asyncio.to_thread(outbox.prepare, keep=is_continued)
                self._outbox = outbox
            except OSError as error:
                why = error.strerror or error
                self._problems.append(f"the agent could not leave files in {outbox.path}: {why}.")
        return "" if self._outbox is None else str(self._outbox.path)

    async def read_content(self, file: File) -> bytes:
        content = await self._fetch(file)
        try:
            return await asyncio.to_thread(content.read_bytes)
        except OSError as error:
            raise AgentError(f"the file {file.name!r} cannot be read: {error.strerror or error}.") from error

    async def place_files(self, files: Sequence[File]) -> list[str]:
        """Copy files into the workspace, and return their paths; none if there is no workspace.

        Raises:
            AgentError: a file is gone, or nothing can be written there.
            StorageFull: the disk is full.
        """
        if self._workspace is None:
            return []
        given = [(file, await self._fetch(file)) for file in files]
        try:
            return await asyncio.to_thread(place_attachments, self._workspace, self._run, given)
        except FileNotFoundError as error:
            raise AgentError(f"an attached file cannot be read: {error}.") from error
        except OSError as error:
            refusal = explain_disk_error(error, "cannot put the attached files into the workspace")
            if isinstance(refusal, StorageFull):
                raise refusal from error
            raise AgentError(
                refusal.message, remedy="Let the gateway write there, or use another workspace."
            ) from error

    # --- made -------------------------------------------------------------------------------

    async def add_made(self, new: NewFile) -> None:
        """Keep a file that the agent has made; one that cannot be kept is told of at the end."""
        try:
            await self._staging.add_bytes(new.content, name=new.name, media_type=new.media_type)
        except GatewayError as error:
            self._problems.append(f"the file {new.name!r} of the agent is not kept: {error}")

    async def collect(self) -> list[Log | MadeFile]:
        """Keep what is in the outbox; return the events that tell of the files that are not stored yet.

        Raises nothing for what the agent has done there: its answer counts in any case.
        """
        if self._outbox is not None and not self._outbox.is_empty:
            self._is_filled = True
            found, problems = await asyncio.to_thread(self._outbox.list_files)
            self._problems += [f"outbox: {problem}." for problem in problems]
            for file in found:
                await self._add_found(file)
            if self._left_some:
                until = "" if self._outbox.is_shared else " until the next run in its session"
                self._problems.insert(0, f"files of the agent that are not kept stay in {self._outbox.path}{until}.")
        shown = self._problems[:MAX_SHOWN_PROBLEMS]
        if more := len(self._problems) - len(shown):
            shown.append(f"{more} more files of the agent are not kept.")
        remarks = [Log(level="warning", message=clean_text(problem)) for problem in shown]
        return [*remarks, *self.tell_made()]

    def tell_made(self) -> list[MadeFile]:
        """Return the events that tell of the files that are not stored yet."""
        return [MadeFile(id=file.id, name=file.name, media_type=file.media_type, size=file.size) for file in self.files]

    def note_stored(self) -> None:
        """Note that what was made so far is stored, with the end of a round."""
        self._stored = len(self._staging.files)

    async def _add_found(self, found: FoundFile) -> None:
        try:
            async with aclosing(_read_found(found)) as pieces:
                await self._staging.add_stream(pieces, name=found.name, size=found.size)
            self._kept.append(found)
            return
        except OSError as error:
            self._problems.append(f"outbox: the file {found.name!r} cannot be read: {error.strerror or error}.")
        except GatewayError as error:
            self._problems.append(f"outbox: the file {found.name!r} is not kept: {error}")
        self._left_some = True

    @property
    def files(self) -> tuple[File, ...]:
        """What the agent has made, and is not stored yet."""
        return self._staging.files[self._stored :]

    @property
    def staged(self) -> tuple[StagedFile, ...]:
        return self._staging.staged[self._stored :]

    async def clear_outbox(self) -> None:
        """Remove from the outbox what is stored with the end of the run. The only copy of something else stays."""
        if self._left_some:
            await asyncio.to_thread(remove_found, self._kept)
        elif self._outbox is not None and (self._is_filled or self._outbox.is_shared):
            await asyncio.to_thread(self._outbox.clear)

    async def close(self) -> None:
        """Forget what was not stored."""
        if self._staging.has_new_files:  # most runs make none
            await self._staging.close()


async def _read_found(found: FoundFile) -> AsyncGenerator[bytes, None]:
    descriptor = await asyncio.to_thread(open_found, found)
    try:
        while data := await asyncio.to_thread(os.read, descriptor, WRITE_BYTES):
            yield data
    finally:
        os.close(descriptor)
