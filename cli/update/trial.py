"""Starts a serving process of the other version with a copy of the database, before anything is exchanged.

The copy is migrated by a process of its own, because a serving process that was allowed to migrate leads at once.
Then the other one becomes ready. It is never told to lead, so it runs nothing, fires nothing, sends nothing and
receives nothing from chats: it is what a new generation is until it takes over. It listens on a port of its own.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from cli.instance import Instance
from cli.update.database import find_database
from cli.update.installation import Installation
from cli.update.tools import MAX_SAID_CHARACTERS, interpreter_of, run_program
from gateway import paths
from gateway.control_channel import ControlChannel, MessageType
from gateway.errors import GatewayError, StorageFull
from gateway.store.sqlite import snapshot

#: seconds that a migration may take
TRIAL_MIGRATION_SECONDS = 600.0
#: seconds that the other version may take to become ready
TRIAL_READY_SECONDS = 60.0
#: seconds that it must go on after it was ready
TRIAL_STEADY_SECONDS = 1.0
#: seconds that it has to end
TRIAL_END_SECONDS = 10.0
#: seconds between two looks at it
TRIAL_POLL_SECONDS = 0.2


def trial_place(home: Path) -> Path:
    """Return the directory in which a copy of the database is tried."""
    return paths.scratch_directory(home) / "update-trial"


def try_serving(site: Installation, version: str, instance: Instance, env: Mapping[str, str]) -> None:
    """Check that the other version becomes ready with a copy of the database.

    Args:
        env: with the variables that make its Python find the right packages.

    Raises:
        GatewayError: it does not.
        OSError: the disk is full.
    """
    found = find_database(instance.env)
    if found is None or not found.path.exists():
        return
    place = trial_place(instance.home)
    shutil.rmtree(place, ignore_errors=True)
    paths.make_private_directory(place)
    try:
        _copy_database(found.path, place / found.path.name)
        why = _migrate(site, env, place / found.path.name)
        why = why or _serve(site, {**env, "MOONGATE_DATA_DIR": str(place)}, place / "output")
    finally:
        shutil.rmtree(place, ignore_errors=True)
    if why:
        raise GatewayError(
            f"version {version} does not serve with a copy of the database: {why.rstrip('.')}.",
            remedy="Nothing has changed.",
        )


def _copy_database(source: Path, target: Path) -> None:
    """Raises:
    GatewayError: it cannot be copied.
    """
    try:
        snapshot.copy_database(source, target)
    except StorageFull as error:
        error.remedy = "Nothing has changed. Free some space, or go on without the copy: gateway update --no-trial"
        raise


def _python(site: Installation) -> list[str]:
    return [str(interpreter_of(site.candidate)), "-P"]


def _migrate(site: Installation, env: Mapping[str, str], copy: Path) -> str:
    """Let the other version migrate the copy. Returns why it does not; empty if it does."""
    words = [*_python(site), "-m", "gateway.store.sqlite.migrate_file", copy]
    done = run_program(words, env, TRIAL_MIGRATION_SECONDS)
    return "" if done.code == 0 else f"it cannot migrate the database: {done.last_words.rpartition(chr(10))[2]}"


def _serve(site: Installation, env: Mapping[str, str], output: Path) -> str:
    """Let the other version serve for a moment. Returns why it does not; empty if it does."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        ours, theirs = socket.socketpair()
        stack.enter_context(ours)
        said = stack.enter_context(output.open("w+b"))
        with theirs:
            process = subprocess.Popen(
                [*_python(site), "-m", "gateway.serve", str(listener.fileno()), str(theirs.fileno()), "1"],
                env={**env, "MOONGATE_INSTANCE": os.urandom(8).hex()},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                pass_fds=(listener.fileno(), theirs.fileno()),
            )
        stack.enter_context(_ended(process, ours))
        why = _watch(process, ControlChannel(ours))
        if why and not why.startswith("it "):
            return why
        said.seek(0)
        last = said.read()[-MAX_SAID_CHARACTERS:].decode("utf-8", "replace").strip().rpartition("\n")[2]
        return f"{why} ({last})" if why and last and not last.startswith("{") else why


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes], line: socket.socket) -> Iterator[None]:
    """End the process after the block."""
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            ControlChannel(line).send_message(MessageType.STOP, seconds=0.0)
        try:
            process.wait(TRIAL_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _watch(process: subprocess.Popen[bytes], line: ControlChannel) -> str:
    """Wait until the process is ready, and a moment longer. Returns why it is not; empty if it is."""
    end = time.monotonic() + TRIAL_READY_SECONDS
    is_ready, error = False, ""
    while True:
        select.select([line.end], [], [], TRIAL_POLL_SECONDS)
        for message in line.receive_messages() or []:
            match message.word:
                case MessageType.MIGRATION:  # the answer would let it lead
                    return "it asks to migrate a database that it has migrated"
                case MessageType.READY:
                    is_ready, end = True, time.monotonic() + TRIAL_STEADY_SECONDS
                case MessageType.FAILED:
                    error = str(message.about.get("error", ""))
        if process.poll() is not None:
            return error or f"it ended with exit code {process.returncode}"
        if time.monotonic() > end:
            return "" if is_ready else "it was not ready in time"
