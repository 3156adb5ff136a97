"""Settings of glibc's malloc, so that a process that lives long gives back what it needs no more.

By default each thread has a heap of its own, which keeps as much free memory as the thread has once used, and after
each large block malloc raises the limits below, so the process keeps what its largest search has taken. See
https://man7.org/linux/man-pages/man3/mallopt.3.html.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import NamedTuple


class _Setting(NamedTuple):
    #: the variable by which a user sets it
    variable: str
    #: its number in malloc.h
    number: int
    value: int


_SETTINGS = (
    _Setting("MALLOC_ARENA_MAX", -8, 1),  # one heap for all threads
    _Setting("MALLOC_MMAP_THRESHOLD_", -3, 512 * 1024),  # bytes; a larger block is given back at once
    _Setting("MALLOC_TRIM_THRESHOLD_", -1, 4 * 1024 * 1024),  # bytes that a free end of the heap may have
)


def limit_heap(environ: Mapping[str, str]) -> None:
    """Apply the settings to this process, except those that its environment sets. Another malloc stays as it is.

    Call it before the first thread starts.
    """
    if sys.platform != "linux":
        return
    import ctypes  # here: no other process needs it

    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:
        return
    for setting in _SETTINGS:
        if setting.variable not in environ:
            set_option(setting.number, setting.value)
