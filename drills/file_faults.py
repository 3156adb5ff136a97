"""Files at each step of storing them: the disk is full there, or the process is killed there."""

from __future__ import annotations

import http.client
import random
from pathlib import Path

from drills import Figures, client, files
from gateway.supervisor import terminate
from harness import faults, file_client
from harness.file_client import hash_content
from harness.live_gateway import Answer, Live
from harness.waiting import PATIENCE

#: the steps that a full disk can refuse
REFUSED = faults.FILE_STEPS[: faults.FILE_STEPS.index("before the commit") + 1]
#: how the files come
WAYS = ("upload", "message")
#: bytes of a file: several writes
_SIZE = 700_000


def full_at_each_step(directory: Path) -> Figures:
    """Let the disk be full at each step: 507, nothing is left, and all works again when there is room."""
    live = Live(directory / "home", files.AGENTS)
    faults.able(live)
    faults.give(live, faults.trip_at_steps(live.home / "trip", kills=False))
    dice = random.Random("moon")  # noqa: S311 no secret
    stored: dict[str, str] = {}
    refused = 0
    try:
        live.start()
        for step in REFUSED:
            for way in WAYS:
                data = dice.randbytes(_SIZE)
                before = _count_rows(live)
                (live.home / "trip").write_text(step)
                answer = _send(live, data, way)
                assert not (live.home / "trip").exists(), f"the step {step!r} was never reached"
                assert answer.status == 507, (step, way, answer)
                assert "is full" in answer.body["error"]["message"], answer
                assert _count_rows(live) == before, f"{step}: a row is left"
                found = files.list_contents(files.contents_directory(live))
                assert hash_content(data) not in found, f"{step}: its content is left"
                assert files.list_drafts(files.contents_directory(live)) == [], f"{step}: its draft is left"
                refused += 1
                again = _send(live, data, way)
                assert again.status in (200, 201, 202), (step, way, again)
                stored |= _find_files(live, again)
        client.wait_idle(live)
        _check(live, stored)
        assert live.stop() == 0
        files.check_store(live.home / "data")
    finally:
        live.close()
    return {"steps": len(REFUSED), "refused with 507": refused, "stored afterwards": len(stored), "left over": 0}


def killed_at_each_step(directory: Path, *, thorough: bool = False) -> Figures:
    """Kill the gateway at each step: what was acknowledged is there, and nothing else after the sweep.

    Args:
        thorough: whether files come in both ways at each step, and not in turn.
    """
    live = Live(directory / "home", files.AGENTS)
    faults.able(live)
    faults.give(live, faults.trip_at_steps(live.home / "trip", kills=True))
    dice = random.Random("moon")  # noqa: S311 no secret
    stored: dict[str, str] = {}
    kills = 0
    try:
        live.start()
        for number, step in enumerate(faults.FILE_STEPS):
            for way in WAYS if thorough else WAYS[number % 2 :][:1]:
                data = dice.randbytes(_SIZE)
                serving = live.generation
                (live.home / "trip").write_text(step)
                key = f"{step} {way}".replace(" ", "-")
                lost = _try(live, data, way, key)
                assert lost is None, f"{step}: {lost}"
                assert terminate.wait_gone(serving, PATIENCE), f"the step {step!r} was never reached"
                kills += 1
                live.kill()  # its supervisor waits longer before each further start
                live.start()
                answer = _send(live, data, way, key)
                assert answer.status in (200, 201, 202), (step, way, answer)
                stored |= _find_files(live, answer)
        client.wait_idle(live)
        _check(live, stored)
        assert live.stop() == 0
        contents = files.sweep(live)
    finally:
        live.close()
    assert contents == len(stored)
    return {"steps": len(faults.FILE_STEPS), "kills": kills, "stored": len(stored), "left over": 0}


def _send(live: Live, data: bytes, way: str, key: str = "") -> Answer:
    if way == "upload":
        return file_client.upload(live, data, "data.bin", key=key)
    body = {"input": "@@ read", "attachments": [file_client.inline(data, "data.bin")]}
    return file_client.submit(live, "/api/tasks", body, key=key)


def _try(live: Live, data: bytes, way: str, key: str) -> Answer | None:
    """Send a file to a gateway that dies meanwhile; None if no answer comes."""
    try:
        return _send(live, data, way, key)
    except (OSError, http.client.HTTPException):
        return None


def _find_files(live: Live, answer: Answer) -> dict[str, str]:
    """Return the SHA-256 of the files that an answer names, by their ids."""
    given = [answer.body["file"]] if "file" in answer.body else answer.body["task"]["attachments"]
    return {file["id"]: file["sha256"] for file in given}


def _check(live: Live, stored: dict[str, str]) -> None:
    wrong = [file for file, sha256 in stored.items() if hash_content(file_client.download(live, file)) != sha256]
    assert wrong == [], wrong


def _count_rows(live: Live) -> tuple[int, int]:
    """Return the numbers of tasks and files."""
    tasks = live.call("GET", "/api/tasks?limit=500").body["tasks"]
    return len(tasks), len(live.call("GET", "/api/files?limit=500").body["files"])
