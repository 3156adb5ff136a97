"""Requests that come while a restart is under way wait for one more restart, and each is answered."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from gateway.supervisor.intent import Intent
from gateway.supervisor.supervisor import Supervisor


def intent(name: str) -> Intent:
    return Intent(name, 0, 0.0, False, "test")


def request(supervisor: SimpleNamespace, *asked: Intent) -> list[str]:
    """Ask a supervisor that is changing generations; return the ids of the requests that wait."""
    Supervisor._request_restart(cast("Any", supervisor), list(asked))
    return [one.id for one in supervisor._waiting]


def changing(*, stopping: bool = False) -> SimpleNamespace:
    return SimpleNamespace(_stopping=stopping, _is_changing=True, _waiting=[])


def test_every_request_with_an_id_waits_for_its_answer() -> None:
    supervisor = changing()

    assert request(supervisor, intent("a")) == ["a"]
    assert request(supervisor, intent("b"), intent("c")) == ["a", "b", "c"]


def test_a_signal_without_a_request_adds_a_restart_only_if_none_waits() -> None:
    supervisor = changing()

    assert request(supervisor) == [""]
    assert request(supervisor) == [""]
    assert request(supervisor, intent("a")) == ["", "a"]


def test_a_gateway_that_stops_takes_no_requests() -> None:
    assert request(changing(stopping=True), intent("a")) == []
