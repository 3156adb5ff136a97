"""Files under kill -9 and restarts: what was acknowledged is there bit for bit, and nothing is left over."""

from __future__ import annotations

import http.client
import json
import random
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from drills import Figures, client
from gateway.supervisor import terminate
from harness import file_client
from harness.command_line import Shell
from harness.file_client import hash_content
from harness.live_gateway import Answer, Live
from harness.waiting import PATIENCE

WRITERS = 4
#: bytes of the smallest and of the largest file
SMALLEST, LARGEST = 1_000, 20_000_000
#: number of uploads that are under way during a restart
UPLOADS = 4
AGENTS = {"agents": {"list": [{"id": "main", "backend": "echo", "script": True, "max_concurrent": 8}]}}


class Sent(NamedTuple):
    """An acknowledged message."""

    #: SHA-256 of its files, and their bytes together
    hashes: list[str]
    size: int
    #: text of the file that its agent makes
    made: str


class Writers:
    """Clients that send messages with files, each with an idempotency key, and try again until they get an answer."""

    def __init__(self, live: Live, largest: int, seed: str) -> None:
        self._live = live
        self._largest = largest
        self._going = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(one, seed)) for one in range(WRITERS)]
        #: acknowledged messages by the id of their run, and the SHA-256 of acknowledged uploads by their id
        self.messages: dict[str, Sent] = {}
        self.uploads: dict[str, str] = {}
        #: requests that got no answer, and were sent again
        self.unanswered = 0
        self.errors: list[BaseException] = []

    def start(self) -> None:
        self._going.set()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._going.clear()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        if self.errors:
            raise self.errors[0]

    def _write(self, writer: int, seed: str) -> None:
        dice = random.Random(f"{seed} {writer}")  # noqa: S311 no secret
        number = 0
        try:
            while self._going.is_set():
                self._send_message(f"w{writer}-{number}", dice)
                number += 1
        except BaseException as error:
            self.errors.append(error)

    def _send_message(self, name: str, dice: random.Random) -> None:
        """Send a message with one or two files, in any of the ways in which files can be sent."""
        hashes: list[str] = []
        attachments: list[dict[str, str]] = []
        size = 0
        for number in range(dice.choice((1, 1, 2))):
            data = _make_content(dice, self._largest)
            given = self._offer_file(data, f"{name}-{number}.bin", dice.choice(("inline", "raw", "form")))
            if given is None:
                return  # the drill is over
            hashes.append(hash_content(data))
            attachments.append(given)
            size += len(data)
        text = f"@@ read\n@@ file made-{name}.txt made for {name}"
        if dice.random() < 0.5:
            path, message = "/api/tasks", {"input": text, "session": name}
        else:
            path, message = "/api/message", {"channel": "webchat", "chat_id": name, "content": text}
        body = {**message, "attachments": attachments}
        answer = self._insist(lambda: file_client.submit(self._live, path, body, key=name))
        if answer is not None:
            assert answer.status in (200, 202), answer
            run = answer.body["task"]["id"] if path == "/api/tasks" else answer.body["message_id"]
            self.messages[run] = Sent(hashes, size, f"made for {name}")

    def _offer_file(self, data: bytes, name: str, way: str) -> dict[str, str] | None:
        if way == "inline":
            return file_client.inline(data, name)
        answer = self._insist(lambda: file_client.upload(self._live, data, name, key=name, as_form=way == "form"))
        if answer is None:
            return None
        assert answer.status == 201, answer
        file = answer.body["file"]
        assert (file["sha256"], file["size"]) == (hash_content(data), len(data)), file
        self.uploads[file["id"]] = file["sha256"]
        return {"file": file["id"]}

    def _insist(self, send: Callable[[], Answer]) -> Answer | None:
        """Send a request until it is answered; None if the drill is over before."""
        while self._going.is_set():
            try:
                answer = send()
                if answer.status < 500:
                    return answer
            except (OSError, http.client.HTTPException, AssertionError, ValueError):
                pass  # it is dead, or died meanwhile
            self.unanswered += 1
            time.sleep(0.02)
        return None


