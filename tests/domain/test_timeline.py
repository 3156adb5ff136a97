"""The timeline of a run: its log as groups."""

from __future__ import annotations

import itertools

from gateway.domain.delivery import Delivery, DeliveryAttempt, DeliveryStatus, Target
from gateway.domain.event import (
    AnyEventData,
    End,
    Event,
    Log,
    MadeFile,
    Permission,
    Text,
    Thinking,
    Tool,
    ToolEnd,
    Usage,
)
from gateway.domain.event import Status as StatusEvent
from gateway.domain.run import Outcome, Run, Status
from gateway.domain.timeline import MAX_TIMELINE_GROUPS, Timeline, build_timeline
from tests.contracts.stores import spec

QUEUED, STARTED = StatusEvent(status="queued"), StatusEvent(status="running", attempt=1)
ENDED = End(status="succeeded", outcome="completed", result="hi")


def log(*said: tuple[int, AnyEventData], first: int = 1) -> list[Event]:
    """Return a log of events, each with its time."""
    return [Event(run="r", number=first + n, at=at, data=data) for n, (at, data) in enumerate(said)]


def run_of(status: Status, **fields: object) -> Run:
    outcome = Outcome.COMPLETED if status is Status.SUCCEEDED else None
    return Run(id="r", seq=1, spec=spec(), status=status, outcome=outcome, created=0, **fields)  # type: ignore[arg-type]


def timeline(*said: tuple[int, AnyEventData], status: Status = Status.SUCCEEDED, now: int = 1000) -> Timeline:
    finished = said[-1][0] if status.is_final else None
    return build_timeline(run_of(status, finished=finished), log(*said), (), now)


def rows(found: Timeline, *kinds: str) -> list[tuple[str, str, int, int | None, str]]:
    return [
        (str(one.kind), one.title, one.started, one.ended, str(one.status))
        for one in found.groups
        if not kinds or one.kind in kinds
    ]


def test_one_attempt_is_a_wait_an_attempt_and_its_answer() -> None:
    found = timeline(
        (0, QUEUED), (10, STARTED), (20, Text(delta="h")), (30, Usage(input=1)), (40, Text(delta="i")), (50, ENDED)
    )

    assert rows(found) == [
        ("wait", "queued", 0, 10, "ok"),
        ("attempt", "attempt 1", 10, 50, "ok"),
        ("text", "answer", 20, 40, "ok"),
    ]
    assert (found.groups[2].detail, found.groups[2].first_event, found.groups[2].last_event) == ("hi", 3, 5)
    assert (found.waited, found.worked, found.is_complete) == (10, 40, True)


def test_a_crash_ends_an_attempt_and_what_goes_on_in_it() -> None:
    found = timeline(
        (0, QUEUED),
        (10, STARTED),
        (20, Tool(id="t", name="bash")),
        (30, StatusEvent(status="queued", attempt=1, reason="its gateway ended")),
        (60, StatusEvent(status="running", attempt=2)),
        (80, ENDED),
    )

    assert rows(found) == [
        ("wait", "queued", 0, 10, "ok"),
        ("attempt", "attempt 1", 10, 30, "error"),
        ("tool", "bash", 20, 30, "error"),
        ("wait", "queued again", 30, 60, "ok"),
        ("attempt", "attempt 2", 60, 80, "ok"),
    ]
    assert [one.error for one in found.groups[1:3]] == ["its gateway ended", "its attempt ended first"]
    assert [one.attempt for one in found.groups] == [0, 1, 1, 1, 2]
    assert (found.waited, found.worked) == (40, 40)


def test_tools_at_the_same_time_have_a_group_each() -> None:
    found = timeline(
        (0, QUEUED),
        (10, STARTED),
        (20, Tool(id="a", name="bash", args={"command": "ls"}, title="List files")),
        (30, Tool(id="b", name="read", args="x.txt")),
        (40, ToolEnd(id="b", name="read", is_error=True, output="no such file")),
        (50, ToolEnd(id="a", name="bash")),
        (60, ENDED),
    )

    assert rows(found, "tool") == [("tool", "List files", 20, 50, "ok"), ("tool", "read", 30, 40, "error")]
    assert [(one.detail, one.error) for one in found.groups if one.kind == "tool"] == [
        ('{"command":"ls"}', None),
        ("x.txt", "no such file"),
    ]


def test_a_tool_without_an_end_is_done_when_its_attempt_is() -> None:
    found = timeline((0, QUEUED), (10, STARTED), (20, Tool(id="a", name="bash")), (60, ENDED))

    assert rows(found, "tool") == [("tool", "bash", 20, 60, "ok")]


def test_a_tool_of_a_running_run_has_no_end() -> None:
    found = timeline((0, QUEUED), (10, STARTED), (20, Tool(id="a", name="bash")), status=Status.RUNNING, now=100)

    assert rows(found)[1:] == [("attempt", "attempt 1", 10, None, "running"), ("tool", "bash", 20, None, "running")]
    assert (found.waited, found.worked) == (10, 90)


