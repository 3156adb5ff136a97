"""Which version an update goes to."""

from __future__ import annotations

import pytest

from cli.update import release


@pytest.mark.parametrize(
    ("newest", "present", "chosen"),
    [("0.3.0", "0.2.0", "0.3.0"), ("0.2.0", "0.3.0", None), ("0.2.0", "0.2.0", None)],
)
def test_an_update_goes_forward_only(newest: str, present: str, chosen: str | None) -> None:
    assert release.choose_update(newest, present) == chosen