def _make_content(dice: random.Random, largest: int) -> bytes:
    """Return content of any order of magnitude."""
    size = int(SMALLEST * (largest / SMALLEST) ** dice.random())
    return dice.randbytes(size)


def kill_at_random(directory: Path, kills: int = 3, largest: int = 4_000_000, seed: str = "moon") -> Figures:
    """Kill -9 at random moments under four writers of files: in turn, the whole gateway, and only the serving process.

    Args:
        largest: bytes of the largest file.
    """
    live = Live(directory / "home", AGENTS)
    dice = random.Random(seed)  # noqa: S311 no secret
    writers = Writers(live, largest, seed)
    left = 0
    try:
        live.start()
        writers.start()
        for number in range(kills):
            time.sleep(dice.uniform(0.2, 1.5))
            left += _kill(live, alone=number % 2 == 1)
        time.sleep(0.5)
        writers.stop()
        client.wait_idle(live)
        _check_downloads(live, writers)
        assert live.stop() == 0
        made = _check_messages(live.home / "data" / "moongate.db", writers.messages)
        contents = sweep(live)
    finally:
        writers.stop()
        live.close()
    return {
        "kills": kills,
        "messages": len(writers.messages),
        "uploads": len(writers.uploads),
        "MB of messages": round(sum(sent.size for sent in writers.messages.values()) / 1e6),
        "lost": 0,
        "made by agents": made,
        "unanswered and repeated": writers.unanswered,
        "drafts left by kills of the whole gateway": left,
        "contents": contents,
    }


def _kill(live: Live, *, alone: bool) -> int:
    """Kill the whole gateway, or only the serving process, and wait until it is ready again.

    Returns:
        How many drafts there were.
    """
    if alone:
        serving = live.generation
        live.signal(signal.SIGKILL, serving)
        assert terminate.wait_gone(serving, PATIENCE), "the serving process survives a kill -9"
        live.wait_ready()
        return 0  # the next one may have removed them
    live.kill()
    drafts = len(list_drafts(contents_directory(live)))
    live.start()
    return drafts


def uploads_over_restarts(directory: Path, restarts: int = 2, size: int = 4_000_000) -> Figures:
    """Restart while uploads are half done: the old serving process receives the rest, and the new one has the file."""
    live = Live(directory / "home", AGENTS)
    shell = Shell(live.env, live.home)
    dice = random.Random("moon")  # noqa: S311 no secret
    stored: dict[str, str] = {}
    try:
        live.start()
        for _ in range(restarts):
            generation = live.health["generation"]
            uploads = [_SlowUpload(live, dice.randbytes(size)) for _ in range(UPLOADS)]
            client.until(lambda: len(list_drafts(contents_directory(live))) == UPLOADS, "the uploads are being written")
            assert shell("restart").code == 0
            stored |= {upload.finish(): upload.sha256 for upload in uploads}
            assert live.generation, "the old serving process is still there"
            assert live.health["generation"] > generation
            for file, sha256 in stored.items():
                assert hash_content(file_client.download(live, file)) == sha256, f"{file} has another content"
        assert live.stop() == 0
        sweep(live)
    finally:
        live.close()
    return {"restarts": restarts, "uploads under way": len(stored), "MB each": size / 1e6, "failed": 0}


