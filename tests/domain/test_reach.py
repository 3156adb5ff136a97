"""What a limited token reaches."""

from __future__ import annotations

import pytest

from gateway.domain.reach import Reach


@pytest.mark.parametrize(
    ("reach", "key", "is_covered"),
    [
        (Reach(), "main:api:a", True),
        (Reach(agents=("main",)), "main:api:a", True),
        (Reach(agents=("main",)), "mainx:api:a", False),
        (Reach(agents=()), "main:api:a", False),
        (Reach(sessions=("main:api:a",)), "main:api:a", True),
        (Reach(sessions=("main:api:a",)), "main:api:ab", False),
        (Reach(sessions=("main:api:a*",)), "main:api:ab", True),
        (Reach(sessions=("main:api:a*",)), "main:api:A", False),
        (Reach(sessions=("main:*",), agents=("other",)), "main:api:a", False),
    ],
)
def test_both_limits_hold(reach: Reach, key: str, is_covered: bool) -> None:
    assert reach.covers_session(key) is is_covered


def test_an_agent_whose_sessions_are_out_of_reach_is_out_of_reach() -> None:
    reach = Reach(agents=("main", "other"), sessions=("main:api:a",))

    assert reach.covers_agent("main")
    assert not reach.covers_agent("other")
    assert not Reach(sessions=("main:api:a",)).covers_agent("mai")
