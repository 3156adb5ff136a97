"""Decodes JSON that holds pictures. They are cut out before: decoded with the rest, they would be in memory several
times, and a document of their size that is all brackets would fill it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from gateway.backends.openai import wire
from gateway.errors import AgentError

#: bytes from which on the end of a text is cut out
MIN_CUT_BYTES = 64 << 10
#: names of the fields whose texts stay cut out
_PICTURE_FIELDS = frozenset({"images", "image_url", "url", "b64_json", "image"})


class CutText(NamedTuple):
    """A text whose long end is still in the document."""

    #: what is before the end
    prefix: str
    #: as it is in the document
    data: memoryview

    @property
    def end(self) -> bytes | memoryview:
        """The end of the text. The only escape in it is that of a slash, which some servers write."""
        has_escapes = re.search(rb"\\", self.data) is not None
        return self.data.tobytes().replace(rb"\/", b"/") if has_escapes else self.data


def decode_large_json(data: bytes, max_frame_bytes: int) -> Any:
    """Return a JSON value with a `CutText` in place of each picture.

    Args:
        max_frame_bytes: the largest size without what is cut out.

    Raises:
        AgentError: it is larger.
        DECODE_ERRORS: it is not JSON, or nested too deep.
    """
    spans = list(_find_long_ends(data))
    if len(data) - sum(end - start for start, end in spans) > max_frame_bytes:
        raise AgentError(f"the model's server sent more than {max_frame_bytes // 1024} KiB at once that is no picture.")
    mark = secrets.token_hex(8)
    frame, done = [], 0
    for number, (start, end) in enumerate(spans):
        frame += [data[done:start], f"{mark}:{number}:".encode()]
        done = end
    value = wire.decode_json(b"".join([*frame, data[done:]]))
    view = memoryview(data)
    return _Restorer(re.compile(rf"{mark}:(\d+):"), [view[start:end] for start, end in spans]).restore_value(value, "")


def _find_long_ends(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield where the long ends of texts begin and end: what follows a quote or a comma up to the next quote.

    It looks at places that are so near to each other that each such end is at one. So the time that it takes grows
    with the size alone, whatever the document is.
    """
    step = MIN_CUT_BYTES // 2
    place, done = step, 0
    while place < len(data):
        first = max(done, place - step)
        start = max(data.rfind(b'"', first, place), data.rfind(b",", first, place)) + 1
        end = data.find(b'"', place) if start else -1
        if end - start >= MIN_CUT_BYTES and _is_plain(data, start, end):
            yield start, end
            done = end
        place = max(place, end) + step


def _is_plain(data: bytes, start: int, end: int) -> bool:
    """Return whether a part of a document is nothing but the inside of a text, with no escape but that of a slash."""
    if any(data.find(mark, start, end) >= 0 for mark in (b",", b"[", b"{", b":")):
        return False
    escapes = data.count(b"\\", start, end)
    return not escapes or escapes == data.count(b"\\/", start, end)


class _Restorer:
    """Puts back what was cut out."""

    def __init__(self, mark: re.Pattern[str], cut: Sequence[memoryview]) -> None:
        self._mark, self._cut = mark, cut

    def restore_value(self, value: Any, name: str) -> Any:
        """Return a value with its texts as they were; those of pictures stay cut out.

        Args:
            name: the field that holds it.
        """
        if isinstance(value, list):
            return [self.restore_value(one, name) for one in value]
        if isinstance(value, dict):
            return {key: self.restore_value(one, key) for key, one in value.items()}
        if not isinstance(value, str):
            return value
        found = self._mark.search(value)
        if found is not None and name in _PICTURE_FIELDS and found.end() == len(value):
            return CutText(value[: found.start()], self._cut[int(found[1])])
        return self._mark.sub(lambda one: bytes(CutText("", self._cut[int(one[1])]).end).decode(), value)
