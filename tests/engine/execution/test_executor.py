"""One attempt: the run ends with a reason, whatever the backend does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
import structlog

from gateway.domain.event import End, Log, Notice, Text, Thinking, Tool, ToolEnd, Usage
from gateway.domain.ports.backend import FullReply, SessionRef, Turn
from gateway.domain.run import FinishReason, Mode, OnInterrupt, Outcome, Run, Status
from gateway.engine import storage_retry
from gateway.engine.execution import executor, recorder
from gateway.engine.execution.attempt import Interrupt
from gateway.errors import AgentError, ConfigError, Exhausted, PromptRefused, StorageFull, Unavailable
from harness.waiting import until
from tests.engine.stage import PATIENCE, Act, Anything, Between, Stage, answering, hanging, staged

pytestmark = pytest.mark.both_stores


async def outcome_of(directory: Path, act: Act, **fields: object) -> Run:
    async with staged(directory, act) as stage:
        run = await stage.do(**fields)  # type: ignore[arg-type]
        assert (await stage.kinds(run)).count("end") == 1
        assert (await stage.do("the next one")).status.is_final
        return run


async def test_the_first_words_do_not_wait_for_as_many_more_as_later_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "GATHER_SECONDS", 3600.0)

    async with staged(tmp_path, hanging) as stage:
        async with asyncio.timeout(PATIENCE):
            await stage.said(await stage.submit())


async def test_a_turn_that_ends_is_a_success(tmp_path: Path) -> None:
    run = await outcome_of(tmp_path, answering)

    assert (run.status, run.outcome, run.result, run.attempt) == (
        Status.SUCCEEDED,
        Outcome.COMPLETED,
        "echo: hello",
        1,
    )


async def test_a_reply_replaces_the_text_that_was_streamed(tmp_path: Path) -> None:
    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        yield Text(delta="let me see")
        yield FullReply("42")
        yield Usage(input=3, output=1)
        yield Usage(input=2, cost=0.5)

    run = await outcome_of(tmp_path, act)

    assert (run.result, run.usage) == ("42", Usage(input=5, output=1, cost=0.5))


@pytest.mark.parametrize("why", [FinishReason.LENGTH, FinishReason.CONTENT_FILTER])
async def test_a_run_keeps_why_its_answer_was_cut(tmp_path: Path, why: FinishReason) -> None:
    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        yield Text(delta="half")
        yield why

    async with staged(tmp_path, act) as stage:
        run = await stage.do()
        said = [event.data async for event in stage.engine.runs.watch_run(run.id)]

    assert (run.status, run.result, run.finish) == (Status.SUCCEEDED, "half", why)
    assert Log(level="warning", message=why.remark) in said
    assert isinstance(said[-1], End)
    assert said[-1].finish == why


async def test_a_run_without_an_answer_has_no_reason_for_its_end(tmp_path: Path) -> None:
    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        yield FinishReason.LENGTH
        raise AgentError("no credit")

    assert (await outcome_of(tmp_path, answering)).finish is FinishReason.STOP
    assert (await outcome_of(tmp_path / "2", act)).finish is None


@pytest.mark.parametrize(
    ("then", "error"),
    [
        (None, "the agent did not finish within 2 s; its last remark: it tries again (7): Rate limit"),
        (Text(delta="hello"), "the agent did not finish within 2 s."),
    ],
)
async def test_a_run_that_is_not_done_in_time_says_what_the_agent_said_last(
    tmp_path: Path, then: Text | None, error: str
) -> None:
    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        yield Log(level="warning", message="it tries again (7): Rate limit")
        if then is not None:
            yield then
        await asyncio.Event().wait()

    async with staged(tmp_path, act) as stage:
        run = await stage.do(timeout=2)  # long enough for the remark on a busy machine

    assert (run.outcome, run.error) == (Outcome.TIMEOUT, error)


async def test_control_sequences_do_not_come_in_whatever_the_backend(tmp_path: Path) -> None:
    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        yield Thinking(delta="\x1b[2mhm")
        yield Tool(id="1", name="\x1b[1mbash", args={"command": "printf '\x1b[1m'"})
        yield ToolEnd(id="1", name="bash", output="10%\r100%\r\n\x1b[32m✔ passed\x1b[0m")
        yield Log(level="warning", message="\x1b]0;title\x07slow")
        for piece in ("\x1b[3", "2m✔ pas", "sed\x1b", "[0m"):
            yield Text(delta=piece)

    async with staged(tmp_path, act) as stage:
        run = await stage.do()
        events = [event.data for event in await stage.store.events.read_after(run.id, 0, 100)]

    assert run.result == "✔ passed"
    shown = [msgspec.structs.replace(one, seconds=None) if isinstance(one, ToolEnd) else one for one in events]
    assert [one for one in shown if isinstance(one, Thinking | Tool | ToolEnd | Log)] == [
        Thinking(delta="hm"),
        Tool(id="1", name="bash", args={"command": "printf '\x1b[1m'"}),
        ToolEnd(id="1", name="bash", output="100%\n✔ passed"),
        Log(level="warning", message="slow"),
    ]
    assert "".join(one.delta for one in events if isinstance(one, Text)) == "✔ passed"


async def test_a_redrawn_line_is_in_the_result_as_it_was_in_the_end(tmp_path: Path) -> None:
    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        for piece in ("10%", "\r50%", "\r100%\n", "done"):
            yield Text(delta=piece)

    assert (await outcome_of(tmp_path, act)).result == "100%\ndone"


async def test_an_error_without_its_control_sequences_is_the_error_of_the_run(tmp_path: Path) -> None:
    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        yield Text(delta="half")
        raise AgentError("\x1b[31mno credit\x1b[0m")

    assert (await outcome_of(tmp_path, act)).error == "no credit"


async def test_a_run_fails_with_the_error_of_its_agent(tmp_path: Path) -> None:
    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        yield Text(delta="half")
        raise AgentError("no credit", remedy="Pay.")

    run = await outcome_of(tmp_path, act)

    assert (run.status, run.outcome, run.error) == (Status.FAILED, Outcome.AGENT_ERROR, "no credit Pay.")


async def failing(turn: Turn) -> AsyncGenerator[Anything, None]:
    yield Text(delta="half")
    raise AgentError("no credit")


@pytest.mark.parametrize(("act", "level"), [(answering, "info"), (failing, "warning")], ids=["a success", "a failure"])
async def test_a_run_that_failed_is_logged_as_a_warning(tmp_path: Path, act: Act, level: str) -> None:
    with structlog.testing.capture_logs() as lines:
        await outcome_of(tmp_path, act)

    assert next(line["log_level"] for line in lines if line["event"] == "run.settled") == level


@pytest.mark.parametrize("error", [RuntimeError("boom"), ConfigError("odd"), TimeoutError(), KeyError("k")])
async def test_a_bug_in_a_backend_fails_the_run(tmp_path: Path, error: Exception) -> None:
    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        yield Text(delta="half")
        raise error

    run = await outcome_of(tmp_path, act)

    assert (run.status, run.outcome) == (Status.FAILED, Outcome.AGENT_ERROR)
    assert run.error


async def test_a_backend_that_cancels_itself_fails_the_run(tmp_path: Path) -> None:
    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        yield Text(delta="half")
        raise asyncio.CancelledError

    run = await outcome_of(tmp_path, act)

    assert (run.status, run.error) == (Status.FAILED, "the backend cancelled its turn.")


async def test_an_agent_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    run = await outcome_of(tmp_path, hanging, timeout=0.05)

    assert (run.status, run.outcome) == (Status.FAILED, Outcome.TIMEOUT)
    assert run.error == "the agent did not finish within 0.05 s."


async def test_a_cancelled_run_keeps_what_was_said(tmp_path: Path) -> None:
    async with staged(tmp_path, hanging) as stage:
        run = await stage.said(await stage.submit())
        await stage.engine.runs.cancel_run(run.id)
        ended = await stage.ended(run)

    assert (ended.status, ended.outcome, ended.result) == (Status.CANCELLED, Outcome.CANCELLED_BY_USER, "thinking")


async def test_a_backend_that_does_not_end_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "TURN_CLOSE_TIMEOUT_SECONDS", 0.05)
    release = asyncio.Event()

    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        yield Text(delta="stubborn")
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        yield Text(delta="a zombie speaks")

    async with staged(tmp_path, act) as stage:
        ended = await stage.do(timeout=0.05)
        kinds = await stage.kinds(ended)
        release.set()
        await stage.do("next")
        assert await stage.kinds(ended) == kinds

    assert (ended.outcome, kinds[-1]) == (Outcome.TIMEOUT, "end")


@pytest.mark.parametrize("timeout", [None, 0.05])
async def test_an_error_in_the_cleanup_of_a_backend_does_not_change_the_result(
    tmp_path: Path, timeout: float | None
) -> None:
    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        try:
            yield Text(delta="hello")
            if turn.input == "hello":
                await asyncio.Event().wait()
        finally:
            if turn.input == "hello":
                raise RuntimeError("cleaning up broke")

    async with staged(tmp_path, act) as stage:
        run = await stage.begun(await stage.submit(timeout=timeout))
        if timeout is None:
            await stage.engine.runs.cancel_run(run.id)
        ended = await stage.ended(run)

    assert ended.outcome is (Outcome.TIMEOUT if timeout else Outcome.CANCELLED_BY_USER)


@pytest.mark.parametrize(
    "said",
    [
        Text(delta="\ud800"),
        FullReply("\ud800"),
        Usage(cost=float("nan")),
        SessionRef("\ud800"),
        "a mere string",
        None,
    ],
    ids=["text", "reply", "usage", "session", "str", "none"],
)
async def test_output_that_cannot_be_stored_fails_only_its_run(tmp_path: Path, said: Anything) -> None:
    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        if turn.input == "hello":
            yield said

    run = await outcome_of(tmp_path, act)

    assert (run.status, run.outcome) == (Status.FAILED, Outcome.AGENT_ERROR)


async def test_an_error_that_is_not_valid_text_is_shown_nevertheless(tmp_path: Path) -> None:
    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        yield Text(delta="half")
        raise AgentError("\ud800" + "x" * 100_000)

    run = await outcome_of(tmp_path, act)

    assert run.error is not None
    assert run.error.startswith("?xx")
    assert len(run.error) <= executor.MAX_RUN_ERROR_CHARACTERS


async def test_the_error_names_a_workspace_that_does_not_exist(tmp_path: Path) -> None:
    agents = {"main": {"workspace": str(tmp_path / "nowhere")}}
    async with staged(tmp_path, agents=agents) as stage:
        run = await stage.do()

    assert run.error is not None
    assert str(tmp_path / "nowhere") in run.error


async def test_each_session_has_a_private_workspace_and_keeps_it(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        for session in ("main:test:a", "main:test:b", "main:test:a"):
            await stage.do(session=session)
        places = [turn.workspace for turn in stage.backend.turns]

    assert places[0] == places[2] != places[1]
    assert Path(places[0]).stat().st_mode & 0o777 == 0o700


async def test_a_session_reference_comes_back_with_the_next_turn(tmp_path: Path) -> None:
    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        yield SessionRef("ses:1")
        yield Text(delta="done")

    async with staged(tmp_path, act) as stage:
        await stage.do()
        await stage.do()
        refs = [turn.session_ref for turn in stage.backend.turns]

    assert refs == [None, "ses:1"]


# --- an interruption and a failure at the same moment ------------------------------------------


async def interrupted_while_it_fails(
    directory: Path, interrupt: Callable[[Stage, Run], Awaitable[object]], **agent: object
) -> Run:
    """Return a run whose agent fails in the turn of the event loop in which it is interrupted."""
    fail = asyncio.Event()

    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        yield Text(delta="half")
        if turn.attempt == 1:
            await fail.wait()
            raise AgentError("the program died")

    async with staged(directory, act, agents={"main": agent}) as stage:
        run = await stage.said(await stage.submit())
        await interrupt(stage, run)
        fail.set()
        return await stage.ended(run)


async def cancel_through_the_worker(stage: Stage, run: Run) -> None:
    stage.engine._worker.interrupt_run(run.id, Interrupt.CANCEL)


async def cancel_on_disk_only(stage: Stage, run: Run) -> None:
    await stage.store.runs.cancel(run.id)


@pytest.mark.parametrize("cancel", [cancel_through_the_worker, cancel_on_disk_only])
async def test_an_agent_that_fails_while_it_is_cancelled_is_cancelled(
    tmp_path: Path, cancel: Callable[[Stage, Run], Awaitable[object]]
) -> None:
    ended = await interrupted_while_it_fails(tmp_path, cancel)

    assert (ended.status, ended.outcome) == (Status.CANCELLED, Outcome.CANCELLED_BY_USER)
    assert ended.error is None


@pytest.mark.parametrize(
    ("policy", "attempts", "outcome"),
    [(OnInterrupt.RETRY, 2, Outcome.COMPLETED), (OnInterrupt.FAIL, 1, Outcome.INTERRUPTED)],
)
async def test_an_agent_that_fails_while_the_gateway_stops_ends_by_the_policy_of_its_run(
    tmp_path: Path, policy: OnInterrupt, attempts: int, outcome: Outcome
) -> None:
    async def stop(stage: Stage, run: Run) -> None:
        stage.engine._worker.interrupt_run(run.id, Interrupt.STOP)

    ended = await interrupted_while_it_fails(tmp_path, stop, on_interrupt=policy)

    assert (ended.attempt, ended.outcome) == (attempts, outcome)


async def test_an_answer_that_is_complete_stands_though_a_cancel_came(tmp_path: Path) -> None:
    finish = asyncio.Event()

    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        yield Text(delta="all")
        await finish.wait()

    async with staged(tmp_path, act) as stage:
        run = await stage.said(await stage.submit())
        await stage.store.runs.cancel(run.id)
        finish.set()
        ended = await stage.ended(run)

    assert (ended.outcome, ended.result) == (Outcome.COMPLETED, "all")


async def test_a_run_that_is_cancelled_while_it_times_out_is_cancelled(tmp_path: Path) -> None:
    closing, release = asyncio.Event(), asyncio.Event()

    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        try:
            yield Text(delta="half")
            await asyncio.Event().wait()
        finally:
            closing.set()
            await release.wait()

    async with staged(tmp_path, act) as stage:
        run = await stage.submit(timeout=0.2)
        async with asyncio.timeout(PATIENCE):
            await closing.wait()
        await stage.engine.runs.cancel_run(run.id)
        release.set()

        assert (await stage.ended(run)).outcome is Outcome.CANCELLED_BY_USER


# --- fenced, and a disk that refuses ----------------------------------------------------------


async def test_an_attempt_that_lost_its_run_stops_and_writes_nothing(tmp_path: Path) -> None:
    stopped = asyncio.Event()

    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        if turn.attempt > 1:
            yield Text(delta="the second attempt")
            return
        try:
            for _ in range(1000):
                yield Text(delta="zombie ")
                await asyncio.sleep(0.01)
        finally:
            stopped.set()

    async with staged(tmp_path, act) as stage:
        run = await stage.begun(await stage.submit())
        await stage.store.owners.rescue_runs(run.owner or "")
        async with asyncio.timeout(PATIENCE):
            await stopped.wait()
        stage.engine._source.wake()
        ended = await stage.ended(run)
        events = await stage.store.events.read_after(run.id, 0, 1000)

    assert (ended.attempt, ended.result) == (2, "the second attempt")
    requeued = next(event.number for event in events if getattr(event.data, "reason", ""))
    assert "zombie" not in "".join(str(event.data) for event in events[requeued:])


@pytest.mark.parametrize("method", ["runs.save_backend_ref", "runs.finish", "events.append"])
async def test_a_disk_that_refuses_for_a_while_does_not_fail_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(storage_retry, "STORAGE_RETRY_SECONDS", 0.01)
    between = Between()
    between.refuse[method] = [StorageFull(), Unavailable("the disk is gone")]

    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        yield SessionRef("ref")
        yield Text(delta="done")
        if method == "events.append":
            await until(lambda: not between.refuse[method], "the text is written")

    async with staged(tmp_path, act, wrap=between.around) as stage:
        run = await stage.do()

    assert (run.status, run.result) == (Status.SUCCEEDED, "done")
    assert between.refuse[method] == []


async def test_an_end_that_cannot_be_written_is_written_as_a_failure(tmp_path: Path) -> None:
    between = Between()
    between.refuse["runs.finish"] = [RuntimeError("a bug")]

    async with staged(tmp_path, wrap=between.around) as stage:
        run = await stage.do()
        again = await stage.do()

    assert (run.status, again.status) == (Status.FAILED, Status.SUCCEEDED)


def cramped(refusals: int) -> Act:
    """Return an agent for which the machine has no room at first."""
    left = [Exhausted("no room.") for _ in range(refusals)]

    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        if left:
            raise left.pop()
        yield Text(delta="done")

    return act


async def test_a_turn_for_which_there_is_no_room_is_tried_again_in_the_same_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "NO_ROOM_RETRY_DELAYS_SECONDS", (0.0, 0.0))
    async with staged(tmp_path, cramped(2)) as stage:
        run = await stage.do()
        events = await stage.store.events.read_after(run.id, 0, 100)

    assert (run.outcome, run.result, run.attempt) == (Outcome.COMPLETED, "done", 1)
    assert [event.data.message for event in events if isinstance(event.data, Log)] == [
        "no room. It is tried again in 0 s."
    ] * 2


async def test_a_turn_for_which_there_is_never_room_fails_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "NO_ROOM_RETRY_DELAYS_SECONDS", (0.0, 0.0))
    async with staged(tmp_path, cramped(3)) as stage:
        run = await stage.do()

    assert (run.outcome, run.error) == (Outcome.AGENT_ERROR, "cannot run the agent: no room.")


async def test_a_run_that_waits_for_room_can_be_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "NO_ROOM_RETRY_DELAYS_SECONDS", (PATIENCE,))
    async with staged(tmp_path, cramped(1)) as stage:
        run = await stage.submit()
        async for event in stage.engine.runs.watch_run(run.id):
            if event.kind == "log":
                break
        await stage.engine.runs.cancel_run(run.id)

        assert (await stage.ended(run)).outcome is Outcome.CANCELLED_BY_USER


async def test_a_prompt_that_the_model_refused_is_marked_in_the_transcript(tmp_path: Path) -> None:
    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        if "poison" in turn.input:
            raise PromptRefused("flagged")
        if "break" in turn.input:
            raise AgentError("broken")
        usable = [message.content for message in await turn.read_history() if not message.is_refused]
        yield Text(delta=" ".join(usable))

    async with staged(tmp_path, act) as stage:
        refused, broken = await stage.do("poison"), await stage.do("break")
        answered = await stage.do("hi")

    assert (refused.outcome, refused.error) == (Outcome.AGENT_ERROR, "flagged")
    assert broken.error == "broken"
    assert answered.result == "break", "an error that is not about the prompt does not take it out"


async def test_only_the_refused_round_of_a_goal_is_marked(tmp_path: Path) -> None:
    rounds = 0

    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        nonlocal rounds
        rounds += 1
        if rounds == 2:
            raise PromptRefused("flagged")
        yield Text(delta="not yet")

    async with staged(tmp_path, act) as stage:
        run = await stage.do("goal", mode=Mode.GOAL)
        marks = [message.is_refused for message in await stage.store.sessions.read_history(run.spec.session, 10)]

    assert marks == [False, False, True]


async def test_a_run_carries_the_notices_of_its_backend(tmp_path: Path) -> None:
    async def act(turn: Turn) -> AsyncGenerator[Anything, None]:
        for notice in (Notice.CONTEXT_SHORTENED, Notice.SESSION_RESTARTED, Notice.CONTEXT_SHORTENED):
            yield Log(level="warning", message="changed", notice=notice)
        yield Text(delta="done")

    async with staged(tmp_path, act) as stage:
        run = await stage.do()
        stored = await stage.store.runs.get(run.id)

    assert run.notices == stored.notices == (Notice.CONTEXT_SHORTENED, Notice.SESSION_RESTARTED)


async def test_a_run_whose_agent_goes_after_the_claim_fails_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = property(lambda _: lambda name: None, lambda _, given: None)
    monkeypatch.setattr(executor.Executor, "_agents", nobody, raising=False)
    async with staged(tmp_path) as stage:
        run = await stage.do()

    assert (run.status, run.outcome) == (Status.FAILED, Outcome.AGENT_ERROR)
    assert "the agent 'main' is no longer configured" in (run.error or "")
    assert stage.backend.turns == []
