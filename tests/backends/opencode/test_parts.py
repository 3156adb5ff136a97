"""How the parts of opencode's messages become events."""

from __future__ import annotations

from gateway.backends.opencode import wire
from gateway.backends.opencode.parts import PartReader, read_made_files
from gateway.domain.event import Log, Text, Thinking, Tool, ToolEnd
from gateway.domain.ports.backend import NewFile


def text_part(text: str, *, kind: str = "text", ended: bool = False) -> wire.Part:
    return wire.Part(id="p1", message="m1", type=kind, text=text, time=wire.Time(end=2 if ended else None))


def delta(text: str) -> wire.PartDelta:
    return wire.PartDelta(session="s1", message="m1", part="p1", field="text", delta=text)


def test_text_is_passed_on_as_it_grows_and_not_again_when_it_is_finished() -> None:
    parts = PartReader()
    assert list(parts.read_part(text_part(""), fresh=True)) == []
    assert parts.read_delta(delta("Hel")) == [Text(delta="Hel")]
    assert parts.read_delta(delta("lo")) == [Text(delta="lo")]
    assert list(parts.read_part(text_part("Hello", ended=True))) == []


def test_after_a_gap_the_rest_of_a_text_comes_when_it_is_finished() -> None:
    parts = PartReader()
    list(parts.read_part(text_part("", kind="reasoning"), fresh=True))
    parts.read_delta(delta("one "))
    parts.mark_gap()
    assert parts.read_delta(delta("three")) == []
    found = list(parts.read_part(text_part("one two three", kind="reasoning", ended=True)))
    assert found == [Thinking(delta="two three")]


def test_a_delta_of_a_part_that_was_never_seen_is_passed_over() -> None:
    assert PartReader().read_delta(delta("lost")) == []


def test_text_that_opencode_itself_adds_is_passed_over() -> None:
    part = wire.Part(id="p1", message="m1", type="text", text="for the model", synthetic=True)
    assert list(PartReader().read_part(part, final=True)) == []


def test_a_tool_that_is_seen_twice_begins_and_ends_once() -> None:
    parts = PartReader()
    done = wire.Part(
        id="p1",
        message="m1",
        type="tool",
        call="c1",
        tool="bash",
        state=wire.ToolState(status="completed", input={"a": 1}, output="out"),
    )
    assert list(parts.read_part(done)) == [
        Tool(id="c1", name="bash", args={"a": 1}),
        ToolEnd(id="c1", name="bash", is_error=False, output="out"),
    ]
    assert list(parts.read_part(done)) == []


def test_files_of_an_answer_are_kept_and_broken_ones_are_told_of() -> None:
    parts = [
        wire.FilePart(type="file", mime="image/png", filename="chart.png", url="data:image/png;base64,aGk="),
        wire.FilePart(type="file", mime="image/png", filename="broken.png", url="data:image/png;base64,aG*"),
        wire.FilePart(type="file", mime="image/png", filename="else.png", url="file:///else.png"),
    ]

    made, broken, elsewhere = read_made_files(parts)

    assert made == NewFile(name="chart.png", media_type="image/png", content=b"hi")
    assert isinstance(broken, Log)
    assert "'broken.png' of the answer is not kept: its base64 is broken" in broken.message
    assert isinstance(elsewhere, Log)
    assert "'else.png' of the answer is not kept: opencode does not send its content" in elsewhere.message
