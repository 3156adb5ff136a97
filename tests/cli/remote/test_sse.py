"""Events as the gateway streams them. How bytes become events is tested with `gateway.sse_reader`."""

from __future__ import annotations

from io import BytesIO

import pytest

from cli.remote import sse
from cli.remote.sse import Event


def read(text: str) -> list[Event]:
    return list(sse.read_events(BytesIO(text.encode())))


def test_an_event_has_id_kind_and_data() -> None:
    assert read('id: 7\nevent: text\ndata: {"delta": "a"}\n\n') == [Event(7, "text", {"delta": "a"})]


def test_comments_and_hints_are_no_events() -> None:
    assert read(": still here\n\nretry: 1000\n\n") == []


def test_data_of_several_lines_is_one() -> None:
    assert read("data: [1,\ndata: 2]\n\n") == [Event(None, "message", [1, 2])]


def test_an_event_that_is_cut_off_is_left_out() -> None:
    assert read("id: 1\ndata: 1\n\nid: 2\ndata: 2\n") == [Event(1, "message", 1)]


def test_an_event_without_an_id_is_not_in_the_log() -> None:
    assert read("event: result\ndata: {}\n\n") == [Event(None, "result", {})]


def test_an_id_that_is_no_number_is_not_in_the_log() -> None:
    assert read("id: ²\ndata: 1\n\n") == [Event(None, "message", 1)]


def test_an_event_that_is_too_large_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 20)
    with pytest.raises(ValueError, match="more than 20 bytes"):
        read("data: " + "1" * 20)


def test_data_that_is_no_json_is_an_error() -> None:
    with pytest.raises(ValueError):
        read("data: {\n\n")
