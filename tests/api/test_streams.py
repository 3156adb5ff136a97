"""Streams of events: whole, resumable, alive, and over in time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.api import sse
from gateway.errors import Unavailable
from harness.waiting import PATIENCE, until
from tests.api.client import BEARER, ask, done, head, running, stream, submit, token
from tests.support.hurrying import Hurry
from tests.support.inprocess import Serving, serving

pytestmark = pytest.mark.both_stores


async def test_a_task_s_stream_is_its_log_and_ends_with_it(moongate: Serving) -> None:
    task = await submit(moongate, "@@ words 5 0")
    async with stream(moongate, f"/api/tasks/{task['id']}/events") as events:
        frames = await events.rest()

    assert [int(frame.id) for frame in frames] == list(range(1, len(frames) + 1))
    assert [frame.event for frame in frames[:2]] == ["status", "status"]
    assert [frame.event for frame in frames].count("end") == 1
    assert (frames[-1].event, frames[-1].data["kind"], frames[-1].data["result"]) == ("end", "end", "w0 w1 w2 w3 w4 ")
    assert events.response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert events.response.headers["Cache-Control"] == "no-store"


async def test_a_reader_comes_back_from_any_point_without_gap_or_repeat(moongate: Serving) -> None:
    task = await submit(moongate, "@@ words 20 0.005")
    path = f"/api/tasks/{task['id']}/events"
    seen: list[str] = []
    last = ""
    while last != "end":
        back: dict[str, str] = {"Last_Event_ID": seen[-1]} if seen else {}
        async with stream(moongate, path, **back) as events:
            async for frame in events:
                seen.append(frame.id)
                last = frame.event
                if len(seen) % 3 == 0:
                    break

    assert seen == [str(number) for number in range(1, len(seen) + 1)]


@pytest.mark.parametrize(("door", "body"), [("/api/tasks", {"input": "hi"}), ("/v1/tasks", {"input": "hi"})])
async def test_who_has_seen_the_end_is_told_not_to_come_back(moongate: Serving, door: str, body: Any) -> None:
    made = (await ask(moongate, "POST", door, body)).body
    task = await done(moongate, made["taskId"] if "taskId" in made else made["task"]["id"])
    path, last = f"{door}/{task['id']}/events", task["last_event"]

    async with stream(moongate, path, Last_Event_ID=str(last - 1)) as events:
        assert [frame.id for frame in await events.rest()] == [str(last)]
    for seen in (last, last + 1, 999_999_999_999_999_999):
        answer = await ask(moongate, "GET", path, Accept="text/event-stream", Last_Event_ID=str(seen))
        assert (answer.status, answer.body) == (204, "")


async def test_last_event_id_goes_before_after(moongate: Serving) -> None:
    task = await submit(moongate, "@@ words 5 0")
    await done(moongate, task["id"])
    path = f"/api/tasks/{task['id']}/events"
    async with stream(moongate, f"{path}?after=1") as events:
        by_query = await events.rest()
    async with stream(moongate, f"{path}?after=1", Last_Event_ID="3") as events:
        by_header = await events.rest()

    assert (by_query[0].id, by_header[0].id) == ("2", "4")


async def test_as_json_there_is_a_page(moongate: Serving) -> None:
    task = await submit(moongate, "@@ words 5 0")
    await done(moongate, task["id"])
    path = f"/api/tasks/{task['id']}/events"
    whole = await ask(moongate, "GET", path, Accept="application/json")
    part = await ask(moongate, "GET", f"{path}?after=2&limit=2", Accept="application/json")
    header = await ask(moongate, "GET", f"{path}?limit=1", Accept="application/json", Last_Event_ID="3")

    assert whole.body["status"] == "succeeded"
    assert whole.body["events"][-1]["data"]["kind"] == "end"
    assert [event["id"] for event in part.body["events"]] == [3, 4]
    assert [event["id"] for event in header.body["events"]] == [4]


@pytest.mark.parametrize("bad", ["x", "-1", "1.5", "٣", "9" * 19, ""])
async def test_a_bad_last_event_id_is_refused_before_the_stream_begins(moongate: Serving, bad: str) -> None:
    task = await submit(moongate, "hi")
    for method, path, body in (
        ("GET", "/api/events", None),
        ("GET", f"/api/tasks/{task['id']}/events", None),
        ("POST", "/api/agent", {"message": "hi"}),
    ):
        answer = await ask(moongate, method, path, body, Last_Event_ID=bad, Accept="text/event-stream")

        assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
    assert len((await ask(moongate, "GET", "/api/tasks")).body["tasks"]) == 1


@pytest.mark.parametrize(
    "query", ["after=-1", "after=x", "after=1000000000000000000", "after=" + "9" * 5000, "limit=0"]
)
async def test_a_bad_position_is_refused(moongate: Serving, query: str) -> None:
    task = await submit(moongate, "hi")
    answer = await ask(moongate, "GET", f"/api/tasks/{task['id']}/events?{query}")

    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")


async def test_all_changes_can_be_followed_and_resumed(moongate: Serving) -> None:
    async with stream(moongate, "/api/events") as events:
        task = await submit(moongate, "hi", session="s")
        live = [await events.next() for _ in range(4)]
    async with stream(moongate, "/api/events", Last_Event_ID=live[1].id) as events:
        again = [await events.next() for _ in range(2)]

    assert [(frame.event, frame.data["state"]) for frame in live] == [
        ("session", "created"),
        ("run", "queued"),
        ("run", "running"),
        ("run", "succeeded"),
    ]
    assert live[1].data["ref"] == task["id"]
    assert again == live[2:]


async def test_the_changes_of_many_runs_reach_every_reader_in_order(moongate: Serving) -> None:
    async with stream(moongate, "/api/events?after=0") as one, stream(moongate, "/api/events?after=0") as two:
        await asyncio.gather(*(submit(moongate, "hi") for _ in range(60)))
        seen = [[(await events.next()).id for _ in range(240)] for events in (one, two)]

    assert seen[0] == seen[1] == sorted(seen[0], key=int)
    assert len(set(seen[0])) == 240


async def test_a_reader_who_falls_behind_at_times_misses_nothing(
    moongate: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a connection cannot take at once is read again from the log, and later lines wait for it."""
    async with stream(moongate, "/api/events") as events:
        for number in range(20):
            monkeypatch.setattr(sse, "MAX_IMMEDIATE_FRAME_BYTES", number % 3 * 10_000)
            await submit(moongate, "hi")
        seen = [int((await events.next()).id) for _ in range(80)]

    assert seen == list(range(seen[0], seen[0] + 80))


