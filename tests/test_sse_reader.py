"""Server-sent events are read whatever the pieces are that they come in."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sse_reader import EventReader, OversizedEvent, ServerSentEvent

MAX_EVENT_BYTES = 1000

STREAM = (
    b"\xef\xbb\xbf: a comment\r\n\r\n"
    b"id: 7\r\nevent: text\r\nretry: 10\r\ndata: one\r\ndata:  two \r\n\r\n"
    b"data\rdata:\r\r"
    b'data:{"a": "\xc3\xa9\xe2\x80\xa8"}\n\n'
    b"event: nothing is sent without data\n\n"
    b"unknown: field\ndata: last\n\n"
    b"data: cut off"
)
EVENTS = [
    ServerSentEvent(b"one\n two ", "text", "7"),
    ServerSentEvent(b"\n"),
    ServerSentEvent('{"a": "é\u2028"}'.encode()),
    ServerSentEvent(b"last"),
]


def read(*pieces: bytes, limit: int = MAX_EVENT_BYTES) -> list[ServerSentEvent | OversizedEvent]:
    reader = EventReader(limit)
    return [event for piece in pieces for event in reader.feed(piece)]


@pytest.mark.parametrize("at", range(len(STREAM) + 1))
def test_a_stream_cut_at_any_byte_gives_the_same_events(at: int) -> None:
    assert read(STREAM[:at], STREAM[at:]) == EVENTS


def test_a_stream_that_comes_byte_by_byte_gives_the_same_events() -> None:
    assert read(*(bytes([byte]) for byte in STREAM)) == EVENTS


def test_an_event_is_there_as_soon_as_its_empty_line_is() -> None:
    reader = EventReader(MAX_EVENT_BYTES)

    assert reader.feed(b"data: x\r\n\r") == [ServerSentEvent(b"x")]
    assert reader.feed(b"") == []
    assert reader.feed(b"\ndata: y\r\r") == [ServerSentEvent(b"y")]


def test_an_event_that_is_cut_off_is_given_only_to_who_asks_for_it() -> None:
    reader = EventReader(MAX_EVENT_BYTES)

    assert reader.feed(b"data: a\ndata: b") == []
    assert reader.finish() == ServerSentEvent(b"a\nb")
    assert reader.finish() is None


def test_an_id_with_a_nul_is_none() -> None:
    assert read(b"id: 1\0\ndata: x\n\n") == [ServerSentEvent(b"x")]


def test_a_byte_order_mark_counts_at_the_beginning_only() -> None:
    assert read(b"\xef\xbb\xbfdata: x\n\n\xef\xbb\xbfdata: y\n\ndata: z\n\n") == [
        ServerSentEvent(b"x"),
        ServerSentEvent(b"z"),
    ]


@pytest.mark.parametrize(
    "large",
    [
        b"data: " + b"x" * 2000 + b"\n\n",
        b"data: xxxxxxxxx\n" * 100 + b"\n",
        b"data\n" * 1001 + b"\n",
        b": " + b"x" * 2000 + b"\n\n",
        b"x" * 2000 + b"\ndata: x\n\n",
    ],
)
def test_an_event_over_the_limit_is_passed_over_and_the_next_one_is_read(large: bytes) -> None:
    stream = large + b"id: 5\ndata: next\n\n"

    assert read(stream) == [OversizedEvent(), ServerSentEvent(b"next", id="5")]
    assert read(*(bytes([byte]) for byte in stream)) == [OversizedEvent(), ServerSentEvent(b"next", id="5")]


def test_a_line_that_never_ends_is_told_at_once_and_is_not_kept() -> None:
    reader = EventReader(MAX_EVENT_BYTES)

    assert reader.feed(b"data: " + b"x" * MAX_EVENT_BYTES) == [OversizedEvent()]
    assert [reader.feed(b"x" * 100_000) for _ in range(10)] == [[]] * 10
    assert len(reader._line) == 1


def test_an_event_up_to_the_limit_is_read() -> None:
    assert read(b"data: 1234\n\n", limit=10) == [ServerSentEvent(b"1234")]
    assert read(b"data: 12345\n\n", limit=10) == [OversizedEvent()]


@given(st.lists(st.binary(max_size=40)), st.integers(0, 100))
def test_any_bytes_give_the_same_events_however_they_are_cut(pieces: list[bytes], limit: int) -> None:
    whole = b"".join(pieces)

    assert read(*pieces, limit=limit) == read(*(bytes([byte]) for byte in whole), limit=limit)


@pytest.mark.parametrize("end", [b"\n", b"\n\n", b"\r\n\r\n"], ids=["no empty line", "an empty line", "CRLF"])
def test_a_server_of_one_line_events_may_leave_out_the_empty_line(end: bytes) -> None:
    reader = EventReader(MAX_EVENT_BYTES, one_line_events=True)

    events = reader.feed(b": hello" + end + b"data: one" + end + b"data: two" + end + b"data: cut")

    assert events == [ServerSentEvent(b"one"), ServerSentEvent(b"two")]
    assert reader.finish() == ServerSentEvent(b"cut")


def test_a_one_line_event_over_the_limit_does_not_take_the_next_one_with_it() -> None:
    reader = EventReader(MAX_EVENT_BYTES, one_line_events=True)

    events = reader.feed(b"data: " + b"x" * 2 * MAX_EVENT_BYTES + b"\ndata: next\n")

    assert events == [OversizedEvent(), ServerSentEvent(b"next")]


def test_a_line_that_the_format_does_not_know_is_skipped_unless_it_is_wanted() -> None:
    said = b'data: one\n\n: a comment\nretry: 5\nid: \0\nerror: {"code": 500}\nBad Gateway\n'
    strict = EventReader(MAX_EVENT_BYTES, one_line_events=True)
    reader = EventReader(MAX_EVENT_BYTES, one_line_events=True, unknown_lines_type="unknown")

    assert strict.feed(said) == [ServerSentEvent(b"one")]
    assert reader.feed(said) == [
        ServerSentEvent(b"one"),
        ServerSentEvent(b'error: {"code": 500}', "unknown"),
        ServerSentEvent(b"Bad Gateway", "unknown"),
    ]


@given(st.lists(st.binary(max_size=40)), st.integers(0, 100), st.integers(0, 60))
def test_a_marked_event_is_the_same_however_it_is_cut(pieces: list[bytes], limit: int, place: int) -> None:
    whole = b"".join(pieces)
    whole = whole[:place] + b"MARK" + whole[place:]
    marked = [EventReader(limit, large_mark=re.compile(b"MARK"), max_marked_bytes=2 * limit) for _ in range(2)]

    assert marked[0].feed(whole) == [event for byte in whole for event in marked[1].feed(bytes([byte]))]


def test_only_an_event_with_the_mark_in_its_beginning_may_be_larger() -> None:
    def read_event(data: bytes) -> list[ServerSentEvent | OversizedEvent]:
        reader = EventReader(10, large_mark=re.compile(b"MARK"), max_marked_bytes=30)
        return reader.feed(b"data:" + data + b"\n\n")

    assert read_event(b"MARK" + b"x" * 20) == [ServerSentEvent(b"MARK" + b"x" * 20)]
    assert read_event(b"x" * 20 + b"MARK") == [OversizedEvent()]
    assert read_event(b"MARK" + b"x" * 30) == [OversizedEvent()]
    assert read_event(b"x" * 20) == [OversizedEvent()]
