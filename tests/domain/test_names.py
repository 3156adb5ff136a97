"""Ids, session keys, slugs, times and tokens."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain import ids, times
from gateway.domain.event import Usage
from gateway.domain.session import MAX_CHAT_CHARACTERS, SessionKey
from gateway.domain.token import Scope, hash_secret
from gateway.errors import InvalidRequest

moments = st.integers(0, 253_402_300_799_999)


@given(moments, moments)
def test_ids_sort_by_time(one: int, other: int) -> None:
    first, second = ids.make_ulid(one), ids.make_ulid(other)

    assert len(first) == 26
    if one != other:
        assert (first < second) == (one < other)


def test_ids_of_one_moment_are_different() -> None:
    assert len({ids.make_ulid(1) for _ in range(1000)}) == 1000


@given(moments)
def test_a_time_survives_a_round_trip_through_rfc_3339(moment: int) -> None:
    text = times.format_rfc3339(moment)

    assert text.endswith("Z")
    assert times.to_milliseconds(datetime.fromisoformat(text)) == moment


def test_the_current_time_is_in_milliseconds() -> None:
    assert abs(times.wall_clock() - times.to_milliseconds(datetime.now(UTC))) < 10_000


@given(st.text(), st.text(), st.text())
def test_a_key_that_can_be_made_can_be_read(agent: str, channel: str, chat: str) -> None:
    try:
        key = SessionKey.from_parts("main" if not ids.is_slug(agent) else agent, channel, chat)
    except InvalidRequest:
        return

    assert SessionKey.parse_key(str(key)) == key


@given(st.text())
def test_any_text_is_either_a_valid_key_or_rejected(text: str) -> None:
    key = SessionKey.parse_key(text)

    assert key is None or str(key) == text


@pytest.mark.parametrize("text", ["", "a", "a:b", "a:b:", ":b:c", "a::c", "a b:c:d", "a:b:c\n", "a:b:" + "x" * 129])
def test_an_invalid_key_is_rejected(text: str) -> None:
    assert SessionKey.parse_key(text) is None


def test_a_chat_may_have_colons_but_not_unlimited_length() -> None:
    assert SessionKey.parse_key("a:b:c:d") == SessionKey("a", "b", "c:d")
    with pytest.raises(InvalidRequest):
        SessionKey.from_parts("a", "b", "x" * (MAX_CHAT_CHARACTERS + 1))


@pytest.mark.parametrize("name", ["a\n", "", ".a", "a:b", "a/b", "ä", "a" * 65])
def test_an_invalid_slug_is_rejected(name: str) -> None:
    assert not ids.is_slug(name)


def test_a_scope_covers_itself_and_lower_scopes() -> None:
    covered = [(one.value, other.value) for one in Scope for other in Scope if one.covers(other)]

    assert covered == [
        ("read", "read"),
        ("write", "read"),
        ("write", "write"),
        ("admin", "read"),
        ("admin", "write"),
        ("admin", "admin"),
    ]


@given(st.text())
def test_any_secret_has_a_digest(secret: str) -> None:
    assert len(hash_secret(secret)) == 64


def test_usage_adds_up() -> None:
    parts = [Usage(input=1, output=2, cached=3, cost=0.5), Usage(input=10)]

    assert sum(parts, Usage()) == Usage(input=11, output=2, cached=3, cost=0.5)
