"""Lists have a bound in bytes, whatever is in their rows, and a client that reads nothing is dropped."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.api import paging, reply
from gateway.domain.run import MAX_LISTED_TEXT_CHARACTERS
from gateway.store.sql.store import SqlRunStore
from harness.waiting import PATIENCE
from tests.api.client import ask, done, head, submit
from tests.support.inprocess import Serving, serving

#: more than one JSON entry needs beside its texts
FRAME_BYTES = 4096


async def all_pages(served: Serving, path: str, name: str) -> list[list[Any]]:
    """Return the entries of each page of a list; no page is too large."""
    pages: list[list[Any]] = []
    cursor = ""
    while True:
        answer = await ask(served, "GET", f"{path}{cursor}")
        assert answer.status == 200, answer.body
        pages.append(answer.body[name])
        longest = max((len(json.dumps(entry)) for entry in pages[-1]), default=0)
        assert int(answer.headers["Content-Length"]) <= paging.MAX_PAGE_BYTES + longest + FRAME_BYTES
        if answer.body["next_cursor"] is None:
            return pages
        cursor = f"{'&' if '?' in path else '?'}cursor={answer.body['next_cursor']}"


async def test_a_list_of_tasks_has_the_beginnings_of_long_texts_and_one_task_has_all(moongate: Serving) -> None:
    text = "é" * 100_000
    task = await submit(moongate, f"@@ say {text}")
    await done(moongate, task["id"])
    short = await submit(moongate, "@@ say hi")
    await done(moongate, short["id"])

    listed = {one["id"]: one for one in (await ask(moongate, "GET", "/api/tasks")).body["tasks"]}
    whole = (await ask(moongate, "GET", f"/api/tasks/{task['id']}")).body["task"]

    long = listed[task["id"]]
    assert long["result"] == text[: MAX_LISTED_TEXT_CHARACTERS - 1] + "…"
    assert (len(long["input"]), long["shortened"]) == (MAX_LISTED_TEXT_CHARACTERS, True)
    assert (whole["result"], whole["input"], whole["shortened"]) == (text, f"@@ say {text}", False)
    assert (listed[short["id"]]["result"], listed[short["id"]]["shortened"]) == ("hi", False)


async def test_a_page_of_tasks_ends_after_so_many_bytes_and_the_next_one_goes_on(moongate: Serving) -> None:
    made = [(await submit(moongate, "é" * 4096, run_at="2100-01-01T00:00:00Z"))["id"] for _ in range(200)]

    pages = await all_pages(moongate, "/api/tasks?limit=500", "tasks")

    assert len(pages) == 2
    assert [task["id"] for page in pages for task in page] == made[::-1]


async def test_schedules_with_long_prompts_come_in_several_pages(moongate: Serving) -> None:
    prompts = [f"{number}" + "x" * 700_000 for number in range(5)]
    for prompt in prompts:
        body = {"schedule": "0 9 * * *", "prompt": prompt}
        assert (await ask(moongate, "POST", "/api/cron/create", body)).status == 200

    pages = await all_pages(moongate, "/api/cron", "jobs")

    assert [len(page) for page in pages] == [1] * 5
    assert [job["prompt"] for page in pages for job in page] == prompts[::-1]


@pytest.mark.parametrize("path", ["", "/history"])
async def test_a_long_transcript_comes_in_several_pages_the_newest_first(moongate: Serving, path: str) -> None:
    for number in range(3):
        task = await submit(moongate, f"@@ say {number}{'x' * 400_000}", session="long")
        await done(moongate, task["id"])

    pages = await all_pages(moongate, f"/api/sessions/{task['session']}{path}", "messages")

    said = [(one["role"], one["content"].removeprefix("@@ say ")[0]) for page in pages[::-1] for one in page]
    assert said == [(role, str(number)) for number in range(3) for role in ("user", "assistant")]
    assert len(pages) == 3


@pytest.mark.parametrize("path", ["/api/xcclaw/task", "/api/xcclaw/history?limit=100", "/api/xcclaw/schedule"])
async def test_whole_lists_of_other_systems_are_written_piece_by_piece(moongate: Serving, path: str) -> None:
    texts = [f"@@ say {number}{'x' * 100_000}" for number in range(8)]
    for text in texts:
        task = await ask(moongate, "POST", "/api/xcclaw/task", {"prompt": text})
        await ask(moongate, "POST", f"/api/xcclaw/task/{task.body['id']}/execute")
        body = {"name": "n", "cron": "0 9 * * *", "prompt": text, "enabled": True}
        await ask(moongate, "POST", "/api/xcclaw/schedule", body)

    answer = await ask(moongate, "GET", path)
    headed = await ask(moongate, "HEAD", path)

    oldest_first = [one["prompt"] for one in answer.body]
    assert oldest_first == (texts[::-1] if "history" in path else texts)
    assert (answer.headers.get("Transfer-Encoding"), answer.headers["Content-Type"]) == ("chunked", "application/json")
    assert (headed.status, headed.body) == (200, "")


async def test_the_list_of_background_tasks_is_whole(moongate: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply, "MAX_LIST_PIECE_BYTES", 500)
    made = [(await ask(moongate, "POST", "/v1/tasks", {"input": "@@ hang"})).body["taskId"] for _ in range(7)]

    answer = await ask(moongate, "GET", "/v1/tasks")

    assert [task["taskId"] for task in answer.body["tasks"]] == made
    assert answer.body["active"] + answer.body["queued"] == 7
    assert answer.body["total"] == 7


async def test_a_list_that_shows_no_texts_reads_none(moongate: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many texts as the store may hold could take minutes to read, and the readers would do nothing else."""
    made = [(await ask(moongate, "POST", "/v1/tasks", {"input": "x" * 400_000})).body["taskId"] for _ in range(6)]
    read: list[int] = []

    async def note_sizes(store: Any, *args: Any, **options: Any) -> Any:
        count, runs = await read_batch(store, *args, **options)
        read.extend(len(run.spec.input) for run in runs)
        return count, runs

    read_batch = SqlRunStore.read_batch
    monkeypatch.setattr(SqlRunStore, "read_batch", note_sizes)
    answer = await ask(moongate, "GET", "/v1/tasks")

    assert [task["taskId"] for task in answer.body["tasks"]] == made
    assert read == [MAX_LISTED_TEXT_CHARACTERS] * 6


