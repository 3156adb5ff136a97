"""How long to wait before a crashed generation is replaced."""

from __future__ import annotations

import random
from collections.abc import Callable

#: seconds: the first wait after a second crash in a row, and the longest one
FIRST = 0.5
LONGEST = 60.0
#: seconds that a generation has to last for its crash to count as the first one
STABLE = 300.0


def delay(crashes: int, chance: Callable[[], float] = random.random) -> float:
    """Return the seconds to wait after so many crashes in a row: none after the first, then doubling.

    A quarter of it is left to chance, so that several gateways do not crash in step.
    """
    if crashes <= 1:
        return 0.0
    whole = min(LONGEST, FIRST * 2.0 ** min(crashes - 2, 30))
    return whole * (0.75 + 0.25 * chance())
