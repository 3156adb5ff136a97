"""`gateway restart`, as far as it can be tested without a gateway."""

from __future__ import annotations

from cli.commands import restart
from gateway import config
from gateway.supervisor import deadlines


def test_it_waits_longer_than_a_generation_may_take_and_so_hears_why_one_was_given_up() -> None:
    ready = config.load({"HOME": "/nowhere"}).gateway.ready_timeout

    assert ready + deadlines.YIELD_TIMEOUT_SECONDS < restart.RESTART_TIMEOUT_SECONDS