async def open_reader(served: Serving, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for a path, and read nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1024)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(head(f"GET {path}"))
    return reader, writer


async def test_a_client_that_reads_nothing_of_a_plain_answer_is_dropped(tmp_path: Path) -> None:
    limits = {"stall_seconds": 2.0, "body": 32 << 20, "output": 32 << 20}  # more than the kernel holds for it
    async with serving(tmp_path / "home", {"limits": limits}) as served:
        task = await submit(served, f"@@ say {'x' * (12 << 20)}")
        await done(served, task["id"])
        _, writer = await open_reader(served, f"/api/tasks/{task['id']}")
        async with asyncio.timeout(PATIENCE):
            while True:  # a connection that was dropped cannot be written to
                try:
                    writer.write(b"\r\n")
                    await writer.drain()
                except ConnectionError:
                    break
                await asyncio.sleep(0.05)

        assert (await ask(served, "GET", "/health")).status == 200


async def test_a_client_that_reads_slowly_gets_its_whole_answer(tmp_path: Path) -> None:
    limits = {"stall_seconds": 2.0, "body": 32 << 20, "output": 32 << 20}
    async with serving(tmp_path / "home", {"limits": limits}) as served:
        task = await submit(served, f"@@ say {'x' * (12 << 20)}")
        await done(served, task["id"])
        reader, writer = await open_reader(served, f"/api/tasks/{task['id']}")
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        length, began = 0, asyncio.get_running_loop().time()
        async with asyncio.timeout(PATIENCE):
            header = await reader.readuntil(b"\r\n\r\n")
            wanted = int(next(line for line in header.split(b"\r\n") if line.startswith(b"Content-Length")).split()[1])
            while length < wanted:
                piece = await reader.read(1 << 20)
                assert piece, "the connection was closed too early"
                length += len(piece)
                if asyncio.get_running_loop().time() - began < 3.0:
                    await asyncio.sleep(0.1)
        writer.close()

    assert length == wanted
