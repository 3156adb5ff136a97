"""A descriptor that is kept for a time without any: a restart has to read who asks for it, and to answer."""

from __future__ import annotations

import contextlib
import os


class DescriptorReserve:
    """Holds one descriptor until it is needed."""

    def __init__(self) -> None:
        self._held: int | None = None
        self.renew(calm=True)

    def release(self) -> None:
        """Give the descriptor up, so that one file at a time can be opened."""
        if self._held is not None:
            os.close(self._held)
        self._held = None

    def renew(self, *, calm: bool) -> None:
        """Take a descriptor again, if there is one.

        Args:
            calm: whether nothing is under way that may need it.
        """
        if calm and self._held is None:
            with contextlib.suppress(OSError):
                self._held = os.open(os.devnull, os.O_RDONLY)