class _SlowUpload:
    """An upload of which half has been sent."""

    def __init__(self, live: Live, data: bytes) -> None:
        self.sha256 = hash_content(data)
        head = (
            f"POST /api/files HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {live.token}\r\n"
            f"Content-Length: {len(data)}\r\n\r\n"
        )
        self._socket = socket.create_connection(("127.0.0.1", live.port), timeout=PATIENCE)
        self._socket.sendall(head.encode() + data[: len(data) // 2])
        self._rest = data[len(data) // 2 :]

    def finish(self) -> str:
        """Send the rest, and return the id of the file."""
        with self._socket, http.client.HTTPResponse(self._socket) as answer:
            self._socket.sendall(self._rest)
            answer.begin()
            body = json.loads(answer.read())
        assert answer.status == 201, body
        assert body["file"]["sha256"] == self.sha256, body
        return str(body["file"]["id"])


# --- judging ----------------------------------------------------------------------------------


def _check_downloads(live: Live, writers: Writers) -> None:
    """Check that each acknowledged upload can be downloaded as it was sent."""
    wrong = [
        file for file, sha256 in writers.uploads.items() if hash_content(file_client.download(live, file)) != sha256
    ]
    assert wrong == [], f"{len(wrong)} of {len(writers.uploads)} uploads have another content, {wrong[:3]} among them"


def _check_messages(database: Path, acknowledged: dict[str, Sent]) -> int:
    """Check that each message has its files, and that its agent got them; return the number of files that were made."""
    runs = {
        run: (json.loads(given or "[]"), status, result, json.loads(files or "[]"))
        for run, given, status, result, files in client.rows(
            database, "SELECT id, spec ->> '$.attachments', status, result, files FROM runs"
        )
    }
    made = 0
    for run, sent in acknowledged.items():
        assert run in runs, f"the acknowledged message {run} is lost"
        given, status, result, files = runs[run]
        assert [file["sha256"] for file in given] == sent.hashes, f"{run} has other files"
        if status == "succeeded":
            assert result.split() == sent.hashes, f"the agent of {run} has read other files"
            assert [file["sha256"] for file in files] == [hash_content(sent.made.encode())], f"{run} made other files"
            made += len(files)
        else:  # it was tried three times, each time until a kill
            assert status == "failed", (run, status)
    assert made, "no run has succeeded"
    return made


def sweep(live: Live) -> int:
    """Start the gateway again, which sweeps, and check that no file is without content, and no content without file.

    Returns:
        The number of contents.
    """
    database, contents = live.home / "data" / "moongate.db", contents_directory(live)
    stored = dict(client.rows(database, "SELECT sha256, size FROM contents"))
    before = list_contents(contents)
    assert before.keys() >= stored.keys(), f"{len(stored.keys() - before.keys())} contents are lost"
    live.start()
    client.until(lambda: list_contents(contents).keys() == stored.keys(), "contents without a file are removed")
    client.until(lambda: not list_drafts(contents), "abandoned drafts are removed")
    assert live.stop() == 0
    check_store(live.home / "data")
    return len(stored)


def check_store(data: Path) -> None:
    """Check that database and directory have the same contents, bit for bit, and that all that is counted is right."""
    database, contents = data / "moongate.db", data / "files"
    damage = client.rows(database, "PRAGMA integrity_check")
    assert damage == [("ok",)], damage[:5]
    stored = dict(client.rows(database, "SELECT sha256, size FROM contents"))
    there = list_contents(contents)
    assert there.keys() == stored.keys(), (len(there), len(stored))
    for sha256, path in there.items():
        found = path.read_bytes()
        assert (hash_content(found), len(found)) == (sha256, stored[sha256]), f"{path} has another content"
    assert list_drafts(contents) == []
    unowned = client.rows(database, "SELECT sha256 FROM contents EXCEPT SELECT sha256 FROM files")
    assert unowned == [], unowned[:3]
    [(total,)] = client.rows(database, "SELECT bytes FROM content_total")
    assert total == sum(stored.values())
    wrong = client.rows(
        database, "SELECT id FROM files WHERE uses <> (SELECT count(*) FROM file_uses WHERE file = files.seq)"
    )
    assert wrong == [], f"{len(wrong)} files have a wrong count of uses"


def contents_directory(live: Live) -> Path:
    return live.home / "data" / "files"


def list_contents(contents: Path) -> dict[str, Path]:
    """Return all that is in the directory of contents, by the SHA-256 that its place says."""
    groups = [group for group in contents.iterdir() if group.name != "drafts"] if contents.is_dir() else []
    return {group.name + content.name: content for group in groups for content in group.iterdir()}


def list_drafts(contents: Path) -> list[Path]:
    drafts = contents / "drafts"
    return [draft for owner in drafts.iterdir() for draft in owner.iterdir()] if drafts.is_dir() else []
