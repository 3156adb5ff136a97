"""What nobody has opened to limited callers is refused to them: a new part, a new operation, a new noun."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.domain.delivery import Target
from gateway.domain.reach import Reach
from gateway.domain.run import Run, RunSpec, Source, Status
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


#: a chat that is outside of the limit
OUTSIDE = Target(kind="telegram", address="2")


def store_with_outside_target(called: list[str]) -> Any:
    """Return a store whose run is inside of the limit, and whose result goes to a chat outside of it."""
    spec = RunSpec(source=Source.TASK, agent="main", session="main:api:a", input="hi", deliver=(OUTSIDE,))
    run = Run(id="r", seq=1, spec=spec, status=Status.HELD, created=0)
    sent = SimpleNamespace(id="d", run="r", target=OUTSIDE)

    def answer(name: str, result: Any) -> Any:
        async def call(*_: Any) -> Any:
            called.append(name)
            return result

        return call

    return SimpleNamespace(
        runs=SimpleNamespace(get=answer("get", run), release=answer("release", run), accept=answer("accept", run)),
        deliveries=SimpleNamespace(get=answer("get", sent), retry=answer("retry", sent)),
        schedules=SimpleNamespace(get=answer("get", None), trigger=answer("trigger", None)),
        agents=SimpleNamespace(),
    )


async def test_nothing_is_sent_to_a_chat_outside_whoever_wanted_that() -> None:
    called: list[str] = []
    store = LimitedStore(store_with_outside_target(called), REACH, lambda _: "main:api:a")
    spec = (await store.runs.get("r")).spec
    for sending in (
        store.deliveries.retry("d"),
        store.runs.release("r", None),
        store.schedules.trigger("s", spec),
        store.runs.accept(spec),
    ):
        with pytest.raises(Forbidden):
            await sending

    assert set(called) == {"get"}


async def test_an_agent_outside_gets_no_work_though_the_session_is_inside() -> None:
    called: list[str] = []
    store = LimitedStore(store_with_outside_target(called), REACH, lambda _: "main:api:a")
    spec = RunSpec(source=Source.TASK, agent="other", session="main:api:a", input="hi")
    for working in (store.runs.accept(spec), store.schedules.trigger("s", spec)):
        with pytest.raises(Forbidden):
            await working

    assert set(called) <= {"get"}
