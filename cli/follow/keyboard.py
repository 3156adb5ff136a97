"""The keyboard of the terminal that a command runs in."""

from __future__ import annotations

import contextlib
import sys


def forget_typed_keys() -> None:
    """Forget what was typed before a question: it is no answer to it."""
    if sys.platform == "win32":
        import msvcrt

        while msvcrt.kbhit():
            msvcrt.getwch()
    else:
        import termios

        with contextlib.suppress(termios.error):  # the terminal is gone, or there is none
            termios.tcflush(0, termios.TCIFLUSH)
