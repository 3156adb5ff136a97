"""How long a delivery waits between attempts, and how it ends."""

from __future__ import annotations

import pytest

from gateway.domain.delivery import (
    DELIVERY_RETRY_DELAYS_SECONDS,
    Delivered,
    Delivery,
    DeliveryStatus,
    PermanentFailure,
    RetryLater,
    Target,
    apply_send_result,
    compute_backoff,
)

HOOK = Target(kind="webhook", address="https://Example.org:8443/hook?x=1")
NOW = 1_700_000_000_000


def sending(attempt: int = 1) -> Delivery:
    return Delivery(
        id="D", seq=1, run="R", target=HOOK, status=DeliveryStatus.SENDING, attempt=attempt, next_at=NOW, created=NOW
    )


def test_the_waits_follow_the_table_and_then_no_attempt_is_left() -> None:
    waits = [compute_backoff(DELIVERY_RETRY_DELAYS_SECONDS, attempt, 0.5) for attempt in range(1, 10)]

    hour = 3600.0
    assert waits == [0.0, 5.0, 300.0, hour / 2, 2 * hour, 5 * hour, 10 * hour, 10 * hour, None]


def test_chance_changes_a_wait_by_a_tenth_at_most() -> None:
    assert [compute_backoff(DELIVERY_RETRY_DELAYS_SECONDS, 3, chance) for chance in (0.0, 1.0)] == pytest.approx(
        [270.0, 330.0]
    )


def test_a_failed_delivery_waits_for_its_next_attempt() -> None:
    later = apply_send_result(sending(), RetryLater("refused"), NOW, 0.5)

    assert (later.status, later.next_at, later.error) == (DeliveryStatus.PENDING, NOW + 5000, "refused")


@pytest.mark.parametrize(("asked", "seconds"), [(2.0, 5), (60.0, 60), (1e12, 86_400)])
def test_a_receiver_may_ask_for_a_longer_wait_up_to_a_limit(asked: float, seconds: int) -> None:
    assert apply_send_result(sending(), RetryLater("busy", retry_after=asked), NOW, 0.5).next_at == NOW + seconds * 1000


def test_the_last_failed_attempt_makes_a_delivery_dead() -> None:
    dead = apply_send_result(sending(len(DELIVERY_RETRY_DELAYS_SECONDS)), RetryLater("refused"), NOW, 0.5)

    assert (dead.status, dead.finished) == (DeliveryStatus.DEAD, NOW)


def test_a_permanent_failure_makes_a_delivery_dead_immediately() -> None:
    assert apply_send_result(sending(), PermanentFailure("gone"), NOW, 0.5).status is DeliveryStatus.DEAD


def test_an_accepted_delivery_is_delivered_and_loses_its_error() -> None:
    done = apply_send_result(sending(3), Delivered(), NOW, 0.5)

    assert (done.status, done.error, done.finished) == (DeliveryStatus.DELIVERED, None, NOW)


def test_a_receiver_is_a_host_and_port_or_a_chat() -> None:
    assert HOOK.receiver == "https://example.org:8443"
    assert Target(kind="telegram", address="-7").receiver == "telegram:-7"
