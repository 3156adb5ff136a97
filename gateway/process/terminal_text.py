"""Turns what a program writes for a terminal into the text that a terminal would show.

Programs set titles and colours, hide the cursor and redraw a progress bar, even where there is no terminal. Control
sequences: ECMA-48, and https://invisible-island.net/xterm/ctlseqs/ctlseqs.html. A sequence may be cut anywhere
between two pieces of a stream. A control string without an end is given back as text: it must not swallow an answer.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from typing import NamedTuple

#: characters of a sequence that is not a string; a longer one is text
MAX_SEQUENCE_CHARACTERS = 128
#: characters of a control string, such as a title or a picture; a longer one is text
MAX_STRING_CHARACTERS = 1 << 20
#: characters of a line that can still be redrawn; a few bytes can redraw, or fill with blanks, all of them
MAX_REDRAWN_LINE_CHARACTERS = 1 << 11
#: characters of a text that are kept, to give it as it was in the end; of a longer text, its pieces are all there is
MAX_KEPT_CHARACTERS = 4 << 20
#: bytes that are cleaned of what is no message: only its beginning is shown
MAX_STRAY_BYTES = 1 << 16
#: the name under which Python knows our way to decode bytes that are not UTF-8
STRAY_BYTES_HANDLER = "moongate-terminal"
#: categories of characters that show nothing: controls, formats, separators, and marks without a character before them
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp", "Mn", "Mc", "Me"})
#: letters and symbols that are blank: the fillers of Hangul, and the Braille pattern without dots
_BLANK_CHARACTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800")
#: stands for a message where what is before it is examined
_MARK = "\U0010fffd"

# A byte from 80 to 9F that is not UTF-8 may be a control of an 8-bit terminal, or a letter of an old encoding. It
# is decoded as U+DC80 to U+DC9F, and counts as a control only if it begins a complete sequence.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\udc80-\udc9f]")
_TEXT = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f-\x9f\udc80-\udc9f]+")
_STRING_START = re.compile(r"\x1b[\]PX^_]|[\x90\x98\x9d-\x9f\udc90\udc98\udc9d-\udc9f]")
_STRING_END = re.compile(r"[\x07\x9c\udc9c\x18\x1a]|\x1b\\|(?=\x1b.)|(?=\n)", re.DOTALL)
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)(?P<arguments>[0-?]*)[ -/]*(?P<final>[@-~])"  # control sequences
    r"|\udc9b(?P<raw_arguments>[0-?]+)[ -/]*(?P<raw_final>[@-~])"
    r"|\x1b[ -/]*[0-Z\\-~]"  # other escape sequences
)
_SEQUENCE_START = re.compile(r"(?:\x1b\[|[\x9b\udc9b])[0-?]*[ -/]*\Z|\x1b[ -/]*\Z")
_BROKEN_SEQUENCE = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*")

# Before the first brace of a message: the same sequences in bytes.
# Possessive, because a repetition that can be taken back needs a hundred times the memory of the line.
_BEFORE_MESSAGE = re.compile(
    rb"(?:[^{\x1b\x9b]++|\x1b[\]PX^_][^\x07\x1b\n]*+(?:\x07|\x1b\\)|(?:\x1b\[|\x9b)[0-?]*+[ -/]*+[@-z|}~]"
    rb"|[^{]|\{(?!\s*+[\"}]))*+",
    re.DOTALL,
)


def _decode_stray_bytes(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    stray = error.object[error.start : error.end]
    single = len(stray) == 1 and 0x80 <= stray[0] <= 0x9F
    return chr(0xDC00 + stray[0]) if single else "\ufffd", error.end


codecs.register_error(STRAY_BYTES_HANDLER, _decode_stray_bytes)


class TerminalText:
    """Cleans one stream of text, piece by piece. Text is passed on at once, except a line that is being redrawn."""

    def __init__(self) -> None:
        #: the beginning of a sequence whose end has not come yet
        self._cut = ""
        #: the parts of a control string whose end has not come yet, and its length; None outside of one
        self._string: list[str] | None = None
        self._string_length = 0
        #: the current line, and where the next character goes
        self._line: list[str] = []
        self._cursor = 0
        #: how many characters of the line were passed on, and whether one of them has changed since
        self._passed = 0
        self._is_stale = False
        #: whether the line is being redrawn, and whether its beginning was erased
        self._is_redrawn = self._is_erased = False
        self._output: list[str] = []
        #: the text before the current line, and what this piece of the stream has added to it
        self._lines: list[str] = []
        self._ended: list[str] = []
        self._kept_length = 0
        self._was_redrawn = False

    def feed(self, text: str) -> str:
        """Return what a piece of the stream adds to the text."""
        text, self._cut = self._cut + text, ""
        at = 0
        while at < len(text):
            at = self._read_string(text, at) if self._string is not None else self._read_one(text, at)
        if not self._is_redrawn:
            self._pass_line_on()
        if self._ended:  # one piece, however many lines there are
            self._keep_text("".join(self._ended))
            self._ended.clear()
        return self._take_output()

    def finish(self) -> str:
        """Return the rest of the text: the stream has ended."""
        if self._string is not None:
            self._give_string_back()
        elif self._cut.startswith("\udc9b"):
            self._write_text("\ufffd" + self._cut[1:])
        self._cut = ""
        self._pass_line_on()
        return self._take_output()

    @property
    def was_redrawn(self) -> bool:
        """Whether text that was passed on has been redrawn since, and `whole_text` has it as it is now."""
        return self._was_redrawn and self._kept_length <= MAX_KEPT_CHARACTERS

    @property
    def whole_text(self) -> str:
        """The text so far, if it is not longer than `MAX_KEPT_CHARACTERS`."""
        return "".join([*self._lines, *self._ended, *self._line])

    # --- reading ----------------------------------------------------------------------------

    def _read_one(self, text: str, at: int) -> int:
        """Read what stands at a position, and return the position after it."""
        if found := _TEXT.match(text, at):
            self._write_text(found[0])
            return found.end()
        if found := _STRING_START.match(text, at):
            self._string, self._string_length = [found[0]], 0
            return found.end()
        if found := _SEQUENCE.match(text, at):
            self._obey_sequence(found)
            return found.end()
        if _SEQUENCE_START.match(text, at) and len(text) - at <= MAX_SEQUENCE_CHARACTERS:
            self._cut = text[at:]
            return len(text)
        if found := _BROKEN_SEQUENCE.match(text, at):
            return found.end()
        self._obey_control(text[at])
        return at + 1

    def _read_string(self, text: str, at: int) -> int:
        assert self._string is not None
        found = _STRING_END.search(text, at)
        end = len(text) if found is None else found.start()
        if found is None and text.endswith("\x1b"):  # perhaps the first half of its end
            end, self._cut = end - 1, "\x1b"
        self._string.append(text[at:end])
        self._string_length += end - at
        if found is not None and not text.startswith("\n", end):
            self._string = None
            return found.end()
        if found is not None or self._string_length > MAX_STRING_CHARACTERS:
            self._give_string_back()
            return end
        return len(text)

    def _give_string_back(self) -> None:
        """Take the string for text: it has no end."""
        start, *parts = self._string or [""]
        self._string = None
        self._write_text(("\ufffd" if start[0] >= "\ud800" else "") + _CONTROLS.sub("", "".join(parts)))

    # --- what a terminal does ---------------------------------------------------------------

    def _write_text(self, text: str) -> None:
        end = self._cursor + len(text)
        if end > MAX_REDRAWN_LINE_CHARACTERS:
            self._end_line("")
            self._output.append(text)
            self._ended.append(text)
            return
        self._note_change(self._cursor)
        self._line[self._cursor : end] = text
        self._cursor = end

    def _obey_control(self, control: str) -> None:
        if control == "\n":
            self._end_line("\n")
        elif control == "\r":
            self._move_cursor(0)
        elif control == "\b":
            self._move_cursor(self._cursor - 1)
        elif control >= "\ud800":  # no control: a letter of an old encoding
            self._write_text("\ufffd")

    def _obey_sequence(self, found: re.Match[str]) -> None:
        """Obey what redraws the current line; other sequences, such as colours, have no effect on the text."""
        final = found["final"] or found["raw_final"]
        argument = (found["arguments"] or found["raw_arguments"] or "").partition(";")[0]
        number = int(argument) if argument.isascii() and argument.isdigit() else 0
        if final == "K":
            self._erase(number)
        elif final == "G":
            self._move_cursor(max(number, 1) - 1)
        elif final == "D":
            self._move_cursor(self._cursor - max(number, 1))

    def _erase(self, what: int) -> None:
        """Erase the line: 0 from the cursor to its end, 1 to the cursor, 2 all of it."""
        if what in (1, 2) and self._cursor:
            self._note_change(0)
            erased = min(self._cursor, len(self._line))
            self._line[:erased] = [" "] * erased
            self._is_erased = True
        if what in (0, 2):
            self._note_change(self._cursor)
            del self._line[self._cursor :]

    def _move_cursor(self, to: int) -> None:
        to = max(0, to)
        if to > len(self._line):
            self._line += " " * (min(to, MAX_REDRAWN_LINE_CHARACTERS) - len(self._line))
        self._cursor = min(to, len(self._line))
        self._is_redrawn = True

    # --- what is passed on ------------------------------------------------------------------

    def _keep_text(self, text: str) -> None:
        self._kept_length += len(text)
        self._lines.append(text)
        if self._kept_length > MAX_KEPT_CHARACTERS:
            self._lines.clear()

    def _note_change(self, start: int) -> None:
        """Note that the line changes from a position on."""
        if start < self._passed:
            self._is_stale = self._was_redrawn = True

    def _end_line(self, end: str) -> None:
        self._pass_line_on()
        if end:
            self._output.append(end)
        self._ended += ["".join(self._line), end]
        self._line, self._cursor, self._passed = [], 0, 0
        self._is_stale = self._is_redrawn = self._is_erased = False

    def _pass_line_on(self) -> None:
        """Pass on what is new in the line; all of it, on a line of its own, if what was passed on has changed."""
        while self._is_erased and self._line and self._line[-1] == " ":
            self._line.pop()
        if self._is_stale:
            self._output.append("\n")
            self._passed, self._is_stale = 0, False
        self._output.append("".join(self._line[self._passed :]))
        self._passed = len(self._line)

    def _take_output(self) -> str:
        output, self._output = "".join(self._output), []
        return output


class TerminalDecoder(TerminalText):
    """Cleans one stream of bytes. What is not UTF-8 becomes U+FFFD."""

    def __init__(self) -> None:
        super().__init__()
        self._decoder = codecs.getincrementaldecoder("utf-8")(STRAY_BYTES_HANDLER)

    def feed_bytes(self, data: bytes, *, final: bool = False) -> str:
        """Return what a piece of the stream adds to the text; with `final`, all of the rest."""
        said = self.feed(self._decoder.decode(data, final))
        return said + self.finish() if final else said


class VisibleText:
    """Tells whether a text that comes in pieces shows anything: it may have control or zero-width characters only."""

    def __init__(self) -> None:
        self._screen = TerminalText()
        self._is_shown = False

    def feed(self, piece: str) -> None:
        if not self._is_shown:
            self._is_shown = _is_visible(self._screen.feed(piece))

    @property
    def is_shown(self) -> bool:
        """Whether the text so far shows anything."""
        return self._is_shown or _is_visible(self._screen.whole_text)


def shows_text(text: str) -> bool:
    """Tell whether a text shows anything."""
    return _is_visible(clean_text(text))


def _is_visible(text: str) -> bool:
    return any(
        unicodedata.category(char) not in _INVISIBLE_CATEGORIES and char not in _BLANK_CHARACTERS for char in text
    )


def clean_text(text: str) -> str:
    """Return the text that a terminal would show in the end."""
    if not _CONTROLS.search(text):
        return text
    cleaner = TerminalText()
    return cleaner.feed(text) + cleaner.finish()


def clean_bytes(data: bytes) -> str:
    """Return the text that a terminal would show in the end."""
    return clean_text(data.decode("utf-8", STRAY_BYTES_HANDLER))


def clean_stray_text(data: bytes) -> str:
    """Return the beginning of a text that stands where a message should, as a terminal would show it."""
    return clean_bytes(data[:MAX_STRAY_BYTES]).strip("\ufeff \t\r\n")


class SplitLine(NamedTuple):
    """A line of a program, split where a JSON object begins."""

    #: the text before the object, as a terminal would show it
    before: str
    #: the object; empty if there is none
    message: bytes
    #: whether a terminal would show the object alone on its line. A title, a colour or the cursor shows nothing, and
    #: a progress bar that ends with a carriage return is drawn over
    is_alone: bool


def split_message(line: bytes) -> SplitLine:
    """Split a line into the text before a JSON object, and the object. Both may be empty."""
    if line.startswith(b"{") and line.endswith(b"}"):
        return SplitLine("", line, True)
    found = _BEFORE_MESSAGE.match(line)
    assert found is not None, "it matches the empty text, too"
    end = line.rfind(b"}") + 1
    shown = clean_bytes(found[0][-MAX_STRAY_BYTES:] + _MARK.encode()).lstrip("\ufeff \t")
    is_alone = shown.startswith(_MARK) and not clean_stray_text(line[end:])
    return SplitLine(clean_stray_text(found[0]), line[found.end() : end], is_alone)
