"""The time to wait before a crashed generation is replaced."""

from __future__ import annotations

import random
from collections.abc import Callable

#: seconds: the first wait after a second crash in a row, and the longest one
FIRST_DELAY_SECONDS = 0.5
MAX_DELAY_SECONDS = 60.0
#: seconds after which a generation counts as stable: its next crash counts as the first one
STABLE_AFTER_SECONDS = 300.0


def restart_delay(crashes: int, chance: Callable[[], float] = random.random) -> float:
    """Return the seconds to wait after this many crashes in a row: none after the first, then doubling.

    A quarter of the wait is random, so that several gateways do not restart at the same moment.
    """
    if crashes <= 1:
        return 0.0
    whole = min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(crashes - 2, 30))
    return whole * (0.75 + 0.25 * chance())
