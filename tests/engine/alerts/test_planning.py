"""What is told, and when: decided by pure functions, with times that the test gives."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest

from gateway.domain.alert import (
    ALERT_RATE_MILLISECONDS,
    MAX_LISTED_ALERTS,
    MAX_LISTED_ALERTS_OF_AGENTS,
    MAX_OPEN_ALERTS,
    AlertKind,
    AlertMessage,
    AlertMessageStatus,
    AlertState,
)
from gateway.domain.run import Run, RunSpec, Source, Status
from gateway.engine.alerts.condition import Finding, Happening, Look
from gateway.engine.alerts.opening import _make_receiver
from gateway.engine.alerts.planning import AlertPlan, AlertReceiver, TellingRules, find_next_due, plan_alerts
from gateway.settings.alerts import AlertReceiverSettings, Alerts
from tests.contracts.stores import START

EVERYTHING = frozenset(map(str, AlertKind))
RULES = TellingRules(group=1000, repeat=3_600_000)
EMPTY = AlertState(position=0, revision=0, open=[], waiting=[], released={})


def receiver(name: str = "me", **fields: Any) -> AlertReceiver:
    return AlertReceiver(**{"name": name, "kinds": EVERYTHING, "per_hour": 3, **fields})


def failures(count: int, at: int = START, **spec_fields: Any) -> Look:
    spec = RunSpec(source=Source.TASK, agent="main", session="main:test:a", input="hi")
    run = Run(id="r", seq=1, spec=msgspec.structs.replace(spec, **spec_fields), status=Status.FAILED, created=at)
    return Look(
        happened=[Happening(subject=f"r{n}", text=f"no {n}", at=at, agent="main", run=run) for n in range(count)]
    )


def full_disk(level: int = 0) -> Look:
    return Look(open=[Finding(subject="data", text=f"{level} MB left", level=level)])


class Telling:
    """A gateway that plans, step by step, and sends at once what is pending."""

    def __init__(self, *receivers: AlertReceiver, rules: TellingRules = RULES) -> None:
        self.receivers, self.rules = receivers or (receiver(),), rules
        self.state, self.now = EMPTY, START
        self.sent: list[AlertMessage] = []

    def see(self, kind: AlertKind | None = None, look: Look | None = None, *, after: int = 0) -> AlertPlan:
        self.now += after
        looks = [] if kind is None or look is None else [(kind, look)]
        plan = plan_alerts(self.state, looks, self.receivers, self.rules, self.now)
        pending = [one for one in plan.state.waiting if one.status is AlertMessageStatus.PENDING]
        self.sent += pending
        left = [one for one in plan.state.waiting if one.status is AlertMessageStatus.COLLECTING]
        self.state = msgspec.structs.replace(plan.state, waiting=left)
        return plan

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(item.event, item.text) for message in self.sent for item in message.content.items]


def test_many_failures_are_one_message_with_the_first_few_and_the_number() -> None:
    telling = Telling()
    for _ in range(10):
        telling.see(AlertKind.RUN_FAILED, failures(100), after=50)

    assert telling.sent == []
    telling.see(after=1000)

    (message,) = telling.sent
    assert (len(message.content.items), message.content.left_out) == (MAX_LISTED_ALERTS, 1000 - MAX_LISTED_ALERTS)
    assert message.content.counts == {"run_failed/happened": 1000}


def test_what_begins_with_a_flood_does_not_hide_what_else_there_is() -> None:
    telling = Telling()
    telling.see(AlertKind.RUN_FAILED, failures(500))
    telling.see(AlertKind.DISK, full_disk())
    telling.see(after=1000)

    assert ("opened", "0 MB left") in telling.told


def test_an_hour_has_so_many_messages_and_the_next_one_counts_what_waits() -> None:
    telling = Telling(receiver(per_hour=3))
    for _ in range(600):
        telling.see(AlertKind.RUN_FAILED, failures(1), after=5000)

    assert len(telling.sent) == 3
    telling.see(after=ALERT_RATE_MILLISECONDS)
    assert len(telling.sent) == 4
    assert sum(message.content.counts["run_failed/happened"] for message in telling.sent) == 600


def test_the_rate_holds_over_a_restart() -> None:
    telling = Telling(receiver(per_hour=1))
    telling.state = msgspec.structs.replace(EMPTY, released={"me": [START - 10]})
    telling.see(AlertKind.DISK, full_disk())
    telling.see(after=2000)

    assert telling.sent == []
    assert find_next_due(telling.state, telling.receivers, RULES, telling.now) == START - 10 + ALERT_RATE_MILLISECONDS
    telling.see(after=ALERT_RATE_MILLISECONDS)
    assert len(telling.sent) == 1


def test_a_condition_is_told_when_it_opens_and_when_it_ends_and_not_in_between() -> None:
    telling = Telling()
    telling.see(AlertKind.DISK, full_disk())
    for _ in range(5):
        telling.see(AlertKind.DISK, full_disk(), after=1000)
    telling.see(AlertKind.DISK, Look(), after=1000)
    telling.see(AlertKind.DISK, Look(ended={"data": "room again"}), after=1000)
    telling.see(AlertKind.DISK, Look(ended={"data": "room again"}), after=1000)

    assert telling.told == [("opened", "0 MB left"), ("ended", "room again")]
    assert telling.sent[-1].content.items[0].since == START
    assert telling.state.open == []


def test_what_gets_worse_is_told_again() -> None:
    telling = Telling()
    for level in (80, 80, 100, 100, 80):
        telling.see(AlertKind.BUDGET, full_disk(level), after=1000)
    telling.see(after=1000)

    assert telling.told == [("opened", "80 MB left"), ("opened", "100 MB left")]


def test_what_stays_open_is_told_again_after_the_time_in_the_settings() -> None:
    telling = Telling()
    telling.see(AlertKind.DISK, full_disk())
    telling.see(AlertKind.DISK, full_disk(), after=RULES.repeat or 0)
    telling.see(AlertKind.DISK, full_disk(), after=1000)

    assert [event for event, _ in telling.told] == ["opened", "continues"]


@pytest.mark.parametrize("kind", [AlertKind.UPDATE, AlertKind.DISK])
def test_an_update_is_told_once_and_nothing_twice_if_the_settings_say_so(kind: AlertKind) -> None:
    rules = RULES if kind is AlertKind.UPDATE else msgspec.structs.replace(RULES, repeat=None)
    telling = Telling(rules=rules)
    telling.see(kind, full_disk())
    telling.see(kind, full_disk(), after=100 * 3_600_000)
    telling.see(after=1000)

    assert [event for event, _ in telling.told] == ["opened"]


def test_each_receiver_gets_only_what_it_wants() -> None:
    telling = Telling(
        receiver("all"),
        receiver("disk", kinds=frozenset({"disk"})),
        receiver("other agent", agents=frozenset({"other"})),
        receiver("team", labels={"team": "a"}),
        receiver("schedules", sources=frozenset({Source.CRON})),
    )
    telling.see(AlertKind.RUN_FAILED, failures(1, labels={"team": "a"}))
    telling.see(AlertKind.DISK, full_disk())
    telling.see(after=1000)

    told = {one.receiver: sorted(item.kind for item in one.content.items) for one in telling.sent}
    assert told == {
        "all": ["disk", "run_failed"],
        "disk": ["disk"],
        "other agent": ["disk"],
        "team": ["disk", "run_failed"],
        "schedules": ["disk"],
    }


def test_a_clock_that_was_set_back_by_years_delays_nothing() -> None:
    telling = Telling()
    telling.see(AlertKind.DISK, full_disk())
    telling.see(after=-10 * 365 * 86_400_000)

    assert [event for event, _ in telling.told] == ["opened"]


def test_there_are_never_more_open_conditions_of_a_kind_than_the_limit_and_none_hides_another_kind() -> None:
    telling = Telling()
    findings = [Finding(subject=str(number), text="bad") for number in range(MAX_OPEN_ALERTS + 10)]
    telling.see(AlertKind.SCHEDULE_FAILING, Look(open=findings))
    plan = telling.see(AlertKind.DISK, full_disk())

    assert Counter(alert.kind for alert in plan.state.open) == {"schedule_failing": MAX_OPEN_ALERTS, "disk": 1}


def test_what_gets_better_and_then_as_bad_again_is_told_again() -> None:
    telling = Telling()
    for level in (1, 2, 1, 1, 2):
        telling.see(AlertKind.DISK, full_disk(level), after=RULES.group)
    telling.see(after=RULES.group)

    assert telling.told == [("opened", "1 MB left"), ("opened", "2 MB left"), ("opened", "2 MB left")]


def test_many_failures_of_one_agent_do_not_hide_that_of_another() -> None:
    telling = Telling()
    many, one = failures(20), failures(1)
    other = msgspec.structs.replace(one.happened[0], subject="z", text="of another agent", agent="other")
    telling.see(AlertKind.RUN_FAILED, Look(happened=[*many.happened, other]))
    telling.see(after=RULES.group)

    (message,) = telling.sent
    assert [item.agent for item in message.content.items] == ["main"] * MAX_LISTED_ALERTS + ["other"]
    assert message.content.left_out == 20 - MAX_LISTED_ALERTS


def test_what_others_wrote_cannot_take_over_a_terminal_or_hide_what_it_says() -> None:
    telling = Telling()
    telling.see(AlertKind.DISK, Look(open=[Finding(subject="data", text="a\x1b[2Jb\n\u202ec")]))
    telling.see(after=RULES.group)

    assert telling.told == [("opened", "a\ufffd[2Jb \ufffdc")]


def test_very_many_agents_make_no_endless_message() -> None:
    telling = Telling()
    one = failures(1).happened[0]
    telling.see(
        AlertKind.RUN_FAILED,
        Look(happened=[msgspec.structs.replace(one, subject=str(n), agent=f"agent {n}") for n in range(100)]),
    )
    telling.see(after=RULES.group)

    (message,) = telling.sent
    assert len(message.content.items) == MAX_LISTED_ALERTS_OF_AGENTS


def test_a_condition_that_ends_before_it_was_written_leaves_nothing_open() -> None:
    plan = plan_alerts(
        EMPTY,
        [(AlertKind.DISK, full_disk()), (AlertKind.DISK, Look(ended={"data": "room again"}))],
        [receiver()],
        RULES,
        START,
    )

    assert (plan.opened, plan.state.open) == ([], [])
    assert [item.event for item in plan.messages[0].content.items] == ["opened", "ended"]


def test_who_begins_to_want_what_is_open_is_told_and_no_other_is() -> None:
    telling = Telling()
    telling.see(AlertKind.DISK, full_disk())
    before = [receiver("me"), receiver("wants more", kinds=frozenset({"budget"}))]
    plan = plan_alerts(
        telling.state, [], [receiver("me"), receiver("wants more"), receiver("new")], RULES, telling.now, before=before
    )
    begun = [one for one in plan.messages if one.receiver != "me"]

    assert [(one.receiver, one.content.items[0].event) for one in begun] == [
        ("wants more", "continues"),
        ("new", "continues"),
    ]
    assert plan.messages == begun


def test_a_receiver_with_another_address_is_told_what_is_open_and_once() -> None:
    telling = Telling()
    telling.see(AlertKind.DISK, full_disk())  # the message collects: it goes to the new address anyway
    wrong, right = receiver(address_mark="a1"), receiver(address_mark="b2")

    def plan(before: AlertReceiver) -> AlertPlan:
        return plan_alerts(telling.state, [], [right], RULES, telling.now, before=[before])

    assert plan(wrong).messages == []
    telling.see(after=1000)
    assert telling.told == [("opened", "0 MB left")]
    (message,) = plan(wrong).messages
    assert [(one.event, one.text) for one in message.content.items] == [("continues", "0 MB left")]
    assert plan(right).messages == []
    assert plan(receiver()).messages == []  # a note of an earlier version says no address


def test_what_went_to_the_address_from_before_does_not_delay_a_receiver() -> None:
    wrong, right = (receiver(address_mark=mark, per_hour=1) for mark in ("a1", "b2"))
    telling = Telling(wrong)
    telling.see(AlertKind.DISK, full_disk())
    telling.see(after=1000)
    assert len(telling.sent) == 1

    state = plan_alerts(telling.state, [], [right], RULES, telling.now, before=[wrong]).state

    due = plan_alerts(state, [], [right], RULES, telling.now + 1000).messages
    assert [message.status for message in due] == [AlertMessageStatus.PENDING]


def test_the_mark_of_an_address_differs_for_others_and_is_no_secret() -> None:
    given = [
        AlertReceiverSettings(chat="telegram:1"),
        AlertReceiverSettings(chat="telegram:2"),
        AlertReceiverSettings(webhook="https://a.example/s3cret"),
        AlertReceiverSettings(webhook="https://a.example/s3cret", per_hour=3),
    ]
    marks = [_make_receiver("me", one, Alerts()).address_mark for one in given]

    assert len(set(marks)) == 3
    assert marks[2] == marks[3]
    assert {len(mark) for mark in marks} == {4}


def test_what_a_lost_message_only_counts_is_passed_on_as_a_number() -> None:
    telling = Telling()
    telling.see(AlertKind.RUN_FAILED, failures(100))
    fresh = receiver("new")
    plan = plan_alerts(telling.state, [], [fresh], RULES, telling.now, before=[receiver()])
    lost, passed = sorted(plan.messages, key=lambda one: one.receiver)

    assert (lost.status, lost.error) == (AlertMessageStatus.DEAD, "the receiver is no longer configured")
    assert passed.content == lost.content