async def test_a_line_that_makes_no_frame_ends_no_stream(moongate: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = sse.encode_change
    monkeypatch.setattr(sse, "encode_change", lambda change: b"" if change.topic == "session" else frame(change))
    async with stream(moongate, "/api/events") as events:
        await submit(moongate, "hi", session="s")
        live = [await events.next() for _ in range(3)]

    assert [line.data["state"] for line in live] == ["queued", "running", "succeeded"]


async def test_who_speaks_http_1_0_gets_frames_and_no_chunks(moongate: Serving) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", moongate.port)
    writer.write(head("GET /api/events").replace(b"HTTP/1.1", b"HTTP/1.0"))
    async with asyncio.timeout(PATIENCE):
        header = await reader.readuntil(b"\r\n\r\n")
        await submit(moongate, "hi", session="s")
        first, second = [await reader.readuntil(b"\n\n") for _ in range(2)]
    writer.close()

    assert b"transfer-encoding" not in header.lower()
    assert first.startswith(b"id: ")
    assert b"\nevent: session\ndata: {" in first
    assert second.startswith(b"id: ")
    assert b"\nevent: run\ndata: {" in second


async def test_a_quiet_stream_says_that_it_is_still_there(moongate: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "STREAM_HEARTBEAT_SECONDS", 0.05)
    async with stream(moongate, "/api/events") as events, asyncio.timeout(PATIENCE):
        for _ in range(2):
            while (line := await events.response.content.readline()) == b"\n":
                pass
            assert line.strip() == b": still here"


async def test_a_stream_with_much_to_say_has_no_heartbeat(
    moongate: Serving, monkeypatch: pytest.MonkeyPatch, hurry: Hurry, pace: asyncio.Semaphore
) -> None:
    monkeypatch.setattr(sse, "STREAM_HEARTBEAT_SECONDS", 60.0)
    task = await submit(moongate, "@@ words 4 1")
    async with stream(moongate, f"/api/tasks/{task['id']}/events") as events:
        for _ in range(4):
            hurry(40)
            pace.release()
            while (await events.next()).event != "text":
                pass
        await events.rest()

    assert events.asides == []


async def test_a_stream_that_has_ended_has_no_heartbeat(
    moongate: Serving, monkeypatch: pytest.MonkeyPatch, hurry: Hurry
) -> None:
    beats: list[sse.EventStream] = []
    monkeypatch.setattr(sse.EventStream, "_send_heartbeat", lambda self: beats.append(self))
    task = await submit(moongate, "hi")
    path = f"/api/tasks/{task['id']}/events"
    async with stream(moongate, path) as ended:
        await ended.rest()
    hurry(2 * sse.STREAM_HEARTBEAT_SECONDS)
    await ask(moongate, "GET", "/health")  # timers that are due come before its answer

    assert beats == []


async def test_revoking_a_token_ends_its_streams_and_no_others(
    moongate: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "STREAM_HEARTBEAT_SECONDS", 2 * PATIENCE)
    secret = await token(moongate, "phone", "write")
    body = {"message": "@@ hang"}
    async with (
        stream(moongate, "/api/events", token=secret) as events,
        stream(moongate, "/api/agent", method="POST", body=body, token=secret) as talk,
        stream(moongate, "/api/events") as own,
    ):
        await talk.next()
        await ask(moongate, "DELETE", "/api/tokens/phone")
        await events.rest()
        assert "result" not in [frame.event for frame in await talk.rest()]
        await submit(moongate, "hi")
        await own.next()

    assert events.asides == []  # there is no coming back with that token


async def test_a_stream_ends_with_its_token_s_time(tmp_path: Path) -> None:
    moment = [1_900_000_000_000]
    async with serving(tmp_path / "home", clock=lambda: moment[0]) as served:
        secret = await token(served, "phone", "read", days=1)
        moment[0] += 86_400_000 - 200
        async with stream(served, "/api/events", token=secret) as events, asyncio.timeout(PATIENCE):
            assert await events.rest() == []
        moment[0] += 200
        late = await ask(served, "GET", "/api/tasks", token=secret)

    assert (late.status, late.code) == (401, "UNAUTHORIZED")


async def test_when_the_gateway_closes_its_streams_ask_to_come_back(tmp_path: Path) -> None:
    async with (
        serving(tmp_path / "home") as served,
        asyncio.timeout(PATIENCE),
        served.client.get("/api/events") as response,
    ):
        served.context.closing.set()
        assert (await response.text()) == "retry: 1000\n\n"


async def test_a_stream_that_is_opened_while_the_gateway_closes_ends_at_once(moongate: Serving) -> None:
    moongate.context.closing.set()
    async with stream(moongate, "/api/events") as events:
        assert await events.rest() == []


async def test_a_talk_under_way_may_end_while_the_gateway_closes(moongate: Serving) -> None:
    body = {"message": "@@ words 3 0.05"}
    async with stream(moongate, "/api/agent", method="POST", body=body) as events:
        await events.next()
        moongate.context.closing.set()
        *_, last = await events.rest()

    assert (last.event, last.data["reply"]) == ("result", "w0 w1 w2 ")


async def test_a_talk_that_is_cut_off_says_which_run_goes_on(moongate: Serving) -> None:
    async with stream(moongate, "/api/agent", method="POST", body={"message": "@@ hang"}) as events:
        await events.next()
        await moongate.engine.drain_runs(0)
        *_, last = await events.rest()

    assert (last.event, last.data["error"]["code"]) == ("error", "UNAVAILABLE")
    assert last.data["error"]["details"]["run_id"] == events.response.headers["X-Run-Id"]


async def test_trouble_within_a_stream_is_its_last_frame(moongate: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> Any:
        raise Unavailable("the disk refuses.")

    task = await submit(moongate, "hi")
    await done(moongate, task["id"])
    monkeypatch.setattr(moongate.engine._store.events, "read_after", broken)
    async with stream(moongate, f"/api/tasks/{task['id']}/events") as events:
        (only,) = await events.rest()

    assert (only.event, only.data["error"]["code"]) == ("error", "UNAVAILABLE")


async def test_a_stream_that_breaks_is_cut_off_and_not_answered_twice(
    moongate: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    task = await submit(moongate, "hi")
    await done(moongate, task["id"])
    monkeypatch.setattr(moongate.engine._store.events, "read_after", broken)
    reader, writer = await asyncio.open_connection("127.0.0.1", moongate.port)
    bearer = f"Authorization: {BEARER['Authorization']}"
    writer.write(f"GET /api/tasks/{task['id']}/events HTTP/1.1\r\nHost: localhost\r\n{bearer}\r\n\r\n".encode())
    async with asyncio.timeout(PATIENCE):
        came = await reader.read()
    writer.close()

    assert came.count(b"HTTP/1.1") == 1
    assert not came.endswith(b"0\r\n\r\n")  # a client sees that it was not whole


async def test_a_reader_that_takes_nothing_is_dropped_and_can_come_back(tmp_path: Path) -> None:
    # A busy machine may keep the second reader, which does take, from it for a while.
    limits = {"stall_seconds": 2.0, "body": 32 << 20, "output": 32 << 20}  # more than the kernel holds for it
    async with serving(tmp_path / "home", {"limits": limits}) as served:
        task = await submit(served, f"@@ say {'x' * (12 << 20)}")
        await done(served, task["id"])
        readers = served.engine._hub._runs
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1024)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(head(f"GET /api/tasks/{task['id']}/events"))
        await until(lambda: readers, "the reader is there")
        await until(lambda: not readers, "the reader is dropped")
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        came = bytearray()
        async with asyncio.timeout(PATIENCE):
            with suppress(ConnectionError):
                while data := await reader.read(1 << 20):
                    came += data
        writer.close()
        async with stream(served, f"/api/tasks/{task['id']}/events") as events:
            frames = await events.rest()

    assert not came.endswith(b"0\r\n\r\n"), "the end of a whole answer"
    assert frames[-1].event == "end"
    assert [frame.id for frame in frames] == [str(number) for number in range(1, len(frames) + 1)]


async def test_who_goes_away_leaves_no_reader_behind(moongate: Serving) -> None:
    task = await submit(moongate, "@@ hang")
    await running(moongate, task["id"])
    async with stream(moongate, f"/api/tasks/{task['id']}/events") as events:
        await events.next()
        assert moongate.engine._hub._runs

    await until(lambda: not moongate.engine._hub._runs, "the hub has no readers")


async def test_of_a_task_whose_events_were_pruned_the_end_is_left(moongate: Serving) -> None:
    task = await submit(moongate, "hi")
    await done(moongate, task["id"])
    await moongate.engine._store.retention.prune_events(None, 0)
    async with stream(moongate, f"/api/tasks/{task['id']}/events") as events:
        (only,) = await events.rest()

    assert (only.event, only.data["result"]) == ("end", "echo: hi")
