"""How often strangers are told that they are not paired."""

from __future__ import annotations

import pytest

from gateway.channels.telegram import strangers
from gateway.channels.telegram.strangers import RefusalLimit


def test_a_stranger_is_told_once() -> None:
    limit = RefusalLimit()
    assert limit.may_refuse("7")
    assert not limit.may_refuse("7")
    assert limit.may_refuse("8")


def test_no_more_than_so_many_strangers_are_told_in_an_hour() -> None:
    limit = RefusalLimit()
    told = [limit.may_refuse(str(chat)) for chat in range(strangers.MAX_REFUSALS_PER_HOUR + 1)]
    assert told == [True] * strangers.MAX_REFUSALS_PER_HOUR + [False]


def test_a_stranger_is_told_again_a_day_later(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = RefusalLimit()
    now = [0.0]
    monkeypatch.setattr(strangers.time, "monotonic", lambda: now[0])
    assert limit.may_refuse("7")
    now[0] = strangers.REFUSAL_INTERVAL_SECONDS
    assert limit.may_refuse("7")
