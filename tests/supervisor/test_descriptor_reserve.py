"""A supervisor without descriptors can still open one file at a time."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Iterator

import pytest

from gateway.supervisor.descriptor_reserve import DescriptorReserve

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it has no limits of this kind")


@pytest.fixture
def reserve() -> Iterator[DescriptorReserve]:
    """A reserve in a process that has no other descriptor left."""
    reserve = DescriptorReserve()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/dev/fd"))) + 2, hard))
        with contextlib.suppress(OSError):
            while True:
                used.append(os.open(os.devnull, os.O_RDONLY))
        yield reserve
    finally:
        for descriptor in used:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        reserve.release()


def test_one_file_at_a_time_can_be_opened_when_it_is_released(reserve: DescriptorReserve) -> None:
    reserve.release()

    for _ in range(3):
        os.close(os.open(os.devnull, os.O_RDONLY))
    reserve.renew(calm=False)  # not yet
    os.close(os.open(os.devnull, os.O_RDONLY))


def test_it_is_taken_again_as_soon_as_it_can_be(reserve: DescriptorReserve) -> None:
    reserve.release()
    other = os.open(os.devnull, os.O_RDONLY)
    reserve.renew(calm=True)  # there is none
    os.close(other)
    reserve.renew(calm=True)

    with pytest.raises(OSError, match="Too many open files"):
        os.open(os.devnull, os.O_RDONLY)
