"""What nobody has opened to limited callers is refused to them: a new part, a new operation, a new noun."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.domain.delivery import Target
from gateway.domain.reach import Reach
from gateway.engine.engine import Engine
from gateway.engine.limited.engine import limit_engine
from gateway.engine.limited.store import LimitedStore, check_targets
from gateway.errors import Forbidden
from tests.support.inprocess import Serving

REACH = Reach(sessions=("main:api:a*",))
#: parts and methods of the engine that are about all agents and sessions, or that no route calls
CLOSED = {
    "alert_book",
    "audit",
    "check_writable",
    "drain_runs",
    "generations",
    "import_run",
    "leader_services",
    "named_sessions",
    "projects",
    "samples",
    "skip_grace",
    "start_leading",
    "step_down",
    "unreadable",
    "usage",
    "view_fleet",
}


def is_refused(target: Any, name: str) -> bool:
    try:
        getattr(target, name)
    except Forbidden:
        return True
    return False


async def test_every_part_of_the_engine_is_opened_or_refused(moongate: Serving) -> None:
    engine: Engine = moongate.engine
    limited = limit_engine(engine, REACH)
    names = {name for name in {*dir(Engine), *vars(engine)} if not name.startswith("_")}

    assert {name for name in names if is_refused(limited, name)} == CLOSED


async def test_a_new_part_of_the_engine_is_refused(moongate: Serving) -> None:
    moongate.engine.new_part = object()

    assert is_refused(limit_engine(moongate.engine, REACH), "new_part")


def test_a_new_noun_and_a_new_operation_of_the_store_are_refused() -> None:
    store = LimitedStore(cast("Any", SimpleNamespace(agents=SimpleNamespace())), REACH, lambda _: None)

    assert is_refused(store, "new_noun")
    assert is_refused(store, "tokens")
    for noun in ("runs", "events", "permissions", "deliveries", "sessions", "files", "schedules", "agents"):
        assert is_refused(getattr(store, noun), "new_operation"), noun


async def test_one_request_leaves_the_engine_of_the_others_as_it_is(moongate: Serving) -> None:
    engine: Engine = moongate.engine
    before = {name: id(value) for name, value in vars(engine).items()}
    limited = limit_engine(engine, REACH)

    assert limited.agents is not engine.agents
    assert {name: id(value) for name, value in vars(engine).items()} == before


def test_a_result_goes_only_to_chats_that_are_inside() -> None:
    reach = Reach(sessions=("main:telegram:1",))
    check_targets(reach, "main:api:a", [Target(kind="telegram", address="1"), Target(kind="webhook", address="x")])

    with pytest.raises(Forbidden):
        check_targets(reach, "main:api:a", [Target(kind="telegram", address="2")])
