"""Parts the messages of a turn: what an agent says after a tool call, or in another message, is a new paragraph."""

from __future__ import annotations


class Paragraphs:
    """Puts a blank line between the messages of one turn; the answer is the pieces one after the other."""

    def __init__(self) -> None:
        self._message: str | None = None
        self._is_parted = False
        #: line ends at the end of what was said; there is nothing to part from while it is None
        self._line_ends: int | None = None

    def part(self, *, only_without_ids: bool = False) -> None:
        """Begin a new paragraph with the next piece; or only if the messages of the agent have no ids."""
        if not only_without_ids or self._message is None:
            self._is_parted = True

    def add(self, piece: str, message: str | None) -> str:
        """Return a piece of a message, with the line ends that it needs before it."""
        if message != self._message:
            self._message, self._is_parted = message, True
        if not piece.strip():
            return self._note(piece)
        missing = 0 if self._line_ends is None or not self._is_parted else 2 - self._line_ends
        self._is_parted = False
        leading = len(piece) - len(piece.lstrip("\n"))
        return self._note("\n" * max(0, missing - leading) + piece)

    def _note(self, piece: str) -> str:
        said = piece.rstrip("\n")
        if said:
            self._line_ends = len(piece) - len(said)
        elif self._line_ends is not None:
            self._line_ends += len(piece)
        return piece
