"""`GET /api/logs`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway import paths
from gateway.api.routes import logs
from tests.api.client import ask, stream
from tests.support.inprocess import Serving


@pytest.fixture
def file(moongate: Serving, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log file of the gateway, with four lines."""
    monkeypatch.setattr(logs, "LOG_POLL_INTERVAL_SECONDS", 0.01)
    found = paths.log_file(moongate.context.config.home, moongate.context.config.path)
    found.parent.mkdir(exist_ok=True)
    found.write_text("".join(line(level) for level in ("debug", "info", "warning", "error")))
    return found


def line(level: str) -> str:
    return json.dumps({"time": "2030-01-01T00:00:00.000Z", "level": level, "event": f"of.{level}"}) + "\n"


def events(lines: list[dict[str, Any]]) -> list[str]:
    return [row["event"] for row in lines]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["of.debug", "of.info", "of.warning", "of.error"]),
        ("?lines=2", ["of.warning", "of.error"]),
        ("?lines=0", []),
        ("?level=warning", ["of.warning", "of.error"]),
        ("?level=info&lines=1", ["of.error"]),
    ],
)
async def test_the_last_lines_are_read_oldest_first(
    moongate: Serving, file: Path, query: str, expected: list[str]
) -> None:
    answer = await ask(moongate, "GET", f"/api/logs{query}")

    assert events(answer.body["lines"]) == expected


async def test_without_a_log_there_are_no_lines(moongate: Serving) -> None:
    assert (await ask(moongate, "GET", "/api/logs")).body == {"lines": []}


async def test_what_is_no_json_is_shown_all_the_same(moongate: Serving, file: Path) -> None:
    file.write_bytes(b"Fatal: \xff\r boom\n" + b"[" * 2000 + b"\n")
    answer = await ask(moongate, "GET", "/api/logs")
    async with stream(moongate, "/api/logs") as follower:
        first = await follower.next()

    assert answer.body["lines"][0] == {"event": "Fatal: \ufffd\r boom"}
    assert first.data == {"event": "Fatal: \ufffd\r boom"}


@pytest.mark.parametrize("query", ["lines=-1", "lines=10001", "level=loud", "follow=perhaps", "x=1"])
async def test_a_bad_query_is_refused(moongate: Serving, query: str) -> None:
    answer = await ask(moongate, "GET", f"/api/logs?{query}")

    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize("way", [{"path": "/api/logs?follow=true&lines=1"}, {"path": "/api/logs?lines=1"}])
async def test_the_log_can_be_followed(moongate: Serving, file: Path, way: dict[str, str]) -> None:
    async with stream(moongate, **way) as follower:
        last = await follower.next()
        with file.open("a") as more:
            more.write(line("warning"))
        new = await follower.next()

    assert (last.event, last.data["event"], new.data["event"]) == ("line", "of.error", "of.warning")


async def test_a_log_that_is_followed_has_only_lines_of_the_level(moongate: Serving, file: Path) -> None:
    async with stream(moongate, path="/api/logs?follow=true&level=warning") as follower:
        last = [(await follower.next()).data["event"] for _ in range(2)]
        with file.open("a") as more:
            more.write(line("info") + line("debug") + line("error"))
        new = await follower.next()

    assert (last, new.data["event"]) == (["of.warning", "of.error"], "of.error")
