"""A serving process has one heap for all its threads, unless its user wants more."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: prints how many heaps malloc has after some threads have used it
_PROGRAM = """
import ctypes, os, threading
from gateway.process.heap import limit_heap

limit_heap(os.environ)
libc = ctypes.CDLL(None)
barrier = threading.Barrier(4)
libc.malloc.restype = ctypes.c_void_p

def use():
    libc.malloc(100_000)
    barrier.wait()

threads = [threading.Thread(target=use) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is about glibc")
@pytest.mark.parametrize(("env", "heaps"), [({}, 1), ({"MALLOC_ARENA_MAX": "3"}, 3)])
def test_threads_share_the_heaps_that_a_process_may_have(env: dict[str, str], heaps: int) -> None:
    told = subprocess.run([sys.executable, "-c", _PROGRAM], env=env, capture_output=True, text=True, check=True).stdout

    assert told.count("<heap nr=") == heaps
