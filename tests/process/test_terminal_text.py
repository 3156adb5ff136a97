"""What a program writes for a terminal becomes the text that the terminal would show."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.process import terminal_text
from gateway.process.terminal_text import (
    TerminalDecoder,
    TerminalText,
    VisibleText,
    clean_bytes,
    clean_text,
    shows_text,
    split_message,
)

SHOWN = [
    # colours, modes, the cursor, character sets
    ("\x1b[32m✔ passed\x1b[0m", "✔ passed"),
    ("\x1b[38;2;255;0;0;1mred\x1b[m", "red"),
    ("\x1b[4:3munderlined\x1b[24m", "underlined"),
    ("\x1b[?25lhidden\x1b[?25h", "hidden"),
    ("\x1b[?2004h\x1b[>4;2m\x1b[6n\x1b[!pok", "ok"),
    ("\x1b(Btext\x1b)0\x1b=\x1b>\x1b7\x1b8\x1bM", "text"),
    ("\x1b[2J\x1b[Hfirst", "first"),
    # titles, links, pictures, other strings
    ("\x1b]0;agent\x07answer", "answer"),
    ("\x1b]0;agent\x1b\\answer", "answer"),
    ("\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\", "link"),
    ("\x1bP1;2q#0~~@@\x1b\\picture", "picture"),
    ("\x1b_Gf=100;QUJD\x1b\\kitty", "kitty"),
    ("\x1b^privacy\x1b\\a\x1bXstart\x1b\\b", "ab"),
    ("\x1b]0;cancelled\x18kept", "kept"),
    ("\x1b]0;broken off\x1b[32mgreen\x1b[0m", "green"),
    # 8-bit controls
    ("\x9b32mgreen\x9b0m", "green"),
    ("\x9d0;title\x9canswer", "answer"),
    ("\x90q~~\x9cpicture", "picture"),
    # a string without an end swallows nothing
    ("\x1b]0;title\nanswer", "0;title\nanswer"),
    ("\x1bPanswer", "answer"),
    # sequences that break off
    ("ends \x1b", "ends "),
    ("ends \x1b[1;3", "ends "),
    ("\x1b[1\nnext", "\nnext"),
    ("\x1b\x1b[1mbold", "bold"),
    # a line that is redrawn
    ("10%\r20%\r100%\n", "100%\n"),
    ("abcdef\rXY\n", "XYcdef\n"),
    ("Loading 10%\r\x1b[KDone\n", "Done\n"),
    ("Loading 10%\x1b[2K\rDone\n", "Done\n"),
    ("Loading 10%\x1b[1GDone\x1b[K\n", "Done\n"),
    ("Loading 10%\x1b[3D100%", "Loading 100%"),
    ("abc\x1b[1K\rA", "A"),
    ("|\b/\b-\b done", " done"),
    ("\b\b\b\rstart", "start"),
    ("a\x1b[5Gb", "a   b"),
    ("kept\r", "kept"),
    ("one\r\ntwo\r\r\nthree", "one\ntwo\nthree"),
    ("pattern\x1b[m\x1b[K\n", "pattern\n"),
    # other controls
    ("bell\x07, null\x00, delete\x7f, next line\x85", "bell, null, delete, next line"),
    # text stays as it is
    ("tab\tand\n\nlines  \n", "tab\tand\n\nlines  \n"),
    ("日本語 🙂 e\u0301 \u200d \ufeff", "日本語 🙂 e\u0301 \u200d \ufeff"),
    ("[32m is text, and so is \\x1b[0m", "[32m is text, and so is \\x1b[0m"),
    ("", ""),
]


@pytest.mark.parametrize(("written", "shown"), SHOWN)
def test_text_is_what_a_terminal_would_show(written: str, shown: str) -> None:
    assert clean_text(written) == shown
    assert clean_bytes(written.encode()) == shown


@pytest.mark.parametrize(("written", "shown"), SHOWN)
def test_it_does_not_matter_where_a_stream_is_cut(written: str, shown: str) -> None:
    data = written.encode()
    for size in (1, 2, 3):
        decoder = TerminalDecoder()
        for start in range(0, len(data), size):
            decoder.feed_bytes(data[start : start + size])
        decoder.feed_bytes(b"", final=True)

        assert decoder.whole_text == shown


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"\x9b32mgreen\x9b0m", "green"),
        (b"\x9d0;title\x9canswer", "answer"),
        (b"\x9d0;title\x07answer", "answer"),
        # letters of old encodings swallow nothing
        (b"caf\xe9", "caf\ufffd"),
        (b"M\x9ee\nb\xfdt", "M\ufffde\nb\ufffdt"),
        (b"\x93quoted\x94", "\ufffdquoted\ufffd"),
        (b"\x9bgallic\x8b", "\ufffdgallic\ufffd"),
        (b"ends \x9b", "ends \ufffd"),
        (b"\xe2\x82A \xf0\x9f\x99", "\ufffdA \ufffd"),
    ],
)
def test_bytes_that_are_not_utf8_are_controls_only_in_a_complete_sequence(written: bytes, shown: str) -> None:
    assert clean_bytes(written) == shown
    decoder = TerminalDecoder()
    for byte in written:
        decoder.feed_bytes(bytes([byte]))
    decoder.feed_bytes(b"", final=True)
    assert decoder.whole_text == shown


def test_text_is_passed_on_at_once() -> None:
    cleaner = TerminalText()

    said = [
        cleaner.feed(piece) for piece in ("Hel", "lo \x1b", "[1mwor", "ld\x1b[0m\n", "10%", "\r20%", "\r100%", "\n")
    ]

    assert said == ["Hel", "lo ", "wor", "ld\n", "10%", "", "", "\n100%\n"]
    assert (cleaner.whole_text, cleaner.was_redrawn) == ("Hello world\n100%\n", True)


def test_a_line_that_was_not_passed_on_yet_is_redrawn_without_a_trace() -> None:
    cleaner = TerminalText()

    said = [cleaner.feed(piece) for piece in ("\r10%", "\r20%", "\rdone", "\r", "\n", "end")]

    assert said == ["", "", "", "", "done\n", "end"]
    assert not cleaner.was_redrawn


def test_a_control_string_of_endless_length_is_text_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal_text, "MAX_STRING_CHARACTERS", 100)
    cleaner = TerminalText()

    said = cleaner.feed("\x1b]") + "".join(cleaner.feed("x" * 30) for _ in range(5))

    assert said == "x" * 150


def test_of_an_endless_text_only_a_bounded_part_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal_text, "MAX_KEPT_CHARACTERS", 100)
    cleaner = TerminalText()
    for _ in range(1000):
        cleaner.feed("0123456789\n")

    assert len(cleaner.whole_text) <= 100
    assert cleaner.feed("10%") + cleaner.feed("\r20%\n") == "10%\n20%\n"
    assert not cleaner.was_redrawn


def test_a_very_long_line_is_kept_whole() -> None:
    text = "0123456789" * 20_000
    cleaner = TerminalText()

    said = "".join(cleaner.feed(text[start : start + 7_001]) for start in range(0, len(text), 7_001)) + cleaner.finish()

    assert (said, cleaner.whole_text) == (text, text)


@given(
    st.lists(st.text(st.characters(exclude_characters="\r", exclude_categories=["Cc", "Cs"]) | st.sampled_from("\n\t")))
)
def test_text_without_controls_is_unchanged_however_it_is_cut(pieces: list[str]) -> None:
    cleaner = TerminalText()

    said = [cleaner.feed(piece) for piece in pieces]

    assert said == pieces
    assert cleaner.finish() == ""


@given(st.text(st.sampled_from("\x1b[]0;9mKG\\\x07\r\n\b\x9b\x9dab \udc9b\udc9d"), max_size=40), st.integers(1, 5))
def test_no_control_comes_through_and_cuts_make_no_difference(text: str, size: int) -> None:
    cleaner = TerminalText()
    for start in range(0, len(text), size):
        cleaner.feed(text[start : start + size])
    cleaner.finish()

    assert cleaner.whole_text == clean_text(text)
    assert not set(cleaner.whole_text) & set("\x1b\x07\r\b\x9b\x9d\udc9b\udc9d")


@pytest.mark.parametrize(
    ("line", "before", "message"),
    [
        (b'{"a":1}', "", b'{"a":1}'),
        (b'\x1b]0;agent\x07\x1b[?25h{"a":1}', "", b'{"a":1}'),
        (b'\x1b]0;{agent}\x1b\\{"a":1}', "", b'{"a":1}'),
        (b'\xc2\x9b?25h\x9b0m{"a":1}', "", b'{"a":1}'),
        (b'Loading 10%\rLoading 99%\r{"a":1}', "Loading 99%", b'{"a":1}'),
        (b'\xef\xbb\xbf{"a":1}', "", b'{"a":1}'),
        (b'{"a":{"b":1}}\x1b[0m\r', "", b'{"a":{"b":1}}'),
        (b'{"a":"\x1b[1m"}', "", b'{"a":"\x1b[1m"}'),
        (b'\x1b]0;no end{"a":1}', "0;no end", b'{"a":1}'),
        (b"Hello \x1b[1myou\x1b[0m", "Hello you", b""),
        (b"", "", b""),
    ],
)
def test_a_message_begins_at_its_first_brace(line: bytes, before: str, message: bytes) -> None:
    assert split_message(line)[:2] == (before, message)


@pytest.mark.parametrize(
    ("line", "is_alone"),
    [
        (b'{"a":1}', True),
        (b' \t{"a":1} \r', True),
        (b'\xef\xbb\xbf{"a":1}', True),
        (b'\x1b]0;agent\x07\x1b[?25h{"a":1}\x1b[0m', True),
        (b'Loading 99%\r{"a":1}', True),
        (b'log: {"a":1}', False),
        (b'10%\rlog: {"a":1}', False),
        (b'\x1b[1mlog\x1b[0m {"a":1}', False),
        (b'{"a":1} was sent', False),
        (b'\xe2\x9c\x94 {"a":1}', False),
        (b"x" * (1 << 17) + b'{"a":1}', False),
    ],
)
def test_a_message_is_alone_if_a_terminal_would_show_nothing_beside_it(line: bytes, is_alone: bool) -> None:
    assert split_message(line).is_alone is is_alone


@pytest.mark.parametrize(
    ("pieces", "is_shown"),
    [
        (["a"], True),
        (["", " ", "."], True),
        (["\x1b[32m", "✔"], True),
        (["10%\r"], True),
        (["👍"], True),
        ([], False),
        ([" \n\t\u00a0\u3000"], False),
        (["\x1b", "[32", "m"], False),
        (["\x1b]0;title", "\x07"], False),
        (["\u200b", "\u200d\u2060\ufeff\u00ad\u202e"], False),
        (["\x00\x07\x7f\x85"], False),
        (["\ufe0f\u0301\u3164\u2800"], False),
    ],
)
def test_a_text_shows_something_or_not(pieces: list[str], is_shown: bool) -> None:
    text = VisibleText()
    for piece in pieces:
        text.feed(piece)

    assert text.is_shown is is_shown
    assert shows_text("".join(pieces)) is is_shown


@pytest.mark.parametrize(
    "written",
    [
        b"a" * 60_000 + b"\x1b[1K" * 16_000,
        b"\x1b[65000G\x1b[1K" * 5_000,
        b"\x1b[65000Gx\n" * 5_000,
        b"a" * 60_000 + b"\b\x1b[K\b" * 10_000,
    ],
    ids=["erased", "filled and erased", "filled", "moved"],
)
def test_a_line_that_is_redrawn_all_the_time_takes_neither_long_nor_much_memory(written: bytes) -> None:
    decoder = TerminalDecoder()
    began = time.process_time()
    said = decoder.feed_bytes(written)

    assert time.process_time() - began < 2.0
    assert len(said) < 300 * len(written)


@pytest.mark.parametrize("written", [b"a", b"\x1b", b"{", b"\x1b[0m", b"{ ", b"\x1b]"])
def test_a_long_line_without_a_message_takes_no_memory_of_its_own(written: bytes) -> None:
    line = written * (1_000_000 // len(written))
    tracemalloc.start()
    try:
        began = time.process_time()
        message = split_message(line).message
        took, (_, most) = time.process_time() - began, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert message == b""
    assert most < 3 * len(line)
    assert took < 4.0