def test_a_permission_waits_and_does_not_count_as_work() -> None:
    asked = Permission(id="p1", action="rm", choices=("allow", "deny"))
    found = timeline((0, QUEUED), (10, STARTED), (20, asked), status=Status.RUNNING, now=100)

    assert rows(found, "permission") == [("permission", "rm", 20, None, "waiting")]
    assert (found.waited, found.worked) == (90, 10)


def test_permissions_tell_how_they_were_answered() -> None:
    ask = itertools.count(1)
    told: list[tuple[int, AnyEventData]] = [(0, QUEUED), (10, STARTED)]
    for answer in (
        {"answer": "allow", "by": "anna"},
        {"answer": "deny", "by": "ben"},
        {"answer": "deny", "reason": "deadline"},
    ):
        id_ = f"p{next(ask)}"
        told += [(20, Permission(id=id_, action="rm")), (30, Permission(id=id_, action="rm", **answer))]  # type: ignore[arg-type]
    told.append((35, Permission(id="policy", action="ls", answer="allow")))
    found = timeline(*told, (60, ENDED))

    assert [(str(one.status), one.detail, one.error) for one in found.groups if one.kind == "permission"] == [
        ("ok", "allow by anna", None),
        ("denied", "deny by ben", None),
        ("denied", "deny by nobody", "nobody answered in time"),
        ("ok", "allow by the policy", None),
    ]
    assert (found.waited, found.worked) == (20, 40)


def test_text_and_thinking_are_one_group_for_each_stretch() -> None:
    said = [
        Thinking(delta="a"),
        Thinking(delta="b"),
        Text(delta="c"),
        Tool(id="t", name="x"),
        Text(delta="d"),
        Text(delta="e"),
    ]
    found = timeline((0, QUEUED), (10, STARTED), *((20 + n, one) for n, one in enumerate(said)), (60, ENDED))

    assert [(str(one.kind), one.detail) for one in found.groups[2:]] == [
        ("thinking", "ab"),
        ("text", "c"),
        ("tool", None),
        ("text", "de"),
    ]


def test_files_and_remarks_are_groups_without_length() -> None:
    made = MadeFile(id="f", name="a.txt", media_type="text/plain", size=3)
    found = timeline((0, QUEUED), (10, STARTED), (20, made), (30, Log(level="error", message="oh")), (60, ENDED))

    assert rows(found, "file", "log") == [("file", "a.txt", 20, 20, "ok"), ("log", "oh", 30, 30, "error")]


def test_each_try_to_deliver_is_a_group_and_so_is_the_next_one() -> None:
    sent = Delivery(
        id="d",
        seq=1,
        run="r",
        target=Target(kind="webhook", address="http://x/"),
        status=DeliveryStatus.PENDING,
        attempt=2,
        next_at=500,
        created=100,
    )
    tries = [
        DeliveryAttempt(number=1, at=110, took=5, error="refused", http_status=500),
        DeliveryAttempt(number=2, at=200, took=None, error="interrupted"),
    ]
    found = build_timeline(
        run_of(Status.SUCCEEDED, finished=100), log((0, QUEUED), (10, STARTED), (100, ENDED)), [(sent, tries)], 300
    )

    assert [(one.attempt, one.started, one.ended, str(one.status), one.error) for one in found.groups[2:]] == [
        (1, 110, 115, "error", "refused"),
        (2, 200, 200, "error", "interrupted"),
        (3, 200, None, "waiting", None),
    ]
    assert {one.first_event for one in found.groups[2:]} == {None}


def test_a_cancelled_run_that_never_began_has_a_wait_alone() -> None:
    end = End(status="cancelled", outcome="cancelled_by_user")
    found = timeline((0, QUEUED), (30, end), status=Status.CANCELLED)

    assert rows(found) == [("wait", "queued", 0, 30, "error")]
    assert found.groups[0].error == "cancelled"


def test_a_pruned_log_still_tells_when_the_run_waited_and_worked() -> None:
    run = run_of(Status.SUCCEEDED, started=10, finished=50, attempt=2)
    found = build_timeline(run, log((50, ENDED), first=99), (), 1000)

    assert rows(found) == [("wait", "queued", 0, 10, "ok"), ("attempt", "attempt 2", 10, 50, "ok")]
    assert (found.waited, found.worked, found.is_complete) == (10, 40, False)


def test_a_very_long_log_is_cut_and_says_so() -> None:
    said: list[tuple[int, AnyEventData]] = [(0, QUEUED), (10, STARTED)]
    for n in range(25_000):
        said += [(20 + n, Tool(id=str(n), name="x")), (20 + n, ToolEnd(id=str(n), name="x"))]
    run = run_of(Status.SUCCEEDED, started=10, finished=90_000)
    found = build_timeline(run, log(*said), (), 1_000_000, is_complete=False)

    assert (len(found.groups), found.is_complete) == (MAX_TIMELINE_GROUPS, False)
    assert rows(found)[1] == ("attempt", "attempt 1", 10, 90_000, "ok")
    assert (found.waited, found.worked) == (10, 89_990)
