"""A client of a fleet goes on with the other gateway: with its streams, its cancels and its answers."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from pathlib import Path

from drills import Figures, client
from drills.fleet_members import Member, running_fleet
from gateway.sse_reader import EventReader, ServerSentEvent
from harness.waiting import PATIENCE, until_sync

#: bytes of one event of a stream
MAX_STREAM_EVENT_BYTES = 1 << 20
#: pieces of the answer that is streamed, and seconds between two of them
PIECES, PIECE_SECONDS = 80, 0.1
#: events after which a stream is cut
CUT_AFTER_EVENTS = 10


class _Stream:
    """Reads the events of a task from a gateway until the end, or until the gateway is gone."""

    def __init__(self, run: str) -> None:
        self._run = run
        #: numbers and kinds of the events
        self.events: list[tuple[int, str]] = []

    @property
    def has_ended(self) -> bool:
        return bool(self.events) and self.events[-1][1] == "end"

    def follow(self, gateway: Member) -> None:
        """Read from the last event that has come."""
        headers = {"Authorization": f"Bearer {gateway.token}", "Accept": "text/event-stream"}
        if self.events:
            headers["Last-Event-ID"] = str(self.events[-1][0])
        connection = http.client.HTTPConnection(gateway.address, gateway.port, timeout=PATIENCE)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", f"/api/tasks/{self._run}/events", headers=headers)
            self._read(connection.getresponse())

    def _read(self, response: http.client.HTTPResponse) -> None:
        reader = EventReader(MAX_STREAM_EVENT_BYTES)
        while piece := response.read1():
            for event in reader.feed(piece):
                if isinstance(event, ServerSentEvent) and event.id:
                    self.events.append((int(event.id), json.loads(event.data)["kind"]))


def other_gateway_serves(directory: Path, streams: int = 4, rounds: int = 1) -> Figures:
    """Kill the gateway of some streams, and go on with the other one; cancel and answer there, too."""
    resumed, cancels, answers = 0, [], []
    with running_fleet(directory, workers=2, gateway_slots=0) as members:
        one, other = members.gateways
        for _ in range(rounds):
            resumed += _resume_streams(one, other, streams)
            cancels.append(_cancel(one, other))
            answers.append(_answer(one, other))
            one, other = other, one
    return {
        "streams resumed": resumed,
        "events lost or doubled": 0,
        "from a cancel at the other gateway to the end, worst ms": round(max(cancels) * 1000),
        "from an answer at the other gateway to the end, worst ms": round(max(answers) * 1000),
    }


def _resume_streams(one: Member, other: Member, count: int) -> int:
    """Follow tasks at one gateway, kill it, and follow them at the other one."""
    work = f"@@ words {PIECES} {PIECE_SECONDS}"
    streams = [_Stream(client.accepted(one, work, agentId="echo", session=f"stream{n}")) for n in range(count)]
    threads = [threading.Thread(target=stream.follow, args=(one,)) for stream in streams]
    for thread in threads:
        thread.start()
    until_sync(lambda: all(len(stream.events) > CUT_AFTER_EVENTS for stream in streams), "the streams have begun")
    one.kill()
    for thread in threads:
        thread.join()
    assert not any(stream.has_ended for stream in streams), "the streams were not cut"
    for stream in streams:
        stream.follow(other)
        numbers = [number for number, _ in stream.events]
        assert numbers == list(range(1, len(numbers) + 1)), numbers
        assert stream.has_ended, stream.events[-1]
        assert sum(kind == "text" for _, kind in stream.events) > 1, stream.events
    one.start()
    return len(streams)


def _cancel(one: Member, other: Member) -> float:
    """Cancel at one gateway what was submitted at the other; return the seconds until it has ended."""
    run = client.accepted(one, "@@ hang", agentId="echo")
    client.wait_for(one, run, "running")
    began = time.monotonic()
    assert other.call("POST", f"/api/tasks/{run}/cancel").status in (200, 202)
    client.wait_for(one, run, "cancelled")
    return time.monotonic() - began


def _answer(one: Member, other: Member) -> float:
    """Answer at one gateway what an agent asks whose task was submitted at the other; return the seconds to its end."""
    run = client.accepted(one, "@@ ask may I?", agentId="echo")
    asked = client.until(
        lambda: other.call("GET", f"/api/tasks/{run}/permissions").body["permissions"], "the agent asks"
    )
    began = time.monotonic()
    answer = other.call("POST", f"/api/tasks/{run}/permissions/{asked[0]['id']}", {"answer": "allow"})
    assert answer.status == 200, answer
    ended = client.wait_for(one, run, "succeeded")
    took = time.monotonic() - began
    assert "allow" in ended["result"], ended
    return took
