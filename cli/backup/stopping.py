"""Lets a command that is asked to end remove what it has begun, as Ctrl-C does: by a service that stops, or a terminal
that is closed.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

#: signals that mean the same as Ctrl-C here; not every system has all
_ENDING_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextlib.contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt in the block if the process is asked to end."""
    if threading.current_thread() is not threading.main_thread():  # a test: only the main thread gets signals
        yield
        return
    before = {number: signal.getsignal(number) for number in _ENDING_SIGNALS}
    for number, handler in before.items():
        if handler is signal.SIG_DFL:  # `nohup` ignores one
            signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
