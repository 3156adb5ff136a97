"""What nobody has opened to limited callers is refused to them: a new part, a new operation, a new noun."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FunctionType, MethodType, SimpleNamespace
from typing import Any, cast

import pytest

from gateway.domain.delivery import Target
from gateway.domain.reach import Reach
from gateway.domain.run import Run, RunSpec, Source, Status
from gateway.engine.engine import Engine
from gateway.engine.limited.channels import LimitedChannels
from gateway.engine.limited.engine import limit_engine
from gateway.engine.limited.hub import LimitedHub
from gateway.engine.limited.refusal import Opened
from gateway.engine.limited.schedules import LimitedSchedules
from gateway.engine.limited.store import LimitedStore, _Limited, check_targets
from gateway.engine.resources.runs import Runs
from gateway.errors import AgentNotFound, Forbidden
from tests.support.inprocess import Serving, serving

REACH = Reach(sessions=("main:api:a*",))
#: parts and methods of the engine that are about all agents and sessions, or that no route calls
CLOSED = {
    "alert_book",
    "audit",
    "check_writable",
    "drain_runs",
    "generations",
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


#: these hold the whole of something, and let through what they define
GATES = (Opened, LimitedChannels, LimitedHub, LimitedSchedules, _Limited)
#: attributes through which the parts of a limited engine still act on the whole gateway: none of them returns what is
#: outside
SIGNALS = {
    "Agents._backends",  # asked for the health and the offer of an agent that is reached
    "QueueStatus._limits",  # numbers from the settings
    "QueueStatus._find_destinations",  # of runs that were found
    "Runs._stop",  # of a run that was cancelled
    "Schedules._changed",
    "Sessions._deleted",
    "Sessions._stop",  # of runs whose session was deleted
    "Submitter._note_due",
    "Submitter._stop",  # of runs that an accepted run has taken the place of
}


def attributes(target: Any) -> Mapping[str, Any]:
    slots = [name for kind in type(target).__mro__ for name in getattr(kind, "__slots__", ())]
    return {**getattr(target, "__dict__", {}), **{name: getattr(target, name) for name in slots}}


def children(target: Any) -> Iterator[tuple[str, Any]]:
    """Yield what an object holds: in attributes, in a collection, as a method, and as a function that was made inside
    of another one.
    """
    if isinstance(target, Mapping):
        yield from (("[]", one) for pair in target.items() for one in pair)
    elif isinstance(target, list | tuple | set | frozenset):
        yield from (("[]", one) for one in target)
    elif isinstance(target, MethodType):
        yield "__self__", target.__self__
    elif isinstance(target, FunctionType):
        yield from (("()", cell.cell_contents) for cell in target.__closure__ or ())
    elif type(target).__module__.partition(".")[0] in ("gateway", "tests"):
        yield from attributes(target).items()


def find_ways(begin: Any, wanted: set[int], exempt: set[str] = SIGNALS) -> set[str]:
    """Return the ways from an object to one of those that are wanted, by their ids: each goes around the gates."""
    found: set[str] = set()
    seen: dict[int, Any] = {}
    open_ = [("", begin)]
    while open_:
        way, target = open_.pop()
        if id(target) in wanted:
            found.add(way)
        elif id(target) not in seen:
            seen[id(target)] = target
            if not isinstance(target, GATES):
                open_ += [
                    (f"{way}.{name}", one)
                    for name, one in children(target)
                    if f"{type(target).__name__}.{name}" not in exempt
                ]
    return found


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


def test_what_a_limited_caller_may_do_with_runs_is_known() -> None:
    """All of `Runs` is open: a new operation is safe only if each operation of the store that it uses is limited."""
    assert {name for name in vars(Runs) if not name.startswith("_")} == {
        "cancel_run",
        "follow_changes",
        "get_run",
        "import_run",  # the limited store refuses it
        "list_runs",
        "read_events",
        "release_run",
        "retry_run",
        "submit_run",
        "wait_for_run",
        "watch_run",
        "with_store",
    }


def whole(engine: Any) -> set[int]:
    """Return the ids of what no limited engine may reach: the engine, and its store with all that it is made of."""
    return {id(engine), id(engine._store), *(id(one) for one in vars(engine._store).values())}


async def test_nothing_of_a_limited_engine_reaches_the_whole_store(moongate: Serving) -> None:
    limited = limit_engine(moongate.engine, REACH)

    assert find_ways(limited, whole(moongate.engine)) == set()


async def test_a_store_that_a_part_keeps_is_found_wherever_it_is(moongate: Serving) -> None:
    engine = moongate.engine
    ways = {
        ".files.kept": engine._store,
        ".schedules._sessions.kept": [engine._store.runs],
        ".timelines.kept": {"engine": engine},
        ".deliveries.kept": engine.runs.get_run,
        ".agents.kept": lambda: engine,
    }
    for way, kept in ways.items():
        limited = limit_engine(engine, REACH)
        part: Any = limited
        for name in way.split(".")[1:-1]:
            part = getattr(part, name)
        part.kept = kept

        assert any(".kept" in one for one in find_ways(limited, whole(engine))), way


async def test_each_exemption_is_one(moongate: Serving) -> None:
    """What no longer reaches the store, or is gone, is not exempt: something else could take its name."""
    limited = limit_engine(moongate.engine, REACH)
    gone = {
        signal
        for signal in SIGNALS - {"Agents._backends", "QueueStatus._find_destinations"}  # they do with other settings
        if not find_ways(limited, whole(moongate.engine), SIGNALS - {signal})
    }

    assert gone == set()


async def test_what_a_part_has_found_for_others_is_not_told_to_a_limited_caller(moongate: Serving) -> None:
    await moongate.engine.deliveries.find_refused_webhooks()

    with pytest.raises(Forbidden):
        await limit_engine(moongate.engine, REACH).deliveries.find_refused_webhooks()


async def test_an_unknown_agent_of_a_chat_tells_no_names_of_agents_outside(tmp_path: Path) -> None:
    agents = [{"id": id_, "backend": "echo", "script": True} for id_ in ("main", "hidden")]
    async with serving(tmp_path, {"agents": {"list": agents}}) as served:
        channels = limit_engine(served.engine, Reach(agents=("main",))).channels
        for name in ("nobody", "hidden"):
            with pytest.raises(AgentNotFound) as refused:
                await channels.current_session_key("webchat", "1", name)

            assert refused.value.remedy == "There are: main."


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
